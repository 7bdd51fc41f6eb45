"""What a stored row can be: what its claim's ``measure`` is annotated to return; and how far two are apart."""

import functools
import importlib
from math import inf
from typing import Any, get_type_hints

__all__ = ["apart", "returned"]


@functools.cache
def returned(claim: str) -> Any:
    """Return what the module of this dotted name says that its ``measure`` returns."""
    return get_type_hints(importlib.import_module(claim).measure)["return"]


def apart(one: object, other: object, place: str = "") -> dict[str, float]:
    """Return where two JSON values differ, and how far.

    Parameters
    ----------
    one, other : object
        JSON values.
    place : str
        Where they stand.

    Returns
    -------
    dict of str to float
        By place, such as "losses[3]", the difference of two numbers over the larger magnitude, in (0, 2];
        infinity where anything else differs. Empty if nothing does.

    Examples
    --------
    >>> apart({"a": [1, 2.0], "b": "x"}, {"a": [1, 2.5], "b": "y"})
    {'a[1]': 0.2, 'b': inf}
    """
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        named = [(f"{place}.{name}" if place else name, one[name], other[name]) for name in one]
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        named = [(f"{place}[{i}]", *pair) for i, pair in enumerate(zip(one, other, strict=True))]
    elif type(one) in (int, float) and type(other) in (int, float):
        gap = abs(one - other)  # type: ignore[operator]
        return {place: gap / max(abs(one), abs(other))} if gap else {}  # type: ignore[arg-type]
    else:
        return {} if one == other and type(one) is type(other) else {place: inf}
    return {where: gap for name, left, right in named for where, gap in apart(left, right, name).items()}
