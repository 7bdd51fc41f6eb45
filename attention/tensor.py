"""Exact attention over pairs of tokens, as two matrix products and never n^2 rows (theory 7)."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.checks import Matrix, integer, matrix, token_block
from kvfloor.attention.kernel.blocks import Tokens
from kvfloor.attention.kernel.limits import FOLD, rounding
from kvfloor.attention.kernel.pairs import Pairs
from kvfloor.attention.softmax import (
    LARGEST_FLOAT32_BOUND,
    mean_tolerance,
    peak,
    scaled_values,
    softmax_attention_reference,
)

__all__ = [
    "kronecker_factors",
    "kronecker_rows",
    "tensor_attention",
    "tensor_attention_reference",
    "tensor_sums",
    "tensor_tolerance",
]

ROW_BLOCK = 640
KEY_BLOCK = 640
MODERATE = 1e-3  # the square of the square of no number from here to its reciprocal leaves its range


def tensor_attention_reference(
    queries: object, keys1: object, values1: object, keys2: object, values2: object
) -> NDArray[np.float64]:
    """Attend to every pair of tokens, in float64, through the literal Kronecker products of both sides.

    Parameters
    ----------
    queries : array_like, shape (m, d)
        Queries; the inverse temperature is their norm.
    keys1, keys2 : array_like, shapes (n1, d) and (n2, d)
        Keys of either side.
    values1, values2 : array_like, shapes (n1, d_v) and (n2, d_v)
        Values of either side.

    Returns
    -------
    ndarray of float64, shape (m, d_v)
        ``sum_ab w_ab v1_a o v2_b / sum_ab w_ab`` with ``w_ab = e^<q, k1_a o k2_b>``, o entrywise.

    Raises
    ------
    ValueError
        If shapes disagree, or an entry is not finite.
    """
    q, k1, v1, k2, v2 = (a.astype(np.float64) for a in _checked(queries, keys1, values1, keys2, values2))
    return softmax_attention_reference(q, kronecker_rows(k1, k2), kronecker_rows(v1, v2))


def tensor_attention(
    queries: object,
    keys1: object,
    values1: object,
    keys2: object,
    values2: object,
    *,
    blocks: tuple[int, int] = (ROW_BLOCK, KEY_BLOCK),
) -> Matrix:
    """Attend to every pair of tokens, with a block of scores in memory at a time.

    A pair's score <q, k1_a o k2_b> is that of the query q o k1_a on the key k2_b. So the rows q o k1_a of
    all a, and of several queries where the stream is short, are queries to the second side:

        sum_ab w_ab v1_a o v2_b = sum_a v1_a o (W V2)_a,      W = exp((K1 diag(q)) K2^T).

    By Cauchy-Schwarz no score exceeds the largest |q o k1_a| |k2_b|, nor the same with the sides exchanged.
    A score that each query has is found by changing one token of a pair at a time for the better. Weights so far
    below it that all together they would be lost in rounding are left out, block by block, where few remain
    (theory 13); scores whose bound is large are shifted down by it. A query that this does not settle is
    asked again, whole, and shifted by its true maximum.

    Parameters
    ----------
    queries : array_like, shape (m, d)
        Queries; the inverse temperature is their norm.
    keys1, keys2 : array_like, shapes (n1, d) and (n2, d)
        Keys of either side.
    values1, values2 : array_like, shapes (n1, d_v) and (n2, d_v)
        Values of either side.
    blocks : tuple of int
        Rows and columns of a block of scores, each at least 1.

    Returns
    -------
    ndarray, shape (m, d_v)
        The outputs, within `tensor_tolerance` of the exact ones: float32 if all inputs are float32 (or
        float16) and no product of two values leaves its range, else float64.

    Raises
    ------
    ValueError
        If shapes disagree, an entry is not finite, or a block is not a positive integer.
    """
    q, k1, v1, k2, v2 = _checked(queries, keys1, values1, keys2, values2)
    row_block = integer("blocks[0]", blocks[0], 1, 1 << 24)
    key_block = min(integer("blocks[1]", blocks[1], 1, 1 << 24), len(k2))
    dtype = np.result_type(q, k1, v1, k2, v2)
    peaks = [peak(array) for array in (q, k1, k2, v1, v2)]
    bounds = _score_bounds((q, k1, k2), peaks[:3]) * FOLD
    if dtype == np.float32:
        largest = max(float(bounds.max()), peaks[0] * peaks[1], peaks[3] * peaks[4])
        dtype = np.dtype(np.float64 if largest > LARGEST_FLOAT32_BOUND else np.float32)
    k1, k2 = k1.astype(dtype, copy=False), k2.astype(dtype, copy=False)
    v1, exponent1 = scaled_values(v1.astype(dtype, copy=False), peaks[3])
    v2, exponent2 = scaled_values(v2.astype(dtype, copy=False), peaks[4])

    tokens = Tokens(k2, v2, [*range(0, len(k2), key_block), len(k2)], row_block, len(q) * len(k1))
    asking: Matrix = (q * dtype.type(FOLD)).astype(dtype, copy=False)
    outputs = Pairs(asking, k1, v1, tokens, bounds).attend()
    if exponent1 + exponent2:
        np.ldexp(outputs, exponent1 + exponent2, out=outputs)
    return outputs


def tensor_sums(
    queries: Matrix, keys1: Matrix, weights1: Matrix, keys2: Matrix, weights2: Matrix
) -> tuple[Matrix, NDArray[np.float64]]:
    """Add up e^<q, k1_a o k2_b> u1_a o u2_b over all pairs, in float64.

    Parameters
    ----------
    queries : ndarray, shape (m, d)
        Finite queries.
    keys1, keys2 : ndarray, shapes (n1, d) and (n2, d)
        Keys of either side; there may be none.
    weights1, weights2 : ndarray, shapes (n1, c) and (n2, c)
        What each counts.

    Returns
    -------
    sums, shifts : ndarray of float64, shapes (m, c) and (m,)
        The sums over e^shift, the largest score of each query; both 0 if there are no pairs.
    """
    sums, shifts = np.zeros((len(queries), weights1.shape[1])), np.zeros(len(queries))
    if not len(keys1) or not len(keys2):
        return sums, shifts
    q, k1, k2 = (array.astype(np.float64) for array in (queries, keys1, keys2))
    u1, exponent1 = scaled_values(weights1.astype(np.float64), peak(weights1))
    u2, exponent2 = scaled_values(weights2.astype(np.float64), peak(weights2))
    edges = [*range(0, len(k2), KEY_BLOCK), len(k2)]
    tokens = Tokens(k2, u2, edges, ROW_BLOCK, len(q) * len(k1))
    bounds = _score_bounds((q, k1, k2), [peak(array) for array in (q, k1, k2)]) * FOLD
    totals, largest = Pairs(q * FOLD, k1, u1, tokens, bounds).sums()
    return np.ldexp(totals, exponent1 + exponent2).astype(np.float64, copy=False), largest / FOLD


def tensor_tolerance(
    tokens1: int,
    tokens2: int,
    dim: int,
    largest_score: float,
    dtype: type[np.floating[Any]],
    *,
    key_block: int = KEY_BLOCK,
) -> float:
    """Bound the error of `tensor_attention`, relative to the largest product of magnitudes of two values.

    As `kvfloor.attention.softmax.softmax_tolerance`, with B = max |q o k1_a| |k2_b|: the product q o k1_a rounds
    once more, in the place of queries that are multiples. Sums over a block of the second side, its blocks and
    the first side, and the product with v1_a, are (block + blocks + tokens1 + 22) roundings.

    Parameters
    ----------
    tokens1, tokens2 : int
        Numbers of tokens of the sides.
    dim : int
        Dimension d of the keys.
    largest_score : float
        B, an upper bound on |q o k1_a| |k2_b|.
    dtype : type
        numpy.float32 or numpy.float64, the precision of the computation.
    key_block : int
        The number of columns in a block of scores.

    Returns
    -------
    float
        t such that every output is within t max |v1| max |v2| of the exact one.
    """
    unit = float(np.finfo(dtype).eps) / 2
    block = min(tokens2, key_block)
    run = block + math.ceil(tokens2 / block) + tokens1 + 22
    return mean_tolerance(float(rounding(dim, unit, largest_score)), run * unit, unit)


def kronecker_rows(first: Matrix, second: Matrix) -> Matrix:
    """Return the products of every row of one matrix with every row of another, entry by entry.

    Parameters
    ----------
    first, second : ndarray, shapes (n1, d) and (n2, d)
        The two sides.

    Returns
    -------
    ndarray, shape (n1 n2, d)
        Row a n2 + b is first_a o second_b: the column-wise Kronecker product.

    Raises
    ------
    ValueError
        If the numbers of columns differ.

    Examples
    --------
    >>> kronecker_rows(np.array([[2.0], [3.0]]), np.array([[5.0], [7.0]])).ravel().tolist()
    [10.0, 14.0, 15.0, 21.0]
    """
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        raise ValueError(f"the sides have shapes {first.shape} and {second.shape}, expected equal columns")
    rows: Matrix = (first[:, None, :] * second[None, :, :]).reshape(-1, first.shape[1])
    return rows


def kronecker_factors(rows: Matrix, tokens: int) -> tuple[Matrix, Matrix]:
    """Return two matrices whose Kronecker rows are the given ones, if any two matrices have them.

    Column c, as an n1 x n2 matrix, has rank one. With its largest entry at (a*, b*), its column b* and its
    row a* over that entry are factors; an entry of their product is off by a factor within (1 +- 8 u), u the
    unit roundoff: u for each of the three entries used and the one compared, and u for each operation.
    Rows without this structure come out as something else, which is how one tells.

    Parameters
    ----------
    rows : ndarray, shape (n1 n2, d)
        Row a n2 + b belongs to the pair (a, b).
    tokens : int
        n1, the number of rows of the first factor.

    Returns
    -------
    first, second : ndarray, shapes (n1, d) and (n2, d)
        The factors.

    Raises
    ------
    ValueError
        If the rows cannot be arranged as n1 x n2.
    """
    if rows.ndim != 2 or tokens < 1 or len(rows) == 0 or len(rows) % tokens:
        raise ValueError(f"rows have shape {rows.shape}, expected a multiple of {tokens} rows")
    dim = rows.shape[1]
    channels = rows.reshape(tokens, -1, dim)
    pivots = np.abs(rows).argmax(axis=0)
    row, column = np.divmod(pivots, channels.shape[1])
    channel = np.arange(dim)
    first: Matrix = channels[:, column, channel]
    largest = rows[pivots, channel]
    second: Matrix = channels[row, :, channel].T / np.where(largest == 0, 1, largest)
    return first, np.ascontiguousarray(second)


def _score_bounds(arrays: Sequence[Matrix], peaks: Sequence[float]) -> NDArray[np.float64]:
    """Return for every query an upper bound on its scores' magnitude, by Cauchy-Schwarz either way."""
    moderate = all(MODERATE < top < 1 / MODERATE for top in peaks)
    scales = [1.0 if moderate else top or 1.0 for top in peaks]
    q, k1, k2 = (
        np.square(array if moderate else array / array.dtype.type(scale))
        for array, scale in zip(arrays, scales, strict=True)
    )
    # The squares of all |q o k|, and of |k| in the last row.
    asked = np.vstack([q, np.ones((1, q.shape[1]), q.dtype)])
    *one, longest1 = (asked @ k1.T).max(axis=1).astype(np.float64)
    *other, longest2 = (asked @ k2.T).max(axis=1).astype(np.float64)
    # What rounds off or underflows, of sums of up to d products of squares up to MODERATE^-2.
    numbers, dim = np.finfo(np.result_type(q, k1, k2)), q.shape[1]
    squares = np.minimum(np.array(one) * longest2, np.array(other) * longest1)
    squares = squares * (1 + 4 * (dim + 4) * numbers.eps) + (2 * dim / MODERATE**2) ** 2 * numbers.tiny
    bounds: NDArray[np.float64] = np.sqrt(squares) * math.prod(scales)
    return bounds


def _checked(
    queries: object, keys1: object, values1: object, keys2: object, values2: object
) -> tuple[Matrix, Matrix, Matrix, Matrix, Matrix]:
    """Return the five arguments as matrices whose shapes agree."""
    k1, v1 = token_block(keys1, values1, None, None)
    k2, v2 = token_block(keys2, values2, k1.shape[1], v1.shape[1])
    return matrix("queries", queries, k1.shape[1]), k1, v1, k2, v2
