"""Readers: ways to turn a cache's answers into values, which `Encoding.decode` then reads (theory 1).

The answers O to the queries C k_i are what attention makes of the values V. A reader that knows the public
keys, and the cache's code and coins, may undo it. Each returns an estimate of V in the place of O; what it
returns is a function of the answers and of what is public, so that Theorem A holds for it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from math import prod
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import svd

from kvfloor.reductions.checks import Floats

__all__ = ["least_squares", "likeliest", "probed_weights", "softmax_weights"]

Doubles: TypeAlias = NDArray[np.float64]
Symbols: TypeAlias = NDArray[np.intp]
Answers: TypeAlias = Callable[[Doubles], Floats]

MOST_STRINGS = 4096  # up to so many strings the likeliest is found by trying all
SWEEPS = 8
_NOISES = 4.0 ** np.arange(-26, 3)  # variances of the noise, from that of float64 on


def softmax_weights(keys: Floats, reader_keys: Floats, queries: Floats) -> Doubles:
    """Return the weights that exact attention gives to the tokens, among which are the reader's own.

    Parameters
    ----------
    keys : ndarray, shape (n, d)
        Public keys.
    reader_keys : ndarray, shape (b, d)
        Keys of the reader's tokens, whose values are 0.
    queries : ndarray, shape (m, d)
        Queries.

    Returns
    -------
    ndarray of float64, shape (m, n)
        P, with O = P V.
    """
    scores: Doubles = queries.astype(np.float64) @ np.concatenate([keys, reader_keys]).T.astype(np.float64)
    weights: Doubles = np.exp(scores - scores.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    return weights[:, : len(keys)]


def probed_weights(tokens: int, value_dim: int, answers: Answers) -> tuple[Doubles, Doubles]:
    """Return the affine map from values to answers that a cache shows on public values.

    The cache is asked what it answers where one token has value 1 and all others 0, in one channel, d_v
    tokens at a time; and where all are 0. Where its answers are not affine in the values, or channels
    mix, this is a map like any other: the estimate from it may be bad, the certificate stays right.

    Parameters
    ----------
    tokens, value_dim : int
        n and d_v.
    answers : callable
        From values (n, d_v) to the answers (m, d_v) of the cache under test.

    Returns
    -------
    weights : ndarray, shape (m, n)
        Answers to unit values, less the offset.
    offset : ndarray, shape (m, d_v)
        Answers where all values are 0.
    """
    offset = answers(np.zeros((tokens, value_dim))).astype(np.float64)
    columns = []
    for start in range(0, tokens, value_dim):
        units = np.zeros((tokens, value_dim))
        width = min(value_dim, tokens - start)
        units[np.arange(start, start + width), np.arange(width)] = 1.0
        columns.append((answers(units) - offset)[:, :width])
    return np.hstack(columns), offset


def least_squares(weights: Doubles, outputs: Floats, levels: Doubles) -> Doubles:
    """Solve `weights @ values = outputs` for values within the range of the levels (ridge regression).

    The penalty is that of the posterior mean for independent values with the mean and variance of the
    levels and independent noise. The variance of the noise, which nobody tells, is the one of highest
    likelihood on a grid of powers of 4. Directions in which the weights are weak thus count as far as they
    carry more signal than noise, and those in which they are nil fall to the mean.

    Parameters
    ----------
    weights : ndarray, shape (m, n)
        The map from values to outputs.
    outputs : ndarray, shape (m, d_v)
        What was answered, less an offset if there is one.
    levels : ndarray, shape (q,)
        What a value can be.

    Returns
    -------
    ndarray of float64, shape (n, d_v)
        Estimates, clipped to the range of the levels.
    """
    mean, variance = float(np.mean(levels)), float(np.var(levels))
    left, scales, right = svd(weights, full_matrices=False)
    seen = left.T @ (outputs - mean * weights.sum(axis=1, keepdims=True))
    # Seen components are normal with these variances, for every candidate noise, in each of d_v channels.
    expected = variance * scales**2 + variance * _NOISES[:, None]
    misfit = (np.log(expected) + np.square(seen).mean(axis=1) / expected).sum(axis=1)
    gains = variance * scales / expected[np.argmin(misfit)]
    values: Doubles = np.clip(mean + right.T @ (gains[:, None] * seen), levels[0], levels[-1])
    return values


def likeliest(start: Doubles, outputs: Floats, levels: Doubles, answers: Answers) -> Doubles:
    """Return values among the levels whose simulated answers are nearest to the given ones.

    Under normal noise this is maximum likelihood. All strings are tried where they are at most 4096. Else
    the search is local: in each of at most 8 sweeps over the tokens, the symbols of a token move one level up,
    then one down, in all channels in which that brings the channel's answers nearer; a move that does not
    bring all answers together nearer is taken back.

    Parameters
    ----------
    start : ndarray, shape (n, d_v)
        Where the local search starts; rounded to the nearest levels.
    outputs : ndarray, shape (m, d_v)
        What was answered.
    levels : ndarray, shape (q,)
        What a value can be.
    answers : callable
        From values (n, d_v) to the answers (m, d_v) of the cache under test.

    Returns
    -------
    ndarray of float64, shape (n, d_v)
        Values, each one of the levels.
    """

    def distances(symbols: Symbols) -> Doubles:
        """Return the squared distance of each channel's answers."""
        missed = answers(levels[symbols]) - outputs.astype(np.float64)
        squares: Doubles = np.square(missed).sum(axis=0)
        return squares

    few = start.size * np.log2(len(levels)) <= np.log2(MOST_STRINGS)
    found = (
        _likeliest_of_all(start.shape, len(levels), distances)
        if few
        else _likeliest_near(np.abs(start[:, :, None] - levels).argmin(axis=2), len(levels), distances)
    )
    values: Doubles = levels[found]
    return values


def _likeliest_of_all(
    shape: tuple[int, ...], alphabet: int, distances: Callable[[Symbols], Doubles]
) -> Symbols:
    """Return the string at the least distance, the first of equals."""
    strings = itertools.product(range(alphabet), repeat=prod(shape))
    every = (np.array(string).reshape(shape) for string in strings)
    return min(every, key=lambda symbols: float(distances(symbols).sum()))


def _likeliest_near(symbols: Symbols, alphabet: int, distances: Callable[[Symbols], Doubles]) -> Symbols:
    """Return the string at which the local search that starts at `symbols` ends."""
    best = distances(symbols)
    for _ in range(SWEEPS):
        before = best.sum()
        for token, step in itertools.product(range(len(symbols)), (1, -1)):
            moved = symbols.copy()
            moved[token] = np.clip(moved[token] + step, 0, alphabet - 1)
            worse = distances(moved) >= best
            moved[:, worse] = symbols[:, worse]
            if not worse.all() and (found := distances(moved)).sum() < best.sum():
                symbols, best = moved, found
        if best.sum() == before:
            break
    return symbols
