"""The registry: every cache that comes along, by name."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from kvfloor.attention.caches.base import Factory
from kvfloor.attention.caches.composed.heads import Heads
from kvfloor.attention.caches.dense import Dense
from kvfloor.attention.caches.eviction.by_attention import HeavyHitters, SnapKV
from kvfloor.attention.caches.eviction.by_score import KeyNorm, RandomTokens, Sinks, Window
from kvfloor.attention.caches.eviction.unmasked_window import UnmaskedWindow
from kvfloor.attention.caches.mixing.balance import Balance
from kvfloor.attention.caches.mixing.coreset import Coreset
from kvfloor.attention.caches.mixing.linear import Linear
from kvfloor.attention.caches.mixing.lowrank import LowRank
from kvfloor.attention.caches.mixing.merging import Merge
from kvfloor.attention.caches.public.bit_packing import BitPack
from kvfloor.attention.caches.public.covering_codes import Golay, Hamming, Repetition
from kvfloor.attention.caches.quantised.blocks import Blocks
from kvfloor.attention.caches.quantised.qjl import QJL
from kvfloor.attention.caches.quantised.turboquant import TurboQuant
from kvfloor.attention.caches.quantised.uniform import Uniform, UniformValues
from kvfloor.attention.caches.recurrent.delta import DeltaNet, GatedDeltaNet
from kvfloor.attention.caches.recurrent.hybrid import Hybrid
from kvfloor.attention.caches.recurrent.linear_attention import LinearAttention
from kvfloor.attention.caches.recurrent.rwkv import RWKV
from kvfloor.attention.caches.recurrent.selective import SelectiveSSM
from kvfloor.attention.caches.subgen.subgen import SubGen
from kvfloor.attention.caches.subgen.subgen4 import SubGen4

__all__ = ["CACHES", "REQUIRED", "Registered", "arguments", "registered"]

REQUIRED = "required"
"""Stands in the place of the default of a parameter that has none."""

_CLASSES: tuple[Any, ...] = (
    Dense, Uniform, UniformValues, Blocks, BitPack, Repetition, Hamming, Golay,
    Window, UnmaskedWindow, Sinks, RandomTokens, KeyNorm, HeavyHitters, SnapKV,
    Coreset, Balance, Merge, LowRank, Linear, TurboQuant, QJL, SubGen, SubGen4, Heads,
    LinearAttention, DeltaNet, GatedDeltaNet, SelectiveSSM, RWKV, Hybrid,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Registered:
    """A cache that has a name.

    Parameters
    ----------
    name : str
        The name.
    factory : Factory
        What makes it.
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


def registered(name: str, factory: Factory, source: str) -> Registered:
    """Return what a factory says of itself, under a name: its summary is the first line of its docstring."""
    parameters = {
        name: REQUIRED if argument.default is argument.empty else argument.default
        for name, argument in arguments(factory).items()
    }
    summary = (inspect.getdoc(factory) or "").partition("\n")[0]
    return Registered(name, factory, summary, source, MappingProxyType(parameters))


def arguments(factory: Factory) -> dict[str, inspect.Parameter]:
    """Return the arguments of a factory after dim, value_dim and coins that can be given by name, by name."""
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


CACHES: Mapping[str, Registered] = MappingProxyType(
    {cls.name: registered(cls.name, cls, cls.source) for cls in _CLASSES}
)
"""Every cache that comes along, by name."""
