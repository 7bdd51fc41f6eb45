"""What a stored row can be: what its claim's ``measure`` is annotated to return, as finite JSON values."""

import functools
import importlib
from math import inf
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

__all__ = ["fits", "returned"]


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
