"""Sliding windows: attention whose keys outside of the last W tokens are masked (theory 5, our reading).

What becomes of the n - W tokens outside of the window is one of three things:

- "zeroed": their keys are masked to the zero vector, so that their scores are 0, and all values count. The
  output is (sum_W e^<q,k> v + sum_out v) / (sum_W e^<q,k> + n - W), and of the tokens outside only the sum
  of their values and their number matter.
- "dropped": keys and values are masked; the output is attention to the window alone.
- "kept": their scores are kept, too; nothing is masked.
"""

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.checks import LARGEST, Matrix, integer, matrix, one_of, token_block
from kvfloor.attention.softmax import softmax_attention, softmax_tolerance

__all__ = ["OUTSIDE", "Outside", "attend_beside_zeros", "beside_zeros_tolerance", "window_attention",
           "window_attention_reference"]  # fmt: skip

Outside = Literal["zeroed", "dropped", "kept"]
OUTSIDE = ("zeroed", "dropped", "kept")


def window_attention(
    queries: object, keys: object, values: object, window_tokens: int, outside: Outside = "zeroed"
) -> Matrix:
    """Attend through a window, blockwise; tokens outside that are not kept cost one sum of their values.

    Parameters
    ----------
    queries : array_like, shape (m, d)
        Queries.
    keys, values : array_like, shape (n, d) and (n, d_v)
        The tokens in the stream's order.
    window_tokens : int
        W, from 1 to n.
    outside : {"zeroed", "dropped", "kept"}
        What becomes of the first n - W tokens.

    Returns
    -------
    ndarray, shape (m, d_v)
        The outputs, float32 if all inputs are, else float64.

    Raises
    ------
    ValueError
        If shapes disagree, an entry is not finite, or another argument is not as described.
    """
    q, k, v = _checked(queries, keys, values, window_tokens, outside)
    evicted = 0 if outside == "kept" else len(k) - window_tokens
    if outside != "zeroed" or not evicted:
        return softmax_attention(q, k[evicted:], v[evicted:])
    total = v[:evicted].sum(axis=0, dtype=np.float64)
    return attend_beside_zeros(q, k[evicted:], v[evicted:], total, evicted)


def window_attention_reference(
    queries: object, keys: object, values: object, window_tokens: int, outside: Outside = "zeroed"
) -> NDArray[np.float64]:
    """Attend as `window_attention`, in float64, with the whole matrix of scores in memory."""
    q, k, v = (a.astype(np.float64) for a in _checked(queries, keys, values, window_tokens, outside))
    scores = q @ k.T
    if outside != "kept":
        scores[:, : len(k) - window_tokens] = 0.0 if outside == "zeroed" else -np.inf
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    outputs: NDArray[np.float64] = weights @ v / weights.sum(axis=1, keepdims=True)
    return outputs


def attend_beside_zeros(
    queries: Matrix, keys: Matrix, values: Matrix, total: NDArray[np.float64], count: int
) -> Matrix:
    """Attend to tokens beside others of zero key, of which only the sum of values and the number are known.

    The others are one token of weight `count`, its value their mean: with one more coordinate, ln `count` in
    every query and 1 in this token's key alone, that is plain attention to W + 1 tokens.

    Parameters
    ----------
    queries : ndarray, shape (m, d)
        Queries.
    keys, values : ndarray, shape (W, d) and (W, d_v)
        The tokens with keys of their own.
    total : ndarray of float64, shape (d_v,)
        The sum of the others' values, of magnitude at most 1e100.
    count : int
        How many others there are, at least 1.

    Returns
    -------
    ndarray, shape (m, d_v)
        The outputs, float32 if queries, keys and values are, else float64.
    """
    dtype = np.result_type(queries, keys, values)
    largest = min(float(np.finfo(values.dtype).max), LARGEST)
    mean = np.clip(total / count, -largest, largest)  # the sum is rounded: a mean stays among its numbers
    wide_queries = np.full((len(queries), queries.shape[1] + 1), math.log(count), dtype)
    wide_queries[:, :-1] = queries
    wide_keys = np.zeros((len(keys) + 1, keys.shape[1] + 1), dtype)
    wide_keys[:-1, :-1] = keys
    wide_keys[-1, -1] = 1
    return softmax_attention(wide_queries, wide_keys, np.vstack([values, mean]).astype(dtype))


def beside_zeros_tolerance(
    count: int, tokens: int, dim: int, query_norm: float, key_norm: float, dtype: type[np.floating[Any]]
) -> float:
    """Bound the error of `attend_beside_zeros`, relative to the largest magnitude among all values.

    To the error of attention to W + 1 tokens in d + 1 dimensions come: the rounding of ln `count`, at most
    two units in the last place, as much as two more dimensions; that of a float64 sum of `count` numbers
    in any order, count 2^-53 in the mean (N. Higham, Accuracy and Stability of Numerical Algorithms, 4.2);
    and the mean's own, one unit in the last place.

    Parameters
    ----------
    count : int
        Number of tokens of zero key, at least 1.
    tokens : int
        Number W of the others.
    dim : int
        Dimension d of the keys.
    query_norm, key_norm : float
        Upper bounds on the norms of queries and keys.
    dtype : type
        numpy.float32 or numpy.float64, the precision of the computation.

    Returns
    -------
    float
        t such that every output is within t max |values| of the exact one.
    """
    largest_score = math.hypot(query_norm, math.log(count)) * max(key_norm, 1.0)
    mean = math.expm1(2.0**-53 * count) + 2 * float(np.finfo(dtype).eps)
    return softmax_tolerance(tokens + 1, dim + 3, largest_score, dtype) + mean


def _checked(
    queries: object, keys: object, values: object, window_tokens: int, outside: str
) -> tuple[Matrix, Matrix, Matrix]:
    """Return the arguments as matrices whose shapes agree."""
    k, v = token_block(keys, values, None, None)
    one_of("outside", outside, OUTSIDE)
    integer("window_tokens", window_tokens, 1, len(k))
    return matrix("queries", queries, k.shape[1]), k, v
