"""The arrows of the atlas: every reduction of the package, with its parameter maps (theory 3, 4, 5, 7, 8)."""

from __future__ import annotations

from dataclasses import replace
from math import log

import numpy as np

from kvfloor.reductions.atlas.reduction import Instance, Reduction, Shape
from kvfloor.reductions.encodings.accuracy import Accuracy, Guarantee
from kvfloor.reductions.encodings.keys import KeysEncoding, Layout, chosen_bit_norm, keys_guarantee
from kvfloor.reductions.encodings.levels import Levels
from kvfloor.reductions.encodings.protocol import Encoding, Tokens
from kvfloor.reductions.encodings.stretched import StretchedEncoding
from kvfloor.reductions.encodings.tensor import TensorEncoding, tensor_guarantee
from kvfloor.reductions.encodings.values import ValuesEncoding, level_count, values_guarantee
from kvfloor.reductions.encodings.windowed import WindowEncoding, window_guarantee
from kvfloor.reductions.keys.incoherence import incoherence_bound
from kvfloor.reductions.keys.kissing import KISSING
from kvfloor.reductions.keys.known import Keys
from kvfloor.reductions.keys.packings import orthoplex
from kvfloor.reductions.keys.projections import gaussian_keys
from kvfloor.reductions.problems.index import Index

INDEX = "INDEX"
SOFTMAX = "softmax attention"
TRANSFORMER = "transformer"
WINDOW = "sliding-window attention"
VISUAL = "visual autoregressive attention"
TENSOR_FOUR = "tensor attention, four caches"
TENSOR_TWO = "tensor attention, two caches"

FAILURE_PROBABILITY = 1e-9
"""That randomly drawn keys are more coherent than assumed."""

LOWEST = 1e-6
"""The least value of the precision bound, relative to the largest."""

FINEST_ETA = 1e-6
"""A finer accuracy is counted as this one."""

_KISSING_IN = {kissing.dim: kissing for kissing in KISSING.values()}


def _keys(tokens: int, dim: int, rng: np.random.Generator) -> Keys:
    """Draw Gaussian keys, whose incoherence is bounded but for a chance of 1e-9."""
    return Keys.drawn("gaussian", tokens, dim, rng, failure_probability=FAILURE_PROBABILITY)


def _coherence(tokens: int, dim: int) -> float:
    """Return the incoherence that Gaussian keys exceed with probability 1e-9."""
    return incoherence_bound("gaussian", tokens, dim, FAILURE_PROBABILITY) if dim > 1 else 1.0


def _asking(instance: Instance, guarantee: Guarantee | None) -> Instance | None:
    """Return the instance with what its guarantee asks for."""
    if guarantee is None:
        return None
    return replace(instance, query_norm=guarantee.query_norm, incoherence=guarantee.incoherence)


def _values_up(instance: Instance, shape: Shape) -> Instance | None:
    """Ask for Theorem B's norm on Gaussian keys."""
    return _asking(instance, values_guarantee(shape.tokens, _coherence(shape.tokens, shape.dim), shape.eta))


def _values_encoding(shape: Shape, rng: np.random.Generator) -> Encoding:
    """Return Theorem B's instance."""
    keys = _keys(shape.tokens, shape.dim, rng)
    return ValuesEncoding.build(keys, shape.value_dim, accuracy=Accuracy(shape.eta))


def _levels(shape: Shape) -> tuple[int, float, float]:
    """Return how many geometric levels eta tells apart, C and eps: neighbours cost a level in a million."""
    bound = _coherence(shape.tokens, shape.dim)
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
    keys, accuracy = _keys(shape.tokens, shape.dim, rng), Accuracy(max(shape.eta, FINEST_ETA))
    return ValuesEncoding.build(keys, shape.value_dim, Levels.geometric(count, LOWEST), accuracy, norm)


def _keys_down(shape: Shape, both: bool) -> Index | None:
    """Fit d2 bits into each key, and d_v into each value if both; half of a key is its address."""
    if shape.dim < 3:
        return None
    return Index(shape.tokens * Layout.of_half(shape.dim, shape.value_dim, both).bits_per_token)


def _keys_up(instance: Instance, shape: Shape, both: bool) -> Instance | None:
    """Ask for the norm of the addresses."""
    lowest = Layout.of_half(shape.dim, shape.value_dim, both).lowest(shape.eta)
    bound, bit_norm = _coherence(shape.tokens, shape.dim // 2), chosen_bit_norm(shape.eta, lowest)
    return _asking(instance, keys_guarantee(shape.tokens, bound, shape.eta, bit_norm, lowest))


def _keys_encoding(shape: Shape, rng: np.random.Generator, both: bool) -> Encoding:
    """Return the instance in the keys, or in both."""
    addresses = _keys(shape.tokens, shape.dim // 2, rng)
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
    return _asking(instance, values_guarantee(shape.tokens // rounds, incoherence, shape.eta))


def _packed_encoding(shape: Shape, keys: Keys) -> Encoding:
    """Return the instance on a packing, repeated to the length of the stream."""
    return StretchedEncoding.build(keys, shape.value_dim, shape.tokens, Accuracy(shape.eta))


def _window_down(shape: Shape) -> Index | None:
    """Fit a bit into each value of the window."""
    return None if shape.window is None else Index(shape.window * shape.value_dim)


def _window_up(instance: Instance, shape: Shape) -> Instance | None:
    """Ask for the norm at which neither the window's keys nor the tokens before it drown the one asked for."""
    assert shape.window is not None
    bound, before = _coherence(shape.window, shape.dim), shape.tokens - shape.window
    return _asking(instance, window_guarantee(shape.window, before, bound, shape.eta))


def _window_encoding(shape: Shape, rng: np.random.Generator) -> Encoding:
    """Return the instance in the window, after other tokens."""
    assert shape.window is not None
    before = shape.tokens - shape.window
    earlier = Tokens(gaussian_keys(before, shape.dim, rng), rng.random((before, shape.value_dim)))
    keys = _keys(shape.window, shape.dim, rng)
    return WindowEncoding.build(keys, shape.value_dim, earlier, Accuracy(shape.eta))


def _four_caches_up(instance: Instance, shape: Shape) -> Instance | None:
    """Ask for the norm at which the worst products of both sides are apart; addresses have half of the coordinates."""
    bound = _coherence(shape.tokens + 1, shape.dim // 2)
    return _asking(instance, tensor_guarantee(shape.tokens, bound, shape.eta))


def _four_caches_encoding(shape: Shape, rng: np.random.Generator) -> Encoding:
    """Return the instance in the values of both sides."""
    addresses = _keys(shape.tokens + 1, shape.dim // 2, rng)
    return TensorEncoding.build(addresses, shape.value_dim, Accuracy(shape.eta))


def _visual_down(shape: Shape) -> Shape | None:
    """Take the earlier maps for the stream."""
    return None if shape.last_map is None else shape


def _visual_up(instance: Instance, shape: Shape) -> Instance:
    """Return the norm that drowns the last map, too: its tokens are Bob's, with zero keys, or one with his key.

    All others were n - 1 tokens, each of weight up to e^{C eps}; now there are last_map - 1 more of weight 1.
    """
    assert shape.last_map is not None
    crowd = (shape.tokens + shape.last_map - 2) / (shape.tokens - 1)
    return replace(instance, query_norm=instance.query_norm + log(crowd) / (1 - instance.incoherence))


def _same(instance: Instance, shape: Shape) -> Instance:
    """Ask of the target what is asked of the source."""
    return instance


def _heads_up(instance: Instance, shape: Shape) -> Instance:
    """Hold separate symbols in separate caches."""
    problem = instance.problem
    return replace(instance, problem=replace(problem, length=problem.length * shape.caches))


OURS = "ours"
HARIS_ONAK = "Haris and Onak, COLT 2025"
CHEN_TENSOR = "Chen et al., arXiv:2503.11108"

REDUCTIONS: tuple[Reduction, ...] = (
    Reduction(
        "values",
        INDEX,
        SOFTMAX,
        "3",
        HARIS_ONAK,
        "Theorem B: n d_v bits in the values",
        "N = n d_v",
        lambda shape: Index(shape.tokens * shape.value_dim),
        _values_up,
        _values_encoding,
    ),
    Reduction(
        "values, precision",
        INDEX,
        SOFTMAX,
        "3",
        OURS,
        f"precision: n d_v values of L(η) levels from {LOWEST:g} to 1",
        "N = n d_v, q = L(η)",
        _precision_down,
        _precision_up,
        _precision_encoding,
    ),
    Reduction(
        "keys and values",
        INDEX,
        SOFTMAX,
        "3",
        OURS,
        "keys and values: n (d2 + d_v) bits, d2 = ⌈d/2⌉ - 1 of a key's d numbers",
        "N = n (d₂ + d_v)",
        lambda shape: _keys_down(shape, both=True),
        lambda instance, shape: _keys_up(instance, shape, both=True),
        lambda shape, rng: _keys_encoding(shape, rng, both=True),
    ),
    Reduction(
        "keys",
        INDEX,
        SOFTMAX,
        "3",
        OURS,
        "keys: n d2 bits, d2 = ⌈d/2⌉ - 1 of a key's d numbers",
        "N = n d₂",
        lambda shape: _keys_down(shape, both=False),
        lambda instance, shape: _keys_up(instance, shape, both=False),
        lambda shape, rng: _keys_encoding(shape, rng, both=False),
    ),
    Reduction(
        "values, orthoplex keys",
        INDEX,
        SOFTMAX,
        "4",
        HARIS_ONAK,
        "low dimension: d_v bits for each of min(n, 2d) tokens with orthogonal or opposite keys",
        "N = d_v min(n, 2d)",
        lambda shape: _packed_down(shape, 2 * shape.dim),
        lambda instance, shape: _packed_up(instance, shape, 2 * shape.dim, 0.0),
        lambda shape, rng: _packed_encoding(shape, orthoplex(shape.dim)),
    ),
    Reduction(
        "values, kissing keys",
        INDEX,
        SOFTMAX,
        "4",
        HARIS_ONAK,
        "low dimension: d_v bits for each of min(n, P) tokens, P the kissing number of d dimensions",
        "N = d_v min(n, P(d, ½))",
        lambda shape: _packed_down(shape, _kissing_size(shape.dim)),
        lambda instance, shape: _packed_up(instance, shape, _kissing_size(shape.dim), 0.5),
        lambda shape, rng: _packed_encoding(shape, _KISSING_IN[shape.dim].keys()),
    ),
    Reduction(
        "values in the window",
        INDEX,
        WINDOW,
        "5",
        HARIS_ONAK,
        "d_v bits for each of the W tokens of the window; the n - W before it weigh 1 each, the reader appends nothing (our reading)",
        "N = d_v W",
        _window_down,
        _window_up,
        _window_encoding,
    ),
    Reduction(
        "values of both sides",
        INDEX,
        TENSOR_FOUR,
        "7",
        CHEN_TENSOR,
        "n d_v bits in the values of each side, read against a sentinel",
        "N = 2 n d_v",
        lambda shape: Index(2 * shape.tokens * shape.value_dim),
        _four_caches_up,
        _four_caches_encoding,
    ),
    Reduction(
        "opaque pairs",
        SOFTMAX,
        TENSOR_TWO,
        "7",
        CHEN_TENSOR,
        "the n² rows of opaque pairs are the tokens of one stream",
        "n → n²",
        lambda shape: replace(shape, tokens=shape.tokens**2),
        _same,
    ),
    Reduction(
        "earlier maps",
        SOFTMAX,
        VISUAL,
        "8",
        "Chen et al., arXiv:2503.14881",
        "the tokens of all earlier maps are one stream, the last map is the reader's (our reading)",
        "n = Σ h w",
        _visual_down,
        _visual_up,
    ),
    Reduction(
        "separate heads",
        SOFTMAX,
        TRANSFORMER,
        "1",
        OURS,
        "each of layers x KV heads caches holds symbols of its own",
        "N → N x caches",
        lambda shape: replace(shape, caches=1),
        _heads_up,
    ),
)
"""Every reduction of the package."""
