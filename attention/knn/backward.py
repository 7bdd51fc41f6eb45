"""Gradients of attention by near keys: estimated by one random walk, and cut off at k (theory 9)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from kvfloor.attention.checks import Matrix, integer
from kvfloor.attention.gradients import Gradients
from kvfloor.attention.inputs import Inputs
from kvfloor.attention.knn.gumbel import lazy_gumbel
from kvfloor.attention.knn.indexes import Positions
from kvfloor.attention.knn.shortlist import Near, gathered, shortlists

__all__ = ["Walk", "estimated_gradients", "row_probabilities", "truncated_gradients"]


@dataclass(frozen=True, slots=True, eq=False)
class Walk:
    """A random walk over rows and tokens.

    Parameters
    ----------
    visits : int
        Rows drawn, with replacement, at least 1.
    draws : int
        Tokens drawn on each visit, at least 1, or 2 without `outputs`.
    probabilities : array_like, shape (m,), optional
        p, summing to 1, positive wherever G_i is not 0; `row_probabilities` by default.
    outputs : array_like, shape (m, d_v), optional
        Outputs O, exact or estimated without bias and independently of this walk.

    Raises
    ------
    ValueError
        If a number is out of its range.
    """

    visits: int
    draws: int
    probabilities: object | None = None
    outputs: object | None = None

    def __post_init__(self) -> None:
        integer("visits", self.visits, 1, 1 << 40)
        integer("draws", self.draws, 1 if self.outputs is not None else 2, 1 << 40)


def estimated_gradients(
    inputs: Inputs, upstream: object, near: Near, walk: Walk, rng: np.random.Generator
) -> Gradients:
    """Estimate dQ, dK and dV together by one random walk, each without bias.

    A visit draws a row i with probability p_i, then tokens j from P_i by lazy Gumbel sampling. A draw adds
    G_i w to dV_j, and with the slope s = <G_i, V_j> - D_i it adds s w Q_i to dK_j and s w K_j to dQ_i, where
    w = 1/(visits draws p_i). D_i = <G_i, O_i> where the outputs are given. Else it is the mean of <G_i, V>
    over the visit's other draws, which are independent of j: dQ_i is the covariance under P_i of <G_i, V_j>
    and K_j, and this is its sample covariance, unbiased.

    Parameters
    ----------
    inputs, upstream
        As for `kvfloor.attention.gradients.attention_gradients`.
    near : Near
        Decides the time, not the law.
    walk : Walk
        How many rows and tokens are drawn, and how.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    Gradients
        Unbiased; zero where G is.

    Raises
    ------
    ValueError
        If shapes disagree, a number is out of its range, or a row that matters has probability 0.
    """
    inputs, g = inputs.with_upstream(upstream)
    q, k, v = inputs.queries, inputs.keys, inputs.values
    given = row_probabilities(inputs, g) if walk.probabilities is None else walk.probabilities
    p = _checked_probabilities(given, g)
    means = None
    if walk.outputs is not None:
        means = np.einsum("ij,ij->i", g, inputs.matching("outputs", walk.outputs, v.shape[1]))
    found = Gradients.zeros(inputs)
    if not g.any():
        return found
    rows = np.sort(rng.choice(len(q), walk.visits, p=p))
    for block, short in shortlists(q, k, near, rows):
        tokens = lazy_gumbel(q[block], k, short, walk.draws, rng).tokens
        slopes = _products(g[block], v, tokens)
        if means is not None:
            slopes -= means[block][:, None]
        else:  # D_i from the other draws: s_a - mean of the others = (s_a - mean of all) draws/(draws - 1)
            slopes = (slopes - slopes.mean(axis=1, keepdims=True)) * (walk.draws / (walk.draws - 1))
        weights = (1 / (walk.visits * walk.draws * p[block]))[:, None].astype(q.dtype)
        pairs = block, tokens, np.broadcast_to(weights, tokens.shape), slopes * weights
        _scatter(found, inputs, g, *pairs)
    return found


def truncated_gradients(inputs: Inputs, upstream: object, near: Near) -> Gradients:
    """Return the gradients of attention cut off at the near tokens, as if no others existed.

    Parameters
    ----------
    inputs, upstream, near
        As for `estimated_gradients`.

    Returns
    -------
    Gradients
        Of `kvfloor.attention.knn.truncated_attention`; biased for those of attention.

    Raises
    ------
    ValueError
        If shapes disagree or a number is out of its range.
    """
    inputs, g = inputs.with_upstream(upstream)
    found = Gradients.zeros(inputs)
    for block, short in shortlists(inputs.queries, inputs.keys, near):
        weights = np.exp(short.scores - short.scores.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        slopes = _products(g[block], inputs.values, short.positions)
        slopes -= np.einsum("ij,ij->i", weights, slopes)[:, None]
        _scatter(found, inputs, g, block, short.positions, weights, slopes * weights)
    return found


def row_probabilities(inputs: Inputs, upstream: object) -> NDArray[np.float64]:
    """Return p_i proportional to |G_i| |Q_i|, half of it to |G_i| alone so that no row that matters is left out.

    |G_i| |Q_i| bounds what row i adds to dK, |G_i| what it adds to dV and dQ.

    Parameters
    ----------
    inputs, upstream
        As for `estimated_gradients`.

    Returns
    -------
    ndarray of float64, shape (m,)
        Non-negative, summing to 1; uniform where G is 0 throughout.

    Raises
    ------
    ValueError
        If the numbers of rows differ or an entry is not finite.
    """
    g = inputs.matching("upstream", upstream).astype(np.float64)
    lengths = np.linalg.norm(g, axis=1)
    if not lengths.any():
        return np.full(len(g), 1 / len(g))
    products = lengths * np.linalg.norm(inputs.queries.astype(np.float64), axis=1)
    shares = [part / part.sum() for part in (lengths, products) if part.any()]
    mixed: NDArray[np.float64] = np.mean(shares, axis=0)
    return mixed


def _scatter(
    found: Gradients,
    inputs: Inputs,
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
        return sparse.csr_array(pairs, shape=(count, len(inputs.keys)))

    visited, summed = matrix_of(weights), matrix_of(slopes)
    found.values[:] += visited.T @ upstream[rows]
    found.keys[:] += summed.T @ inputs.queries[rows]
    np.add.at(found.queries, rows, summed @ inputs.keys)


def _products(upstream: Matrix, values: Matrix, tokens: Positions) -> Matrix:
    """Return <G_i, V_j> for every row i and its tokens j, shape (b, s)."""
    found = np.empty(tokens.shape, values.dtype)
    for block, theirs in gathered(values, tokens):
        found[block] = np.matmul(theirs, upstream[block, :, None])[:, :, 0]
    return found


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
