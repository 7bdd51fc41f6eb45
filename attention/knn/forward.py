"""kNN attention, forward: by draws, by a weighted sample of the tail, and cut off at k (theory 9)."""

from dataclasses import dataclass
from math import ceil, log, sqrt
from typing import Any

import numpy as np

from kvfloor.attention.checks import Matrix, integer, positive
from kvfloor.attention.inputs import Inputs
from kvfloor.attention.knn.gumbel import lazy_gumbel
from kvfloor.attention.knn.indexes import Positions
from kvfloor.attention.knn.shortlist import Near, Shortlist, gathered, shortlists

__all__ = [
    "Answer",
    "draws_for",
    "knn_attention",
    "median_draws_for",
    "sampled_attention",
    "truncated_attention",
]


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """Approximate attention of m queries.

    Parameters
    ----------
    outputs : ndarray, shape (m, d_v)
        The estimates.
    probes : ndarray of int64, shape (m,)
        Score evaluations that each took.
    scale : ndarray, shape (m,)
        What `radius` is made of; infinite where nothing is promised.
    """

    outputs: Matrix
    probes: Positions
    scale: Matrix

    def radius(self, delta: float) -> Matrix:
        """Return how far each output may be off (theory 9).

        Parameters
        ----------
        delta : float
            Probability, for each query, that an entry of its output is off by more; in (0, 1].

        Returns
        -------
        ndarray, shape (m,)
            Additive, for values that lie in an interval of length 1.

        Raises
        ------
        ValueError
            If `delta` is out of its range.
        """
        positive("delta", delta, 1.0)
        bounds: Matrix = self.scale * sqrt(log(2 * self.outputs.shape[1] / delta))
        return bounds


def knn_attention(inputs: Inputs, near: Near, tail: int, rng: np.random.Generator) -> Answer:
    """Attend to k near tokens exactly and to a uniform sample of the rest, weighted up to stand for it.

    kept + tail tokens are drawn uniformly without replacement, once for a block of queries; those that a
    query has listed are struck out, so that at least `tail` of its rest remain, l of them, each with the
    weight (n - k)/l in numerator and denominator. Both sums are unbiased for any index.

    With values in an interval of length 1, each entry of (numerator - exact output x denominator) is a
    Hoeffding sum of mean 0 and range e^ceiling (n - k)/l a term. So an output is off by more than
    `Answer.radius(delta)` with probability at most delta, a bound that is computed from what was read.

    Parameters
    ----------
    inputs : Inputs
        Queries, keys and values.
    near : Near
        The near tokens.
    tail : int
        Least number of tail tokens for a query, in 1..n; all of the rest where there are fewer.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    Answer
        In the type of the inputs.

    Raises
    ------
    ValueError
        If a number is out of its range, or the index is for other keys.
    """
    integer("tail", tail, 1, len(inputs.keys))
    answer = _empty_answer(inputs)
    for rows, short in shortlists(inputs.queries, inputs.keys, near):
        sample = np.empty(0, np.int64)
        if short.rest:
            sample = rng.choice(short.indexed, min(short.indexed, short.kept + tail), replace=False)
        _answer_tail(inputs, rows, short, sample, answer)
    return answer


def sampled_attention(
    inputs: Inputs, near: Near, draws: int, rng: np.random.Generator, *, groups: int = 1
) -> Answer:
    """Average the values of tokens drawn exactly from softmax: attention is an expectation.

    Parameters
    ----------
    inputs, near, rng
        As for `knn_attention`; k decides the time, not the law.
    draws : int
        Draws for each query, at least 1; `draws_for` and `median_draws_for` tell how many suffice.
    groups : int
        Their means are combined by the median, entry by entry; a divisor of `draws`.

    Returns
    -------
    Answer
        Unbiased with one group; its `scale` is Hoeffding's then, and infinite with more.

    Raises
    ------
    ValueError
        If a number is out of its range, or the index is for other keys.
    """
    draws = integer("draws", draws, 1, 1 << 40)
    if draws % integer("groups", groups, 1, draws):
        raise ValueError(f"{draws} draws cannot be split into {groups} groups of one size")
    answer = _empty_answer(inputs)
    for rows, short in shortlists(inputs.queries, inputs.keys, near):
        found = lazy_gumbel(inputs.queries[rows], inputs.keys, short, draws, rng)
        answer.outputs[rows] = _means(inputs.values, found.tokens, groups)
        answer.probes[rows] = short.probes + found.opened.sum(axis=1)
    if groups == 1:
        answer.scale[:] = 1 / sqrt(2 * draws)
    return answer


def truncated_attention(inputs: Inputs, near: Near) -> Answer:
    """Attend to the near tokens alone: what released kNN attention does, biased by the weight of the rest.

    Parameters
    ----------
    inputs, near
        As for `knn_attention`.

    Returns
    -------
    Answer
        Nothing is promised: `scale` is infinite.

    Raises
    ------
    ValueError
        If k is out of its range, or the index is for other keys.
    """
    answer = _empty_answer(inputs)
    for rows, short in shortlists(inputs.queries, inputs.keys, near):
        weights = np.exp(short.scores - short.scores.max(axis=1, keepdims=True))
        sums = _weighted(inputs.values, short.positions, weights)
        answer.outputs[rows] = sums / weights.sum(axis=1, keepdims=True)
        answer.probes[rows] = short.probes
    return answer


def draws_for(epsilon: float, delta: float, value_dim: int) -> int:
    """Return how many draws put every entry of a mean within epsilon, except with probability delta.

    Hoeffding: ln(2 d_v / delta) / (2 epsilon^2), for values in an interval of length 1.

    Parameters
    ----------
    epsilon : float
        Additive error, positive.
    delta : float
        For one query, in (0, 1].
    value_dim : int
        d_v, at least 1.

    Returns
    -------
    int
        Draws.

    Raises
    ------
    ValueError
        If a number is out of its range.

    Examples
    --------
    >>> draws_for(0.1, 0.01, 1)
    265
    """
    positive("epsilon", epsilon)
    positive("delta", delta, 1.0)
    return ceil(log(2 * integer("value_dim", value_dim, 1, 1 << 40) / delta) / (2 * epsilon**2))


def median_draws_for(epsilon: float, delta: float, value_dim: int, variance: float) -> tuple[int, int]:
    """Return how many draws, in how many groups, do the same for values of bounded variance.

    A group of 4 variance / epsilon^2 draws is off by more with probability at most 1/4 (Chebyshev); the
    median of g groups, g odd, only if half of them are: at most e^(-g/8) (Hoeffding).

    Parameters
    ----------
    epsilon, delta, value_dim
        As for `draws_for`.
    variance : float
        A bound on the variance of each entry under softmax, positive.

    Returns
    -------
    draws, groups : int
        `groups` divides `draws`.

    Raises
    ------
    ValueError
        If a number is out of its range.
    """
    positive("epsilon", epsilon)
    positive("delta", delta, 1.0)
    groups = ceil(8 * log(integer("value_dim", value_dim, 1, 1 << 40) / delta)) // 2 * 2 + 1
    return groups * ceil(4 * positive("variance", variance) / epsilon**2), groups


def _answer_tail(
    inputs: Inputs, rows: Positions, short: Shortlist, sample: Positions, answer: Answer
) -> None:
    """Write the answers of one block of queries that share a sample of the tail."""
    tail = inputs.queries[rows] @ inputs.keys[sample].T
    tail[_listed(short, sample)] = -np.inf
    count = np.isfinite(tail).sum(axis=1)
    peaks = np.maximum(short.scores.max(axis=1), tail.max(axis=1, initial=-np.inf))[:, None]
    weights = np.exp(short.scores - peaks)
    stand_for = (short.rest / np.maximum(count, 1)).astype(tail.dtype)
    tail_weights = np.exp(tail - peaks) * stand_for[:, None]
    denominators = weights.sum(axis=1) + tail_weights.sum(axis=1)
    numerators = _weighted(inputs.values, short.positions, weights)
    numerators += tail_weights @ inputs.values[sample]
    answer.outputs[rows] = numerators / denominators[:, None]
    answer.probes[rows] = short.probes + len(sample)
    # All of the rest was read where the sample holds it: nothing is left to chance.
    unread = np.where(count < short.rest, short.rest, 0)
    with np.errstate(over="ignore"):
        heights = np.exp(np.where(unread, short.ceiling - peaks[:, 0], -np.inf))
    answer.scale[rows] = unread * heights / (denominators * np.sqrt(2 * np.maximum(count, 1)))


def _listed(short: Shortlist, sample: Positions) -> tuple[Any, ...]:
    """Return the (query, column) pairs of a shared sample that the queries have listed already."""
    column = np.full(short.indexed, -1)
    column[sample] = np.arange(len(sample))
    found = column[short.positions[:, : short.kept]]
    listed = found >= 0
    return np.nonzero(listed)[0], found[listed]


def _weighted(values: Matrix, positions: Positions, weights: Matrix) -> Matrix:
    """Return sums of weights times values at positions, row by row; shapes (m, s), (m, s) -> (m, d_v)."""
    sums = np.empty((len(positions), values.shape[1]), np.result_type(weights, values))
    for block, theirs in gathered(values, positions):
        sums[block] = np.matmul(weights[block, None, :], theirs)[:, 0]
    return sums


def _means(values: Matrix, tokens: Positions, groups: int) -> Matrix:
    """Return the median over groups of the mean of the values of drawn tokens."""
    means = np.empty((len(tokens), groups, values.shape[1]), values.dtype)
    size = tokens.shape[1] // groups
    uniform = np.full((len(tokens), size), 1 / size, values.dtype)
    for group in range(groups):
        means[:, group] = _weighted(values, tokens[:, group * size : (group + 1) * size], uniform)
    combined: Matrix = np.median(means, axis=1)
    return combined


def _empty_answer(inputs: Inputs) -> Answer:
    """Return an answer to be filled in."""
    count = len(inputs.queries)
    outputs = np.empty((count, inputs.values.shape[1]), inputs.values.dtype)
    return Answer(outputs, np.zeros(count, np.int64), np.full(count, np.inf))
