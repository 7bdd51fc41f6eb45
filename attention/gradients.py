"""Gradients of softmax attention: exact, and estimated by one random walk (theory 9)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from kvfloor.attention.checks import Matrix, integer, matrix, token_block
from kvfloor.attention.knn.gumbel import lazy_gumbel
from kvfloor.attention.knn.indexes import KeyIndex, Positions
from kvfloor.attention.knn.shortlist import shortlists

__all__ = [
    "Gradients",
    "attention_gradients",
    "estimated_gradients",
    "row_probabilities",
    "truncated_gradients",
]

_QUERY_BLOCK = 256
_ENTRIES_AT_ONCE = 1 << 22  # entries of gathered keys and values in memory at a time


@dataclass(frozen=True, slots=True, eq=False)
class Gradients:
    """Gradients of a loss with respect to the three inputs of attention.

    Parameters
    ----------
    queries : ndarray, shape (m, d)
        dQ.
    keys : ndarray, shape (n, d)
        dK.
    values : ndarray, shape (n, d_v)
        dV.
    """

    queries: Matrix
    keys: Matrix
    values: Matrix


def attention_gradients(
    queries: object, keys: object, values: object, upstream: object, *, causal: bool = False
) -> Gradients:
    """Return the exact gradients, a block of queries at a time.

    With O = P V and D_i = <G_i, O_i>: dV = P^T G, A_ij = P_ij (<G_i, V_j> - D_i), dQ = A K, dK = A^T Q.

    Parameters
    ----------
    queries : array_like, shape (m, d)
        Queries; with `causal` one for each token.
    keys : array_like, shape (n, d)
        Keys.
    values : array_like, shape (n, d_v)
        Values.
    upstream : array_like, shape (m, d_v)
        G, the gradient of the loss with respect to the outputs.
    causal : bool
        Whether query i sees tokens 0..i only.

    Returns
    -------
    Gradients
        In the common type of the arguments.

    Raises
    ------
    ValueError
        If shapes disagree or an entry is not finite.
    """
    q, k, v, g = _checked(queries, keys, values, upstream)
    if causal and len(q) != len(k):
        raise ValueError(f"causal attention takes one query for each token, got {len(q)} and {len(k)}")
    found = _zeros(q, k, v)
    for start in range(0, len(q), _QUERY_BLOCK):
        rows = slice(start, start + _QUERY_BLOCK)
        weights = q[rows] @ k.T
        if causal:
            weights[np.arange(len(k)) > np.arange(start, start + len(weights))[:, None]] = -np.inf
        weights = np.exp(weights - weights.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        found.values[:] += weights.T @ g[rows]
        slopes = g[rows] @ v.T
        slopes -= np.einsum("ij,ij->i", weights, slopes)[:, None]  # D_i
        slopes *= weights
        found.queries[rows] = slopes @ k
        found.keys[:] += slopes.T @ q[rows]
    return found


def estimated_gradients(
    queries: object,
    keys: object,
    values: object,
    upstream: object,
    *,
    kept: int,
    visits: int,
    draws: int,
    rng: np.random.Generator,
    probabilities: object | None = None,
    outputs: object | None = None,
    index: KeyIndex | None = None,
    causal: bool = False,
) -> Gradients:
    """Estimate dQ, dK and dV together by one random walk, each without bias.

    A visit draws a row i with probability p_i, then tokens j from P_i by lazy Gumbel sampling. A draw adds
    G_i w to dV_j, and with the slope s = <G_i, V_j> - D_i it adds s w Q_i to dK_j and s w K_j to dQ_i, where
    w = 1/(visits draws p_i). D_i = <G_i, O_i> where the outputs are given. Else it is the mean of <G_i, V>
    over the visit's other draws, which are independent of j: dQ_i is the covariance under P_i of <G_i, V_j>
    and K_j, and this is its sample covariance, unbiased.

    Parameters
    ----------
    queries : array_like, shape (m, d)
        Queries; with `causal` one for each token.
    keys : array_like, shape (n, d)
        Keys.
    values : array_like, shape (n, d_v)
        Values.
    upstream : array_like, shape (m, d_v)
        G, the gradient of the loss with respect to the outputs.
    kept : int
        k, in 1..n: decides the time, not the law.
    visits : int
        Rows drawn, with replacement, at least 1.
    draws : int
        Tokens drawn on each visit, at least 1, or 2 without `outputs`.
    rng : numpy.random.Generator
        Source of randomness.
    probabilities : array_like, shape (m,), optional
        p, summing to 1, positive wherever G_i is not 0; `row_probabilities` by default.
    outputs : array_like, shape (m, d_v), optional
        Outputs O, exact or estimated without bias and independently of this walk.
    index : KeyIndex, optional
        Built for `keys`, or with `causal` an empty `GrowingIndex`; exact by default.
    causal : bool
        Whether query i sees tokens 0..i only.

    Returns
    -------
    Gradients
        Unbiased; zero where G is.

    Raises
    ------
    ValueError
        If shapes disagree, a number is out of its range, or a row that matters has probability 0.
    """
    q, k, v, g = _checked(queries, keys, values, upstream)
    integer("visits", visits, 1, 1 << 40)
    integer("draws", draws, 1 if outputs is not None else 2, 1 << 40)
    if probabilities is None:
        probabilities = row_probabilities(q, g)
    p = _checked_probabilities(probabilities, g)
    means = None
    if outputs is not None:
        means = np.einsum("ij,ij->i", g, matrix("outputs", _shaped("outputs", outputs, g), g.shape[1]))
    found = _zeros(q, k, v)
    if not g.any():
        return found
    rows = np.sort(rng.choice(len(q), visits, p=p))
    for block, short in shortlists(q, k, kept, index=index, causal=causal, rows=rows):
        tokens = lazy_gumbel(q[block], k, short, draws, rng).tokens
        slopes = _products(g[block], v, tokens)
        if means is not None:
            slopes -= means[block][:, None]
        else:  # D_i from the other draws: s_a - mean of the others = (s_a - mean of all) draws/(draws - 1)
            slopes = (slopes - slopes.mean(axis=1, keepdims=True)) * (draws / (draws - 1))
        weights = (1 / (visits * draws * p[block]))[:, None].astype(q.dtype)
        _scatter(found, q, k, g, block, tokens, np.broadcast_to(weights, tokens.shape), slopes * weights)
    return found


def truncated_gradients(
    queries: object,
    keys: object,
    values: object,
    upstream: object,
    *,
    kept: int,
    index: KeyIndex | None = None,
    causal: bool = False,
) -> Gradients:
    """Return the gradients of attention cut off at the near tokens, as if no others existed.

    Parameters
    ----------
    queries : array_like, shape (m, d)
        Queries; with `causal` one for each token.
    keys : array_like, shape (n, d)
        Keys.
    values : array_like, shape (n, d_v)
        Values.
    upstream : array_like, shape (m, d_v)
        G, the gradient of the loss with respect to the outputs.
    kept : int
        k, in 1..n.
    index : KeyIndex, optional
        Built for `keys`, or with `causal` an empty `GrowingIndex`; exact by default.
    causal : bool
        Whether query i sees tokens 0..i only.

    Returns
    -------
    Gradients
        Of `kvfloor.attention.knn.truncated_attention`; biased for those of attention.

    Raises
    ------
    ValueError
        If shapes disagree or a number is out of its range.
    """
    q, k, v, g = _checked(queries, keys, values, upstream)
    found = _zeros(q, k, v)
    for block, short in shortlists(q, k, kept, index=index, causal=causal):
        weights = np.exp(short.scores - short.scores.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        slopes = _products(g[block], v, short.positions)
        slopes -= np.einsum("ij,ij->i", weights, slopes)[:, None]
        _scatter(found, q, k, g, block, short.positions, weights, slopes * weights)
    return found


def row_probabilities(queries: object, upstream: object) -> NDArray[np.float64]:
    """Return p_i proportional to |G_i| |Q_i|, half of it to |G_i| alone so that no row that matters is left out.

    |G_i| |Q_i| bounds what row i adds to dK, |G_i| what it adds to dV and dQ.

    Parameters
    ----------
    queries : array_like, shape (m, d)
        Queries.
    upstream : array_like, shape (m, d_v)
        G.

    Returns
    -------
    ndarray of float64, shape (m,)
        Non-negative, summing to 1; uniform where G is 0 throughout.

    Raises
    ------
    ValueError
        If the numbers of rows differ or an entry is not finite.
    """
    q = matrix("queries", queries).astype(np.float64)
    g = matrix("upstream", _shaped("upstream", upstream, q)).astype(np.float64)
    lengths = np.linalg.norm(g, axis=1)
    if not lengths.any():
        return np.full(len(g), 1 / len(g))
    products = lengths * np.linalg.norm(q, axis=1)
    shares = [part / part.sum() for part in (lengths, products) if part.any()]
    mixed: NDArray[np.float64] = np.mean(shares, axis=0)
    return mixed


def _scatter(
    found: Gradients,
    queries: Matrix,
    keys: Matrix,
    upstream: Matrix,
    rows: Positions,
    tokens: Positions,
    weights: Matrix,
    slopes: Matrix,
) -> None:
    """Add weights G_i to dV_j, slopes Q_i to dK_j and slopes K_j to dQ_i for all pairs of a row and a token."""
    count, width = tokens.shape
    ends = np.arange(0, tokens.size + 1, width)

    def matrix_of(entries: Matrix) -> Any:
        pairs = np.ascontiguousarray(entries).reshape(-1), tokens.reshape(-1), ends
        return sparse.csr_array(pairs, shape=(count, len(keys)))

    visited, summed = matrix_of(weights), matrix_of(slopes)
    found.values[:] += visited.T @ upstream[rows]
    found.keys[:] += summed.T @ queries[rows]
    np.add.at(found.queries, rows, summed @ keys)


def _products(upstream: Matrix, values: Matrix, tokens: Positions) -> Matrix:
    """Return <G_i, V_j> for every row i and its tokens j, shape (b, s)."""
    found = np.empty(tokens.shape, values.dtype)
    step = max(1, _ENTRIES_AT_ONCE // (tokens.shape[1] * values.shape[1]))
    for start in range(0, len(tokens), step):
        block = slice(start, start + step)
        found[block] = np.matmul(values[tokens[block]], upstream[block, :, None])[:, :, 0]
    return found


def _checked(
    queries: object, keys: object, values: object, upstream: object
) -> tuple[Matrix, Matrix, Matrix, Matrix]:
    """Return the four arguments as matrices of one type whose shapes agree."""
    k, v = token_block(keys, values, None, None)
    q = matrix("queries", queries, k.shape[1])
    g = matrix("upstream", _shaped("upstream", upstream, q), v.shape[1])
    dtype = np.result_type(q, k, v, g)
    q, k, v, g = (array.astype(dtype, copy=False) for array in (q, k, v, g))
    return q, k, v, g


def _shaped(name: str, array: object, like: Matrix) -> object:
    """Return an argument if it has a row for each row of another."""
    rows = np.shape(np.asarray(array))[:1]
    if rows != like.shape[:1]:
        raise ValueError(f"{name} have {rows[0] if rows else 0} rows, expected one for each of {len(like)}")
    return array


def _checked_probabilities(probabilities: object, upstream: Matrix) -> NDArray[np.float64]:
    """Return row probabilities that lose no row."""
    p = np.asarray(probabilities, np.float64)
    if p.shape != (len(upstream),) or not (p >= 0).all() or not abs(p.sum() - 1) < 1e-6:
        raise ValueError(
            f"probabilities must be {len(upstream)} non-negative numbers with sum 1, got shape {p.shape}"
        )
    lost = np.flatnonzero((p == 0) & upstream.any(axis=1))
    if len(lost):
        raise ValueError(
            f"row {lost[0]} has probability 0 but a gradient that is not: its share would be lost"
        )
    normalised: NDArray[np.float64] = p / p.sum()
    return normalised


def _zeros(queries: Matrix, keys: Matrix, values: Matrix) -> Gradients:
    """Return gradients to be added to."""
    return Gradients(np.zeros_like(queries), np.zeros_like(keys), np.zeros_like(values))
