"""Streams whose rare tokens count, and how far SubGen's answers on them may be from attention (theory 4)."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches import Cache, wire
from kvfloor.attention.caches.subgen.concentration import bernstein_tail, subgen_slots
from kvfloor.reductions.encodings.protocol import Tokens
from kvfloor.reductions.keys.projections import gaussian_keys

__all__ = ["clusters_of", "draw_queries", "draw_tokens", "relative_errors"]

ACCURACY = 0.5
QUERY_NORM = 5.0
DELTA = 0.15
VALUE_DIM = 4
NEEDLES, SMALL = 2048, 0.02  # one token in so many stands opposite to all others; their values' norm
PEAK = 32.0  # of these streams; ALLOWED checks what it leaves to chance
T, S = subgen_slots(
    accuracy=ACCURACY,
    failure=1e-10,
    score_radius=DELTA * QUERY_NORM,
    stable_rank=VALUE_DIM,
    peak=PEAK,
)


def clusters_of(payload: bytes) -> int:
    """Return the number of clusters that a payload says it carries."""
    _, _, _, clusters, _ = wire.read(payload)[0].counts
    return clusters


def draw_tokens(tokens: int, dim: int, rng: np.random.Generator) -> Tokens:
    """Return unit keys in the cap of products at most -1/2 with an axis, and rare ones at its other end.

    The rare tokens have values of norm 1, the others small ones: who samples without regard to keys or
    values misses what counts.
    """
    keys = np.empty((0, dim), np.float32)
    while len(keys) < tokens:
        drawn = gaussian_keys(tokens, dim, rng, dtype=np.float32)
        keys = np.concatenate([keys, drawn[drawn[:, 0] <= -0.5]])[:tokens]
    rare = np.arange(tokens) % NEEDLES == NEEDLES // 2 - 1
    near = np.eye(dim)[0] + DELTA / 3 * gaussian_keys(int(rare.sum()), dim, rng)
    keys[rare] = near / np.linalg.norm(near, axis=1, keepdims=True)
    values = gaussian_keys(tokens, VALUE_DIM, rng, dtype=np.float32)
    values[~rare] *= SMALL
    return Tokens(keys, values)


def draw_queries(dim: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return queries of norms up to the largest: along the axis, in random directions, and inside the ball."""
    axis = np.linspace(-1, 1, 8)[:, None] * np.eye(dim)[0]
    around = gaussian_keys(56, dim, rng)
    around[28:] *= rng.random((28, 1))
    queries: NDArray[np.float64] = QUERY_NORM * np.concatenate([axis, around])
    return queries


def relative_errors(
    cache: Cache, tokens: Tokens, queries: NDArray[np.float64], parameters: dict[str, Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return each answer's distance from attention over |softmax|_2 |V|_op, and the probability left to it."""
    answers, values = cache.attend(queries), tokens.values.astype(np.float64)
    operator_norm = np.linalg.norm(values, 2)
    a = ACCURACY / (2 + ACCURACY)
    radius = DELTA * QUERY_NORM
    slots = parameters["cluster_slots"]
    tau_tail = bernstein_tail(a, math.sinh(radius) ** 2 / slots, math.expm1(2 * radius) / slots)
    errors, tails = np.empty(len(queries)), np.empty(len(queries))
    step = max(1, (1 << 21) // len(tokens))
    for start in range(0, len(queries), step):
        part = slice(start, start + step)
        weights = np.exp(queries[part] @ tokens.keys.T.astype(np.float64))
        z, tau = weights @ values, weights.sum(axis=1)
        scale = np.linalg.norm(weights, axis=1) * operator_norm
        errors[part] = np.linalg.norm(answers[part] - z / tau[:, None], axis=1) / (scale / tau)
        variance, largest = _numerator_spread(weights, values, z)
        slots = parameters["value_slots"]
        tails[part] = tau_tail + bernstein_tail(a * scale, variance / slots, largest / slots)
    return errors, tails


def _numerator_spread(
    weights: NDArray[np.float64], values: NDArray[Any], z: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the variance of one value slot's estimate of z, and a bound on its distance from z (theory 4)."""
    norms, square = np.linalg.norm(values.astype(np.float64), axis=1), np.square(z).sum(axis=1)
    total = np.square(norms).sum()
    variance = total * np.square(weights).sum(axis=1) - square
    return variance, total * (weights / norms).max(axis=1) + np.sqrt(square)
