"""Exact softmax attention: the plainest code there is, and a blockwise one that is fast."""

import math
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.checks import Matrix, integer, matrix, token_block

__all__ = [
    "ExponentialSums",
    "scaled_values",
    "softmax_attention",
    "softmax_attention_reference",
    "softmax_tolerance",
    "weighted_attention",
]

QUERY_BLOCK = 512
KEY_BLOCK = 512
LOG2_E = math.log2(math.e)
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

    Weights are powers of two, with log2(e) folded into the queries. No running maximum is kept: by
    Cauchy-Schwarz no score of a query exceeds |query| max |key|, which is known beforehand. Where this
    bound is small the weights of the plain scores neither overflow nor become denormal. Else scores are
    shifted down, by just so much that no sum of weights can overflow, and weights below the smallest normal
    number are raised to it. A query whose scores all lie so far below their bound that this would tell is
    done again, shifted by its true maximum.

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
    dtype = np.result_type(q, k, v)
    bounds = _norms(q) * (_norms(k).max() * LOG2_E)
    if dtype == np.float32 and bounds.max() > LARGEST_FLOAT32_BOUND:
        wide = softmax_attention(q.astype(np.float64), k, v, query_block=query_block, key_block=key_block)
        return wide.astype(np.float32)

    scaled, largest, exponent = scaled_values(v.astype(dtype, copy=False))
    # n weights of 2^highest add up to a quarter of what overflows.
    limits = np.finfo(dtype)
    highest = limits.maxexp - 2 - math.log2(len(k))
    shifts = np.maximum(bounds - highest, 0.0)
    sums = ExponentialSums(
        k.astype(dtype, copy=False),
        scaled,
        query_block,
        key_block,
        highest=highest,
        shifted=bool(shifts.any()),
        raised=bool((bounds + shifts).max() > -limits.minexp),
    )
    # All that is raised, n times the smallest normal number at most, is rounding error to larger
    # denominators.
    accurate = len(k) * float(limits.tiny) / float(limits.eps)

    outputs: Matrix = np.empty((len(q), v.shape[1]), dtype)
    for start in range(0, len(q), query_block):
        rows = slice(start, start + query_block)
        block = q[rows] * dtype.type(LOG2_E)
        denominators = sums(block, shifts[rows], outputs[rows])
        weak = np.flatnonzero(denominators < accurate)
        if len(weak):
            again = np.empty((len(weak), v.shape[1]), dtype)
            denominators[weak] = sums(block[weak], sums.maxima(block[weak]) - highest, again)
            outputs[start + weak] = again
        outputs[rows] /= denominators[:, None]
    if exponent:
        highest_value = dtype.type(math.ldexp(largest, -exponent))
        np.ldexp(np.clip(outputs, -highest_value, highest_value), exponent, out=outputs)
    return outputs


def weighted_attention(queries: object, keys: object, values: object, weights: object) -> Matrix:
    """Attend to tokens that count several times each, or a fraction of a time.

    A weight is a score: the key gets the coordinate ln w and the query the coordinate 1.

    Parameters
    ----------
    queries : array_like, shape (m, d)
        Queries.
    keys : array_like, shape (n, d)
        Keys of n >= 1 tokens.
    values : array_like, shape (n, d_v)
        Values of the same tokens.
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

    With u the unit roundoff and B = |query| max |key|: a dot product errs by at most gamma_d B, folding
    log2(e) in and the shift add at most 4 u B, so a weight is off by a factor e^x, |x| <= (d + 4) u B. A
    power of two (4 ulp), the sums over a block and over the blocks, the smallest weights that are raised (2
    u each in numerator and denominator), the division and the scaling add at most (block + blocks + 20) u.
    Weights that are off by factors between e^-x and e^x move a weighted mean of values in [-1, 1] by at
    most e^(2x) - 1.

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
    block = min(tokens, key_block)
    exponent = (dim + 4) * unit * largest_score + (block + math.ceil(tokens / block) + 20) * unit
    return math.expm1(2 * exponent)


def scaled_values(values: Matrix) -> tuple[Matrix, float, int]:
    """Scale values into [-1, 1], where they cannot overflow a sum of weights, by a power of two.

    Parameters
    ----------
    values : ndarray, shape (n, d_v)
        Finite values.

    Returns
    -------
    scaled : ndarray, shape (n, d_v)
        values 2^-exponent, without rounding; the array itself if the exponent is 0.
    largest : float
        The largest magnitude among the values.
    exponent : int
        The least with largest <= 2^exponent; 0 if all values are 0.
    """
    largest = max(float(values.max()), -float(values.min()))
    exponent = math.ceil(math.log2(largest)) if largest > 0 else 0
    return np.ldexp(values, -exponent) if exponent else values, largest, exponent


class ExponentialSums:
    """Sums of weights, and of weights times values, over all tokens; its buffers are made once.

    Parameters
    ----------
    keys : ndarray, shape (n, d)
        Keys of the tokens.
    values : ndarray, shape (n, d_v)
        Their values, in [-1, 1], of the same type.
    query_block, key_block : int
        The most queries in a call, and tokens in a block.
    highest : float
        The largest exponent of a weight, by construction of the shifts.
    shifted, raised : bool
        Whether scores need shifting, and whether weights may have to be kept from becoming denormal.
    """

    def __init__(
        self,
        keys: Matrix,
        values: Matrix,
        query_block: int,
        key_block: int,
        *,
        highest: float,
        shifted: bool,
        raised: bool,
    ) -> None:
        starts = range(0, len(keys), key_block)
        # Products with contiguous transposes are faster than with transposed views.
        self._key_blocks = [np.ascontiguousarray(keys[start : start + key_block].T) for start in starts]
        self._value_blocks = [values[start : start + key_block] for start in starts]
        self._dtype, self._shifted, self._raised = keys.dtype, shifted, raised
        self._smallest = keys.dtype.type(np.finfo(keys.dtype).minexp)
        # Scores of 10^9 round by more than the room above the largest: a second product may exceed the first.
        self._highest = keys.dtype.type(highest)
        self._scores = np.empty(query_block * key_block, keys.dtype)
        self._partial = np.empty(query_block * values.shape[1], keys.dtype)
        self._ones = np.ones(key_block, keys.dtype)

    def __call__(self, queries: Matrix, shifts: Matrix, numerators: Matrix) -> Matrix:
        """Return the sums of the weights 2^(score - shift); write those of weights times values to `numerators`."""
        denominators: Matrix = np.zeros(len(queries), self._dtype)
        column = shifts.astype(self._dtype)[:, None]
        numerators[:] = 0
        partial = self._partial[: numerators.size].reshape(numerators.shape)
        for keys, values in zip(self._key_blocks, self._value_blocks, strict=True):
            weights = self._score(queries, keys)
            if self._shifted:
                np.subtract(weights, column, out=weights)
            if self._raised:
                np.clip(weights, self._smallest, self._highest, out=weights)
            np.exp2(weights, out=weights)
            denominators += weights @ self._ones[: weights.shape[1]]
            numerators += np.matmul(weights, values, out=partial)
        return denominators

    def maxima(self, queries: Matrix) -> Matrix:
        """Return the largest score of every query."""
        by_block = [self._score(queries, keys).max(axis=1) for keys in self._key_blocks]
        largest: Matrix = np.max(by_block, axis=0)
        return largest

    def _score(self, queries: Matrix, keys: Matrix) -> Matrix:
        """Return the scores of queries on a transposed block of keys, in the one buffer for scores."""
        shape = len(queries), keys.shape[1]
        return np.matmul(queries, keys, out=self._scores[: shape[0] * shape[1]].reshape(shape))


def _checked(queries: object, keys: object, values: object) -> tuple[Matrix, Matrix, Matrix]:
    """Return the three arguments of attention as matrices whose shapes agree."""
    checked_keys, checked_values = token_block(keys, values, None, None)
    return matrix("queries", queries, checked_keys.shape[1]), checked_keys, checked_values


def _norms(rows: Matrix) -> _Doubles:
    """Return Euclidean norms of rows, in float64, where the square of no float32 overflows."""
    norms: _Doubles = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
    return norms
