"""What a stored row can be: what its claim's ``measure`` is annotated to return; and how far two are apart."""

import functools
import importlib
from math import inf
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

__all__ = ["apart", "fits", "returned"]


@functools.cache
def returned(claim: str) -> Any:
    """Return what the module of this dotted name says that its ``measure`` returns."""
    return get_type_hints(importlib.import_module(claim).measure)["return"]


def fits(value: object, kind: Any) -> bool:
    """Return whether a JSON value is of a type: numbers are finite, no truth value is one, no list is empty.

    Parameters
    ----------
    value : object
        What `json.loads` returned.
    kind : type
        Made of TypedDicts, dicts, lists, tuples, unions, literals, numbers, str, bool, None and Any.

    Returns
    -------
    bool
        Whether it is.

    Examples
    --------
    >>> fits([1, 2.5], list[float]), fits([1, 2.5], list[int]), fits([float("nan")], list[float])
    (True, False, False)
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if is_typeddict(kind):
        hints = get_type_hints(kind)
        return (
            isinstance(value, dict)
            and kind.__required_keys__ <= value.keys() <= hints.keys()
            and all(fits(entry, hints[name]) for name, entry in value.items())
        )
    if origin in (Union, UnionType):
        return any(fits(value, member) for member in arguments)
    if origin is Literal:
        return value in arguments
    if origin is list:
        return isinstance(value, list) and value != [] and all(fits(entry, arguments[0]) for entry in value)
    if origin is tuple:
        return isinstance(value, list) and len(value) == len(arguments) and all(map(fits, value, arguments))
    if origin is dict:
        return isinstance(value, dict) and all(fits(entry, arguments[1]) for entry in value.values())
    if kind is Any:
        members = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        return all(fits(member, Any) for member in members) and value not in (inf, -inf) and value == value
    if kind is float:
        return type(value) in (int, float) and -inf < value < inf  # type: ignore[operator]
    return type(value) is (NoneType if kind is None else kind)


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
