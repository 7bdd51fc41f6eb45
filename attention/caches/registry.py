"""Caches by name: the registry, and what a name with parameters stands for."""

import difflib
import importlib
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from kvfloor.attention.caches.base import Cache, Coins, StreamCache
from kvfloor.attention.caches.composed.heads import Heads
from kvfloor.attention.caches.composed.sides import TensorCache, two_sides
from kvfloor.attention.caches.dense import Dense
from kvfloor.attention.caches.eviction.eviction import KeyNorm, RandomTokens, Sinks, Window
from kvfloor.attention.caches.eviction.unmasked import UnmaskedWindow
from kvfloor.attention.caches.eviction.voting import HeavyHitters, SnapKV
from kvfloor.attention.caches.installed import announced, load
from kvfloor.attention.caches.mixing.balance import Balance
from kvfloor.attention.caches.mixing.coreset import Coreset
from kvfloor.attention.caches.mixing.linear import Linear
from kvfloor.attention.caches.mixing.lowrank import LowRank
from kvfloor.attention.caches.mixing.merging import Merge
from kvfloor.attention.caches.public.covering import Golay, Hamming, Repetition
from kvfloor.attention.caches.public.packed import BitPack
from kvfloor.attention.caches.quantised.qjl import QJL
from kvfloor.attention.caches.quantised.quantized import Uniform, UniformValues
from kvfloor.attention.caches.quantised.rotated import TurboQuant
from kvfloor.attention.caches.subgen.clustering import SubGen
from kvfloor.attention.caches.subgen.tensor_clustering import SubGen4
from kvfloor.attention.caches.wire import WireError

__all__ = [
    "CACHES",
    "REQUIRED",
    "Cache",
    "CacheSpec",
    "Coins",
    "Registered",
    "StreamCache",
    "WireError",
    "installed_caches",
    "resolve",
]

REQUIRED = "required"
"""Stands in the place of the default of a parameter that has none."""

Factory = Callable[..., Cache]


@dataclass(frozen=True, slots=True)
class Registered:
    """A cache that has a name.

    Parameters
    ----------
    name : str
        The name.
    factory : callable
        ``factory(dim, value_dim, coins, **parameters) -> Cache``.
    summary : str
        One line of what it does.
    source : str
        Where it comes from: a paper, or "ours".
    parameters : mapping of str to object
        Its parameters and their defaults, ``REQUIRED`` for one without.
    """

    name: str
    factory: Factory
    summary: str
    source: str
    parameters: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class CacheSpec:
    """A cache that can be made: a factory and its parameters.

    Parameters
    ----------
    spec : str
        What it was resolved from.
    factory : callable
        ``factory(dim, value_dim, coins, **parameters) -> Cache``.
    parameters : mapping of str to object
        The parameters that the spec gives.
    """

    spec: str
    factory: Factory
    parameters: Mapping[str, object] = field(default_factory=dict, hash=False)

    def make(self, dim: int, value_dim: int, coins: Coins) -> Cache:
        """Return a new, empty cache.

        Parameters
        ----------
        dim, value_dim : int
            Numbers of columns of keys and values.
        coins : Coins
            The public randomness.

        Returns
        -------
        Cache
            The cache.

        Raises
        ------
        ValueError
            If the factory rejects its arguments, or returns something that is not a cache.
        """
        cache = self.factory(dim, value_dim, coins, **self.parameters)
        missing = [method for method in _METHODS if not callable(getattr(cache, method, None))]
        if missing:
            raise ValueError(f"{self.spec!r} made a {type(cache).__name__}, which has no method {missing[0]}")
        return cache

    def restore(self, payload: bytes, dim: int, value_dim: int, coins: Coins) -> Cache:
        """Return the cache whose state a payload carries.

        Parameters
        ----------
        payload : bytes
            What ``to_bytes`` of such a cache returned.
        dim, value_dim : int
            Numbers of columns of keys and values.
        coins : Coins
            The public randomness.

        Returns
        -------
        Cache
            The cache, restored by ``from_bytes`` of the class that `make` makes.

        Raises
        ------
        WireError
            If one of our caches does not accept the payload.
        """
        return type(self.make(dim, value_dim, coins)).from_bytes(payload, coins)


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
        factory, assignments = CACHES[head].factory, rest
    elif rest and "=" not in rest.partition(":")[0]:
        attribute, _, assignments = rest.partition(":")
        factory = _import(head, attribute)
    elif point := announced().get(head):
        factory, assignments = load(point), rest
    else:
        near = _nearest(head, [*CACHES, *announced()])
        raise ValueError(f"no cache is called {head!r}{near}, and it is not package.module:factory")
    return CacheSpec(spec, factory, _parse(spec, factory, assignments))


_METHODS = ("append", "attend", "to_bytes", "from_bytes")


def installed_caches() -> tuple[dict[str, Registered], dict[str, str]]:
    """Return the caches that other packages announce as entry points of the group ``kvfloor.caches``.

    Their packages are imported for it.

    Returns
    -------
    caches : dict of str to Registered
        Those that can be made, by name; where the factory has no ``source``, its package is the source.
    broken : dict of str to str
        What is wrong with each of the others, in one sentence.
    """
    caches, broken = {}, {}
    for name, point in announced().items():
        try:
            if name in CACHES:
                raise ValueError(f"the name {name!r} of {point.value} is taken by a cache that comes along")
            factory = load(point)
            package = "" if point.dist is None else f"{point.dist.name} {point.dist.version}"
            caches[name] = _registered(name, factory, str(getattr(factory, "source", package)))
        except (TypeError, ValueError) as error:
            broken[name] = str(error)
    return caches, broken


def _register(classes: Iterable[type[StreamCache] | type[TensorCache]]) -> Mapping[str, Registered]:
    """Return the registry of these classes, in their order."""
    return MappingProxyType({cls.name: _registered(cls.name, cls, cls.source) for cls in classes})


def _registered(name: str, factory: Factory, source: str) -> Registered:
    """Return what a factory says of itself, under a name."""
    parameters = {
        name: REQUIRED if argument.default is argument.empty else argument.default
        for name, argument in _arguments(factory).items()
    }
    summary = (inspect.getdoc(factory) or "").partition("\n")[0]
    return Registered(name, factory, summary, source, MappingProxyType(parameters))


def _arguments(factory: Factory) -> dict[str, inspect.Parameter]:
    """Return the arguments of a factory after dim, value_dim and coins that can be given by name."""
    try:
        signature = inspect.signature(factory, eval_str=True)
    except NameError:  # an annotation that cannot be evaluated at run time is as good as none
        signature = inspect.signature(factory)
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {
        argument.name: argument
        for argument in list(signature.parameters.values())[3:]
        if argument.kind in by_name
    }


def _import(module: str, attribute: str) -> Factory:
    """Return an attribute of a module that is imported for it."""
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (
        Exception
    ) as error:  # an import runs code of somebody else: whatever goes wrong there is one sentence here
        reason = " ".join(str(error).split())
        raise ValueError(
            f"cannot import {attribute!r} from {module!r}: {type(error).__name__}: {reason}"
        ) from None
    if not callable(found):
        raise ValueError(
            f"{module}:{attribute} is a {type(found).__name__}, expected a cache class or a function"
        )
    factory: Factory = found
    return factory


def _parse(spec: str, factory: Factory, assignments: str) -> dict[str, object]:
    """Return the parameters of a spec, each parsed by its annotation."""
    try:
        arguments, signature = _arguments(factory), inspect.signature(factory)
        signature.bind_partial("dim", "value_dim", "coins")
    except (TypeError, ValueError):
        raise ValueError(f"the factory of {spec!r} cannot be called with dim, value_dim and coins") from None
    any_name = any(argument.kind is argument.VAR_KEYWORD for argument in signature.parameters.values())
    parameters: dict[str, object] = {}
    for assignment in assignments.split(",") if assignments else []:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise ValueError(f"{assignment!r} in {spec!r} is not of the form name=value")
        if name not in arguments and not (any_name and name.isidentifier()):
            raise ValueError(f"{spec!r} has no parameter {name!r}{_nearest(name, arguments)}")
        if name in parameters:
            raise ValueError(f"{spec!r} gives the parameter {name!r} twice")
        annotation = arguments[name].annotation if name in arguments else inspect.Parameter.empty
        parameters[name] = _value(spec, name, text, annotation)
    for name, argument in arguments.items():
        if argument.default is argument.empty and name not in parameters:
            joint = "," if assignments else ":"
            raise ValueError(f"{spec!r} needs the parameter {name!r}, as in {spec}{joint}{name}=...")
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


def _nearest(name: str, known: Iterable[str]) -> str:
    """Return a remark on which known names there are, the nearest first."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    if near:
        return f" (did you mean {near[0]!r}?)"
    return f" (there are {', '.join(names)})" if names else " (there are none)"


CACHES: Mapping[str, Registered] = _register(
    [
        Dense,
        Uniform,
        UniformValues,
        BitPack,
        Repetition,
        Hamming,
        Golay,
        Window,
        UnmaskedWindow,
        Sinks,
        RandomTokens,
        KeyNorm,
        HeavyHitters,
        SnapKV,
        Coreset,
        Balance,
        Merge,
        LowRank,
        Linear,
        TurboQuant,
        QJL,
        SubGen,
        SubGen4,
        Heads,
    ]
)
"""Every cache that comes along, by name."""
