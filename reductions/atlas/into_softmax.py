"""The arrows from INDEX into softmax attention, with their parameter maps (theory 3 and 4)."""

from __future__ import annotations

from dataclasses import replace
from math import log

import numpy as np

from kvfloor.reductions.accuracy import Accuracy
from kvfloor.reductions.atlas.nodes import HARIS_ONAK, INDEX, OURS, SOFTMAX
from kvfloor.reductions.atlas.reduction import About, Instance, Reduction, Shape
from kvfloor.reductions.encodings.keys import KeysEncoding, Layout, chosen_bit_norm, keys_guarantee
from kvfloor.reductions.encodings.levels import Levels
from kvfloor.reductions.encodings.protocol import Encoding
from kvfloor.reductions.encodings.streams.stretched import StretchedEncoding
from kvfloor.reductions.encodings.values import ValuesEncoding, level_count, values_guarantee
from kvfloor.reductions.keys.incoherence import incoherence_bound
from kvfloor.reductions.keys.kissing import KISSING
from kvfloor.reductions.keys.known import Keys
from kvfloor.reductions.keys.packings import orthoplex
from kvfloor.reductions.problems.index import Index

FAILURE_PROBABILITY = 1e-9
"""That randomly drawn keys are more coherent than assumed."""

LOWEST = 1e-6
"""The least value of the precision bound, relative to the largest."""

FINEST_ETA = 1e-6
"""A finer accuracy is counted as this one."""

_KISSING_IN = {kissing.dim: kissing for kissing in KISSING.values()}


def drawn_keys(tokens: int, dim: int, rng: np.random.Generator) -> Keys:
    """Draw Gaussian keys, whose incoherence is bounded but for a chance of 1e-9."""
    return Keys.drawn("gaussian", tokens, dim, rng, failure_probability=FAILURE_PROBABILITY)


def coherence(tokens: int, dim: int) -> float:
    """Return the incoherence that Gaussian keys exceed with probability 1e-9."""
    return incoherence_bound("gaussian", tokens, dim, FAILURE_PROBABILITY) if dim > 1 else 1.0


def _values_up(instance: Instance, shape: Shape) -> Instance | None:
    """Ask for Theorem B's norm on Gaussian keys."""
    return instance.asked_by(values_guarantee(shape.tokens, coherence(shape.tokens, shape.dim), shape.eta))


def _values_encoding(shape: Shape, rng: np.random.Generator) -> Encoding:
    """Return Theorem B's instance."""
    keys = drawn_keys(shape.tokens, shape.dim, rng)
    return ValuesEncoding.build(keys, shape.value_dim, accuracy=Accuracy(shape.eta))


def _levels(shape: Shape) -> tuple[int, float, float]:
    """Return how many geometric levels eta tells apart, C and eps: neighbours cost a level in a million."""
    bound = coherence(shape.tokens, shape.dim)
    if bound == 1:
        return 1, 0.0, bound
    norm = log(shape.tokens / LOWEST**2) / (1 - bound)
    return level_count(max(shape.eta, FINEST_ETA), norm, shape.tokens, bound, LOWEST), norm, bound


def _precision_down(shape: Shape) -> Index | None:
    """Fit a symbol into each value, of as many levels as eta tells apart."""
    levels, _, _ = _levels(shape)
    return Index(shape.tokens * shape.value_dim, levels) if levels > 1 else None


def _precision_up(instance: Instance, shape: Shape) -> Instance:
    """Ask for the query norm at which neighbours cost next to nothing."""
    _, norm, bound = _levels(shape)
    return replace(instance, query_norm=norm, incoherence=bound)


def _precision_encoding(shape: Shape, rng: np.random.Generator) -> Encoding:
    """Return the instance with all levels."""
    count, norm, _ = _levels(shape)
    keys, accuracy = drawn_keys(shape.tokens, shape.dim, rng), Accuracy(max(shape.eta, FINEST_ETA))
    return ValuesEncoding.build(keys, shape.value_dim, Levels.geometric(count, LOWEST), accuracy, norm)


def _keys_down(shape: Shape, both: bool) -> Index | None:
    """Fit d2 bits into each key, and d_v into each value if both; half of a key is its address."""
    if shape.dim < 3:
        return None
    return Index(shape.tokens * Layout.of_half(shape.dim, shape.value_dim, both).bits_per_token)


def _keys_up(instance: Instance, shape: Shape, both: bool) -> Instance | None:
    """Ask for the norm of the addresses."""
    lowest = Layout.of_half(shape.dim, shape.value_dim, both).lowest(shape.eta)
    bound, bit_norm = coherence(shape.tokens, shape.dim // 2), chosen_bit_norm(shape.eta, lowest)
    return instance.asked_by(keys_guarantee(shape.tokens, bound, shape.eta, bit_norm, lowest))


def _keys_encoding(shape: Shape, rng: np.random.Generator, both: bool) -> Encoding:
    """Return the instance in the keys, or in both."""
    addresses = drawn_keys(shape.tokens, shape.dim // 2, rng)
    return KeysEncoding.build(
        addresses, Layout.of_half(shape.dim, shape.value_dim, both), Accuracy(shape.eta)
    )


def _kissing_size(dim: int) -> int:
    """Return the kissing number of these dimensions, 0 where no configuration is known to the package."""
    return _KISSING_IN[dim].size if dim in _KISSING_IN else 0


def _packed_down(shape: Shape, size: int) -> Index | None:
    """Fit d_v bits into each token of a packing of so many keys; None for no packing."""
    return Index(shape.value_dim * min(shape.tokens, size)) if size else None


def _packed_up(instance: Instance, shape: Shape, size: int, incoherence: float) -> Instance | None:
    """Ask for the norm on a packing's tokens that come round until the stream is full: bounded, whatever n is."""
    rounds = shape.tokens // min(shape.tokens, size)
    return instance.asked_by(values_guarantee(shape.tokens // rounds, incoherence, shape.eta))


def _packed_encoding(shape: Shape, keys: Keys) -> Encoding:
    """Return the instance on a packing, repeated to the length of the stream."""
    return StretchedEncoding.build(keys, shape.value_dim, shape.tokens, Accuracy(shape.eta))


INTO_SOFTMAX: tuple[Reduction, ...] = (
    Reduction(
        INDEX,
        SOFTMAX,
        About("values", "3", HARIS_ONAK, "Theorem B: n d_v bits in the values", "N = n d_v"),
        lambda shape: Index(shape.tokens * shape.value_dim),
        _values_up,
        _values_encoding,
    ),
    Reduction(
        INDEX,
        SOFTMAX,
        About(
            "values, precision",
            "3",
            OURS,
            f"precision: n d_v values of L(η) levels from {LOWEST:g} to 1",
            "N = n d_v, q = L(η)",
        ),
        _precision_down,
        _precision_up,
        _precision_encoding,
    ),
    Reduction(
        INDEX,
        SOFTMAX,
        About(
            "keys and values",
            "3",
            OURS,
            "keys and values: n (d2 + d_v) bits, d2 = ⌈d/2⌉ - 1 of a key's d numbers",
            "N = n (d₂ + d_v)",
        ),
        lambda shape: _keys_down(shape, both=True),
        lambda instance, shape: _keys_up(instance, shape, both=True),
        lambda shape, rng: _keys_encoding(shape, rng, both=True),
    ),
    Reduction(
        INDEX,
        SOFTMAX,
        About("keys", "3", OURS, "keys: n d2 bits, d2 = ⌈d/2⌉ - 1 of a key's d numbers", "N = n d₂"),
        lambda shape: _keys_down(shape, both=False),
        lambda instance, shape: _keys_up(instance, shape, both=False),
        lambda shape, rng: _keys_encoding(shape, rng, both=False),
    ),
    Reduction(
        INDEX,
        SOFTMAX,
        About(
            "values, orthoplex keys",
            "4",
            HARIS_ONAK,
            "low dimension: d_v bits for each of min(n, 2d) tokens with orthogonal or opposite keys",
            "N = d_v min(n, 2d)",
        ),
        lambda shape: _packed_down(shape, 2 * shape.dim),
        lambda instance, shape: _packed_up(instance, shape, 2 * shape.dim, 0.0),
        lambda shape, rng: _packed_encoding(shape, orthoplex(shape.dim)),
    ),
    Reduction(
        INDEX,
        SOFTMAX,
        About(
            "values, kissing keys",
            "4",
            HARIS_ONAK,
            "low dimension: d_v bits for each of min(n, P) tokens, P the kissing number of d dimensions",
            "N = d_v min(n, P(d, ½))",
        ),
        lambda shape: _packed_down(shape, _kissing_size(shape.dim)),
        lambda instance, shape: _packed_up(instance, shape, _kissing_size(shape.dim), 0.5),
        lambda shape, rng: _packed_encoding(shape, _KISSING_IN[shape.dim].keys()),
    ),
)
