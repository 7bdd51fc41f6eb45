"""The arrows into the other models, from INDEX or from softmax attention, with their maps (theory 1, 5, 7, 8)."""

from __future__ import annotations

from dataclasses import replace
from math import log

import numpy as np

from kvfloor.reductions.accuracy import Accuracy
from kvfloor.reductions.atlas.into_softmax import coherence, drawn_keys
from kvfloor.reductions.atlas.nodes import (
    CHEN_TENSOR,
    HARIS_ONAK,
    INDEX,
    OURS,
    SOFTMAX,
    TENSOR_FOUR,
    TENSOR_TWO,
    TRANSFORMER,
    VISUAL,
    WINDOW,
)
from kvfloor.reductions.atlas.reduction import About, Instance, Reduction, Shape
from kvfloor.reductions.encodings.protocol import Encoding, Tokens
from kvfloor.reductions.encodings.streams.windowed import WindowEncoding, window_guarantee
from kvfloor.reductions.encodings.tensor import TensorEncoding, tensor_guarantee
from kvfloor.reductions.keys.projections import gaussian_keys
from kvfloor.reductions.problems.index import Index


def _window_down(shape: Shape) -> Index | None:
    """Fit a bit into each value of the window."""
    return None if shape.parts.window is None else Index(shape.parts.window * shape.value_dim)


def _window_up(instance: Instance, shape: Shape) -> Instance | None:
    """Ask for the norm at which neither the window's keys nor the tokens before it drown the one asked for."""
    assert shape.parts.window is not None
    bound, before = coherence(shape.parts.window, shape.dim), shape.tokens - shape.parts.window
    return instance.asked_by(window_guarantee(shape.parts.window, before, bound, shape.eta))


def _window_encoding(shape: Shape, rng: np.random.Generator) -> Encoding:
    """Return the instance in the window, after other tokens."""
    assert shape.parts.window is not None
    before = shape.tokens - shape.parts.window
    earlier = Tokens(gaussian_keys(before, shape.dim, rng), rng.random((before, shape.value_dim)))
    keys = drawn_keys(shape.parts.window, shape.dim, rng)
    return WindowEncoding.build(keys, shape.value_dim, earlier, Accuracy(shape.eta))


def _four_caches_up(instance: Instance, shape: Shape) -> Instance | None:
    """Ask for the norm at which the worst products of both sides are apart; addresses have half of the coordinates."""
    bound = coherence(shape.tokens + 1, shape.dim // 2)
    return instance.asked_by(tensor_guarantee(shape.tokens, bound, shape.eta))


def _four_caches_encoding(shape: Shape, rng: np.random.Generator) -> Encoding:
    """Return the instance in the values of both sides."""
    addresses = drawn_keys(shape.tokens + 1, shape.dim // 2, rng)
    return TensorEncoding.build(addresses, shape.value_dim, Accuracy(shape.eta))


def _visual_down(shape: Shape) -> Shape | None:
    """Take the earlier maps for the stream."""
    return None if shape.parts.last_map is None else shape


def _visual_up(instance: Instance, shape: Shape) -> Instance:
    """Return the norm that drowns the last map, too: its tokens are Bob's, with zero keys, or one with his key.

    All others were n - 1 tokens, each of weight up to e^{C eps}; now there are last_map - 1 more of weight 1.
    """
    assert shape.parts.last_map is not None
    crowd = (shape.tokens + shape.parts.last_map - 2) / (shape.tokens - 1)
    return replace(instance, query_norm=instance.query_norm + log(crowd) / (1 - instance.incoherence))


def _same(instance: Instance, shape: Shape) -> Instance:
    """Ask of the target what is asked of the source."""
    return instance


def _heads_up(instance: Instance, shape: Shape) -> Instance:
    """Hold separate symbols in separate caches."""
    problem = instance.problem
    return replace(instance, problem=replace(problem, length=problem.length * shape.parts.caches))


BEYOND: tuple[Reduction, ...] = (
    Reduction(
        INDEX,
        WINDOW,
        About(
            "values in the window",
            "5",
            HARIS_ONAK,
            "d_v bits for each of the W tokens of the window; the n - W before it weigh 1 each, the reader appends nothing (our reading)",
            "N = d_v W",
        ),
        _window_down,
        _window_up,
        _window_encoding,
    ),
    Reduction(
        INDEX,
        TENSOR_FOUR,
        About(
            "values of both sides",
            "7",
            CHEN_TENSOR,
            "n d_v bits in the values of each side, read against a sentinel",
            "N = 2 n d_v",
        ),
        lambda shape: Index(2 * shape.tokens * shape.value_dim),
        _four_caches_up,
        _four_caches_encoding,
    ),
    Reduction(
        SOFTMAX,
        TENSOR_TWO,
        About(
            "opaque pairs",
            "7",
            CHEN_TENSOR,
            "the n² rows of opaque pairs are the tokens of one stream",
            "n → n²",
        ),
        lambda shape: replace(shape, tokens=shape.tokens**2),
        _same,
    ),
    Reduction(
        SOFTMAX,
        VISUAL,
        About(
            "earlier maps",
            "8",
            "Chen et al., arXiv:2503.14881",
            "the tokens of all earlier maps are one stream, the last map is the reader's (our reading)",
            "n = Σ h w",
        ),
        _visual_down,
        _visual_up,
    ),
    Reduction(
        SOFTMAX,
        TRANSFORMER,
        About(
            "separate heads",
            "1",
            OURS,
            "each of layers x KV heads caches holds symbols of its own",
            "N → N x caches",
        ),
        lambda shape: replace(shape, parts=replace(shape.parts, caches=1)),
        _heads_up,
    ),
)
