"""What a text on the command line stands for: a cache by name with parameters, ours or anybody's."""

import importlib
import inspect
import re
import types
import typing
from typing import Any

from kvfloor.attention.caches.base import CacheSpec, Factory
from kvfloor.attention.caches.composed.sides import two_sides
from kvfloor.attention.caches.named.installed import announced, announced_factory, load
from kvfloor.attention.caches.named.registry import CACHES, arguments
from kvfloor.attention.spelling import assignments, nearest

__all__ = ["resolve"]


def resolve(spec: str) -> CacheSpec:
    """Return the cache that a text stands for.

    Parameters
    ----------
    spec : str
        ``name``, ``name:key=value,...`` (ours, or the name of an entry point of the group
        ``kvfloor.caches``), ``package.module:factory`` or
        ``package.module:factory:key=value,...``; two of them joined by ``+`` are the sides of a cache of
        tensor attention.

    Returns
    -------
    CacheSpec
        Its factory and its parameters, each parsed as the annotation of the factory's argument says.

    Raises
    ------
    ValueError
        If a name, a parameter or a value is unknown or missing, or a module cannot be imported; the message
        names the nearest known name.

    Examples
    --------
    >>> resolve("dense:dtype=float32").parameters["dtype"]
    'float32'
    """
    first, *others = re.split(r"\+(?=[A-Za-z_])", spec)  # a plus before a digit is part of a number
    if others:
        if len(others) > 1:
            raise ValueError(f"{spec!r} joins {1 + len(others)} caches, but tensor attention has two sides")
        return CacheSpec(spec, two_sides(resolve(first), resolve(others[0])))
    head, _, rest = spec.partition(":")
    if head in CACHES:
        factory, given = CACHES[head].factory, rest
    elif rest and "=" not in rest.partition(":")[0]:
        attribute, _, given = rest.partition(":")
        factory = load(
            f"{attribute!r} from {head!r}", lambda: getattr(importlib.import_module(head), attribute)
        )
    elif point := announced().get(head):
        factory, given = announced_factory(point), rest
    else:
        near = nearest(head, [*CACHES, *announced()])
        raise ValueError(f"no cache is called {head!r}{near}, and it is not package.module:factory")
    return CacheSpec(spec, factory, _parse(spec, factory, given))


def _parse(spec: str, factory: Factory, given: str) -> dict[str, object]:
    """Return the parameters of a spec, each parsed by its annotation."""
    try:
        named, signature = arguments(factory), inspect.signature(factory)
        signature.bind_partial("dim", "value_dim", "coins")
    except (TypeError, ValueError):
        raise ValueError(f"the factory of {spec!r} cannot be called with dim, value_dim and coins") from None
    any_name = any(argument.kind is argument.VAR_KEYWORD for argument in signature.parameters.values())
    parameters: dict[str, object] = {}
    for name, text in assignments(spec, given).items():
        if name not in named and not (any_name and name.isidentifier()):
            raise ValueError(f"{spec!r} has no parameter {name!r}{nearest(name, named)}")
        annotation = named[name].annotation if name in named else inspect.Parameter.empty
        parameters[name] = _value(spec, name, text, annotation)
    for name, argument in named.items():
        if argument.default is argument.empty and name not in parameters:
            joint = "," if given else ":"
            raise ValueError(
                f"{spec!r} needs the parameter {name!r}, as in {spec.rstrip(':')}{joint}{name}=..."
            )
    return parameters


def _value(spec: str, name: str, text: str, annotation: Any) -> object:
    """Return a parameter's value, of the first type in its annotation that the text spells."""
    union = typing.get_origin(annotation) in (types.UnionType, typing.Union)
    kinds = typing.get_args(annotation) if union else (annotation,)
    if annotation is inspect.Parameter.empty:
        kinds = (int, float, str)
    if type(None) in kinds and text.lower() == "none":
        return None
    if bool in kinds and text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float, str):
        if kind in kinds:
            try:
                return kind(text)
            except ValueError:
                continue
    expected = " or ".join(
        "None" if kind is type(None) else getattr(kind, "__name__", str(kind)) for kind in kinds
    )
    raise ValueError(f"{name}={text} in {spec!r} is not of type {expected}")
