"""Exact softmax attention: the plainest code there is, and a blockwise one that is fast."""

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.checks import LARGEST, Matrix, integer, matrix, token_block
from kvfloor.attention.kernel.blocks import Tokens
from kvfloor.attention.kernel.limits import FOLD, MOST_LEFT_OUT, SHARE, Limits, rounding
from kvfloor.attention.kernel.mirror import attend_mirrored, mirrored_edges, multiples
from kvfloor.attention.kernel.strips import attend
from kvfloor.attention.kernel.sums import Asked

__all__ = [
    "mean_tolerance",
    "peak",
    "scaled_values",
    "softmax_attention",
    "softmax_attention_reference",
    "softmax_tolerance",
    "symmetric_attention",
    "weighted_attention",
]

QUERY_BLOCK = 640
KEY_BLOCK = 640
LARGEST_FLOAT32_BOUND = 1e37
_Doubles: TypeAlias = NDArray[np.float64]


def softmax_attention_reference(queries: object, keys: object, values: object) -> _Doubles:
    """Attend to every token, in float64, with the whole matrix of scores in memory.

    Parameters
    ----------
    queries : array_like, shape (m, d)
        Queries; the inverse temperature is their norm (no 1/sqrt(d) factor).
    keys : array_like, shape (n, d)
        Keys of n >= 1 tokens.
    values : array_like, shape (n, d_v)
        Values of the same tokens.

    Returns
    -------
    ndarray of float64, shape (m, d_v)
        ``sum_l e^<q,k_l> v_l / sum_l e^<q,k_l>`` for every query q.

    Raises
    ------
    ValueError
        If shapes disagree, or an entry is not finite.
    """
    q, k, v = (array.astype(np.float64) for array in _checked(queries, keys, values))
    scores = q @ k.T
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    outputs: _Doubles = weights @ v / weights.sum(axis=1, keepdims=True)
    return outputs


def softmax_attention(
    queries: object,
    keys: object,
    values: object,
    *,
    query_block: int = QUERY_BLOCK,
    key_block: int = KEY_BLOCK,
) -> Matrix:
    """Attend to every token, blockwise: query_block x key_block scores are in memory at a time.

    By Cauchy-Schwarz no score of a query exceeds |query| max |key|. Where this bound is small the weights of
    the plain scores neither overflow nor become denormal. Else scores are shifted down, by just so much that
    no sum of weights can overflow, and weights below the smallest normal number are raised to it.

    Where there are many queries a few are looked at beforehand: how far do their largest scores lie below the
    bound? Weights so far below that all together they would be lost in rounding are left out, block by block,
    if few remain; else the block is added whole (theory 13). A query whose sum turns out to be too small for
    what was left out, or raised, is done again, whole and shifted by its true maximum. Queries that are a
    multiple of consecutive keys are answered as `symmetric_attention` does. Threads share the queries, as
    many as BLAS has.

    Parameters
    ----------
    queries : array_like, shape (m, d)
        Queries; the inverse temperature is their norm (no 1/sqrt(d) factor).
    keys : array_like, shape (n, d)
        Keys of n >= 1 tokens, of any norm.
    values : array_like, shape (n, d_v)
        Values of the same tokens.
    query_block, key_block : int
        Numbers of queries and of tokens in a block, at least 1.

    Returns
    -------
    ndarray, shape (m, d_v)
        The outputs, float32 if all three inputs are float32 (or float16), else float64; within
        `softmax_tolerance` of the exact ones.

    Raises
    ------
    ValueError
        If shapes disagree, an entry is not finite, or a block is not a positive integer.
    """
    q, k, v = _checked(queries, keys, values)
    query_block = min(integer("query_block", query_block, 1, 1 << 24), len(q))
    key_block = min(integer("key_block", key_block, 1, 1 << 24), len(k))
    norms = _norms(k)
    if len(q) > key_block and (found := multiples(q, k, norms)):
        return _mirrored(k, v, *found, len(q), key_block)

    dtype = np.result_type(q, k, v)
    bounds = _norms(q) * (norms.max() * FOLD)
    if dtype == np.float32 and bounds.max() > LARGEST_FLOAT32_BOUND:
        wide = softmax_attention(q.astype(np.float64), k, v, query_block=query_block, key_block=key_block)
        return wide.astype(np.float32)
    edges = [*range(0, len(k), key_block), len(k)]
    limits = Limits.of(dtype, len(k), k.shape[1], _run(len(k), key_block))

    def attended(scaled: Matrix) -> Matrix:
        tokens = Tokens(k.astype(dtype, copy=False), scaled, edges, query_block, len(q))
        return attend(Asked(tokens, q, FOLD, bounds, limits))

    return _with_scaled(v.astype(dtype, copy=False), attended)


def symmetric_attention(keys: object, values: object, scale: float, *, key_block: int = KEY_BLOCK) -> Matrix:
    """Attend with a multiple of every key to all of them, at about half the price.

    The scores are a symmetric matrix: where weights are left out of a block (theory 13), what is kept serves
    the block on the other side of the diagonal as well.

    Parameters
    ----------
    keys : array_like, shape (n, d)
        Keys of n >= 1 tokens.
    values : array_like, shape (n, d_v)
        Values of the same tokens.
    scale : float
        What a key is multiplied by to become a query, of magnitude up to ``LARGEST``.
    key_block : int
        Number of queries, and of tokens, in a block, at least 1.

    Returns
    -------
    ndarray, shape (n, d_v)
        As ``softmax_attention(scale * keys, keys, values)`` returns it, up to `softmax_tolerance`.

    Raises
    ------
    ValueError
        If shapes disagree, an entry or the scale is not finite, or the block is not a positive integer.

    Examples
    --------
    >>> symmetric_attention(np.eye(2), [[0.0], [1.0]], 50.0).round(3).ravel().tolist()
    [0.0, 1.0]
    """
    k, v = token_block(keys, values, None, None)
    if isinstance(scale, bool) or not isinstance(scale, int | float | np.integer | np.floating):
        raise ValueError(f"scale is {scale!r}, expected a number")
    if not -LARGEST <= scale <= LARGEST:
        raise ValueError(f"scale is {scale!r}, expected a number within +-{LARGEST:g}")
    key_block = min(integer("key_block", key_block, 1, 1 << 24), len(k))
    return _mirrored(k, v, 0, float(scale), len(k), key_block)


def _mirrored(k: Matrix, v: Matrix, start: int, scale: float, count: int, block: int) -> Matrix:
    """Attend with multiples of consecutive keys."""
    dtype = np.result_type(k, v)
    norms, stop = _norms(k), start + count
    bounds = norms[start:stop] * (norms.max() * abs(scale) * FOLD)
    largest = max(float(bounds.max()), abs(scale) * FOLD, float(norms.max()) * abs(scale) * FOLD)
    if dtype == np.float32 and largest > LARGEST_FLOAT32_BOUND:
        return _mirrored(k.astype(np.float64), v, start, scale, count, block).astype(np.float32)

    def attended(scaled: Matrix) -> Matrix:
        wide = k.astype(dtype, copy=False)
        tokens = Tokens(wide, scaled, mirrored_edges(len(k), start, stop, block), block, count)
        asked = Asked(
            tokens,
            wide[start:stop],
            scale * FOLD,
            bounds,
            Limits.of(dtype, len(k), k.shape[1], _run(len(k), block)),
        )
        return attend_mirrored(asked, start, norms[start:stop] ** 2 * (scale * FOLD))

    return _with_scaled(v.astype(dtype, copy=False), attended)


def _with_scaled(values: Matrix, attend: Callable[[Matrix], Matrix]) -> Matrix:
    """Return what attention makes of values, given how it answers with these scaled into [-1, 1]."""
    largest = peak(values)
    scaled, exponent = scaled_values(values, largest)
    outputs = attend(scaled)
    if exponent:
        highest = values.dtype.type(math.ldexp(largest, -exponent))
        np.ldexp(np.clip(outputs, -highest, highest), exponent, out=outputs)
    return outputs


def weighted_attention(queries: object, keys: object, values: object, weights: object) -> Matrix:
    """Attend to tokens that count several times each, or a fraction of a time.

    A weight is a score: the key gets the coordinate ln w and the query the coordinate 1.

    Parameters
    ----------
    queries, keys, values
        As for `softmax_attention`.
    weights : array_like, shape (n,)
        How often each token counts, positive.

    Returns
    -------
    ndarray, shape (m, d_v)
        ``sum_l w_l e^<q,k_l> v_l / sum_l w_l e^<q,k_l>`` for every query q, as `softmax_attention` computes it.

    Raises
    ------
    ValueError
        If shapes disagree, an entry is not finite, or a weight is not positive.
    """
    checked_keys, checked_values = token_block(keys, values, None, None)
    checked_queries = matrix("queries", queries, checked_keys.shape[1])
    counts = np.asarray(weights, np.float64)
    if counts.shape != (len(checked_keys),) or not (counts > 0).all():
        raise ValueError(f"weights must be {len(checked_keys)} positive numbers, one a token")
    scores = np.log(counts).astype(checked_keys.dtype)
    ones = np.ones(len(checked_queries), checked_queries.dtype)
    return softmax_attention(
        np.column_stack([checked_queries, ones]), np.column_stack([checked_keys, scores]), checked_values
    )


def softmax_tolerance(
    tokens: int, dim: int, largest_score: float, dtype: type[np.floating[Any]], *, key_block: int = KEY_BLOCK
) -> float:
    """Bound the error of `softmax_attention`, relative to the largest magnitude among the values.

    With u the unit roundoff and B = |query| max |key| a score errs by at most (d + 8) u B, so a weight is off
    by a factor e^x, |x| <= (d + 8) u B + 8 u with the 4 ulp of a power: this moves a weighted mean of values
    in [-1, 1] by at most 2 tanh(x/2). The sums over a block and over the blocks add at most
    g = (block + blocks + 8) u to numerator and denominator each; weights that are raised, the division and the
    scaling another 12 u. What is left out is a share of at most one sixteenth of x + g of the weights, and
    moves the mean by at most twice that (theory 13).

    Parameters
    ----------
    tokens : int
        Number n of tokens.
    dim : int
        Dimension d of the keys.
    largest_score : float
        B, an upper bound on |query| |key|.
    dtype : type
        numpy.float32 or numpy.float64, the precision of the computation.
    key_block : int
        The number of tokens in a block.

    Returns
    -------
    float
        t such that every output is within t max |values| of the exact one.
    """
    unit = float(np.finfo(dtype).eps) / 2
    return mean_tolerance(
        float(rounding(dim, unit, largest_score)), _run(tokens, min(tokens, key_block)) * unit, unit
    )


def mean_tolerance(scores: float, sums: float, unit: float) -> float:
    """Bound the error of a weighted mean of values in [-1, 1].

    Parameters
    ----------
    scores : float
        By how much a score may err, in nats.
    sums : float
        By how much a sum of weights may, relative to it.
    unit : float
        The unit roundoff.

    Returns
    -------
    float
        As `softmax_tolerance` derives it; 2, the diameter, says nothing.
    """
    left_out = min((scores + sums) / SHARE, MOST_LEFT_OUT)
    moved = 2 * math.tanh(scores / 2 + 4 * unit) + 2 * sums / max(1 - sums, sums) + 2 * left_out + 12 * unit
    return min(moved, 2.0)


def _run(tokens: int, block: int) -> int:
    """Return the most additions that a weight goes through: in its block, of the blocks, and some to spare."""
    return block + math.ceil(tokens / block) + 8


def scaled_values(values: Matrix, largest: float) -> tuple[Matrix, int]:
    """Scale values into [-1, 1], where they cannot overflow a sum of weights, by a power of two.

    Parameters
    ----------
    values : ndarray, shape (n, d_v)
        Finite values.
    largest : float
        The largest magnitude among them.

    Returns
    -------
    scaled : ndarray, shape (n, d_v)
        values 2^-exponent, without rounding; the array itself if the exponent is 0.
    exponent : int
        The least with largest <= 2^exponent; 0 if all values are 0.
    """
    exponent = math.ceil(math.log2(largest)) if largest > 0 else 0
    return np.ldexp(values, -exponent) if exponent else values, exponent


def peak(array: Matrix) -> float:
    """Return the largest magnitude among the finite entries, at least one, of an array."""
    return max(float(array.max()), -float(array.min()))


def _checked(queries: object, keys: object, values: object) -> tuple[Matrix, Matrix, Matrix]:
    """Return the three arguments of attention as matrices whose shapes agree."""
    checked_keys, checked_values = token_block(keys, values, None, None)
    return matrix("queries", queries, checked_keys.shape[1]), checked_keys, checked_values


def _norms(rows: Matrix) -> _Doubles:
    """Return upper bounds on Euclidean norms of rows, equal to them but for rounding and underflow."""
    squares = np.einsum("ij,ij->i", rows, rows)
    if not np.isfinite(squares).all():
        return _norms(rows.astype(np.float64))
    numbers, dim = np.finfo(rows.dtype), rows.shape[1]
    rounded = squares.astype(np.float64) * (1 + (dim + 4) * float(numbers.eps))
    norms: _Doubles = np.sqrt(rounded + dim * float(numbers.tiny))
    return norms
