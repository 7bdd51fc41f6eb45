"""Key indexes: where a query's nearest keys are found, and at how many score evaluations (theory 9)."""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, sqrt
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.checks import Matrix, integer, matrix

__all__ = [
    "ExactIndex",
    "GrowingIndex",
    "KeyIndex",
    "Neighbours",
    "Positions",
    "checked_queries",
    "largest",
    "recall",
]

Positions: TypeAlias = NDArray[np.int64]

_LARGEST_FLOAT32_SCORE = 1e30
_SCORES_AT_ONCE = 1 << 22
_SAMPLE_STRIDE = 16
_SAMPLED_FROM = 4096  # below this many keys a sample saves nothing


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """What an index found for each of m queries.

    Parameters
    ----------
    positions : ndarray of int64, shape (m, k)
        k distinct tokens, in no particular order.
    scores : ndarray, shape (m, k)
        Their inner products with the query.
    ceiling : ndarray, shape (m,)
        A bound on the score of every token that was not found; -inf where all were.
    probes : ndarray of int64, shape (m,)
        Score evaluations that the query cost: inner products with keys and with whatever guides the search.
    """

    positions: Positions
    scores: Matrix
    ceiling: Matrix
    probes: Positions


class KeyIndex(Protocol):
    """Keys in which the nearest to a query are searched.

    An approximate index may miss some of the k largest scores, but its `ceiling` still bounds all that it
    did not return: that is what exact sampling rests on (theory 9).
    """

    @property
    def keys(self) -> Matrix:
        """The keys it was built for, shape (n, d)."""

    @property
    def build_probes(self) -> int:
        """Score evaluations that building it took."""

    def search(self, queries: object, kept: int) -> Neighbours:
        """Return near tokens of queries.

        Parameters
        ----------
        queries : array_like, shape (m, d)
            Queries of any norm.
        kept : int
            k, from 1 to n.

        Returns
        -------
        Neighbours
            k tokens for each query.

        Raises
        ------
        ValueError
            If shapes disagree, a score could overflow, or `kept` is not in 1..n.
        """


class ExactIndex:
    """The true nearest keys: every score is evaluated, d queries or more at a time.

    Parameters
    ----------
    keys : array_like, shape (n, d)
        The keys of n >= 1 tokens.
    """

    build_probes = 0

    def __init__(self, keys: object) -> None:
        self.keys = matrix("keys", keys)

    def search(self, queries: object, kept: int) -> Neighbours:
        """Return the `kept` largest scores of every query, at n probes each; see `KeyIndex.search`."""
        checked = checked_queries(queries, self.keys, kept)
        tokens, dim = self.keys.shape
        shape = len(checked), kept
        positions, scores = np.empty(shape, np.int64), np.empty(shape, checked.dtype)
        rows = max(dim, _SCORES_AT_ONCE // tokens)  # so that n d scores, as many as keys, are held
        buffer = np.empty((min(rows, len(checked)), tokens), checked.dtype)
        for start in range(0, len(checked), rows):
            block = checked[start : start + rows]
            found = np.matmul(block, self.keys.T, out=buffer[: len(block)])
            best = largest(found, kept)
            positions[start : start + rows] = best
            scores[start : start + rows] = np.take_along_axis(found, best, axis=1)
        ceiling = scores.min(axis=1) if kept < tokens else np.full(len(checked), -np.inf, checked.dtype)
        return Neighbours(positions, scores, ceiling, np.full(len(checked), tokens))


class GrowingIndex:
    """An index of a stream: tokens arrive in blocks, and searching never waits for a rebuild of all.

    The logarithmic method: static indexes of contiguous runs of tokens, each at least twice as long as the
    next; what would break this is merged and built anew. A run grows by half at least whenever it is rebuilt,
    so that a token is built into at most log(n)/log(3/2) + 1 of them, and a search asks at most log2(n) + 1.

    Parameters
    ----------
    make : callable
        Builds the static index of a run from its keys.

    References
    ----------
    J. L. Bentley, J. B. Saxe. Decomposable searching problems I. J. Algorithms 1 (1980).
    """

    def __init__(self, make: Callable[[Matrix], KeyIndex] = ExactIndex) -> None:
        self._make = make
        self._runs: list[KeyIndex] = []
        self.build_probes = 0

    def __len__(self) -> int:
        return sum(len(run.keys) for run in self._runs)

    @property
    def keys(self) -> Matrix:
        """All keys so far, in the order in which they came; shape (n, d), n >= 1."""
        if not self._runs:
            raise ValueError("the index is empty: extend it before asking for its keys")
        return np.concatenate([run.keys for run in self._runs])

    def extend(self, keys: object) -> None:
        """Take in the next tokens.

        Parameters
        ----------
        keys : array_like, shape (b, d)
            Keys of b >= 1 tokens.

        Raises
        ------
        ValueError
            If the dimension is not that of the tokens before.
        """
        fresh = matrix("keys", keys, self._runs[0].keys.shape[1] if self._runs else None)
        while self._runs and len(self._runs[-1].keys) < 2 * len(fresh):
            fresh = np.concatenate([self._runs.pop().keys, fresh])
        run = self._make(fresh)
        self.build_probes += run.build_probes
        self._runs.append(run)

    def search(self, queries: object, kept: int) -> Neighbours:
        """Return the `kept` best of what the runs find, exact if they are; see `KeyIndex.search`."""
        integer("kept", kept, 1, max(len(self), 1))
        starts = np.cumsum([0, *(len(run.keys) for run in self._runs)])
        found = [run.search(queries, min(kept, len(run.keys))) for run in self._runs]
        if not found:
            raise ValueError("the index is empty: extend it before searching")
        positions = np.hstack([f.positions + start for f, start in zip(found, starts, strict=False)])
        scores = np.hstack([f.scores for f in found])
        best = largest(scores, kept)
        kept_scores = np.take_along_axis(scores, best, axis=1)
        ceiling = np.max([f.ceiling for f in found], axis=0)
        if scores.shape[1] > kept:  # what is dropped here is bounded by the least that stays
            ceiling = np.maximum(ceiling, kept_scores.min(axis=1))
        probes = np.sum([f.probes for f in found], axis=0)
        return Neighbours(np.take_along_axis(positions, best, axis=1), kept_scores, ceiling, probes)


def recall(index: KeyIndex, queries: object, kept: int) -> float:
    """Return the fraction of the true nearest keys that an index finds.

    Parameters
    ----------
    index : KeyIndex
        The index.
    queries : array_like, shape (m, d)
        Queries.
    kept : int
        k, from 1 to n.

    Returns
    -------
    float
        In [0, 1]; of keys with equal scores any choice but the exact index's counts as missed.
    """
    tokens = len(index.keys)
    found = [i.search(queries, kept).positions for i in (index, ExactIndex(index.keys))]
    rows = np.arange(len(found[0]))[:, None] * tokens
    return float(np.isin(found[0] + rows, found[1] + rows).mean())


def checked_queries(queries: object, keys: Matrix, kept: int) -> Matrix:
    """Return queries as a matrix whose scores on these keys cannot overflow, in their common type.

    Arguments and errors are those of `KeyIndex.search`.
    """
    integer("kept", kept, 1, len(keys))
    checked = matrix("queries", queries, keys.shape[1])
    dtype = np.result_type(checked, keys)
    if dtype == np.float32:
        largest_entries = float(np.abs(checked).max()) * float(np.abs(keys).max())
        if largest_entries * keys.shape[1] > _LARGEST_FLOAT32_SCORE:
            raise ValueError(
                f"scores may exceed {_LARGEST_FLOAT32_SCORE:g}, more than float32 can add up; "
                "give queries or keys in float64"
            )
    return checked.astype(dtype, copy=False)


def largest(scores: Matrix, kept: int) -> Positions:
    """Return the columns of the `kept` largest entries of every row, in ascending order.

    Of equal entries the first are taken. Which of them a partition takes, and in which order it leaves them,
    depends on the processor's instructions, and sums and draws over the columns would follow it.

    Of many columns only those above a bar are ranked, the bar being taken from a sample of the columns; a
    row of which too few are above it makes its block be ranked in full, so that the result is always exact.

    Parameters
    ----------
    scores : ndarray, shape (m, n)
        No NaN.
    kept : int
        k, from 1 to n.

    Returns
    -------
    ndarray of int64, shape (m, k)
        Distinct columns in each row, ascending.
    """
    count, tokens = scores.shape
    if kept == tokens:
        return np.tile(np.arange(tokens), (count, 1))
    expected = kept / _SAMPLE_STRIDE
    rank = ceil(expected + 5 * sqrt(expected) + 5)  # above five deviations: nearly always enough
    if tokens >= _SAMPLED_FROM and 4 * rank * _SAMPLE_STRIDE <= tokens:
        sample = np.ascontiguousarray(scores[:, ::_SAMPLE_STRIDE])
        bars = np.partition(sample, -rank, axis=1)[:, -rank]
        rows, columns = np.divmod(np.flatnonzero(scores >= bars[:, None]), tokens)
        counts = np.bincount(rows, minlength=count)
        width = int(counts.max())
        if counts.min() >= kept and 4 * width <= tokens:
            starts = np.cumsum(counts) - counts
            above = np.full((count, width), -np.inf, scores.dtype)
            above[rows, np.arange(len(rows)) - starts[rows]] = scores[rows, columns]
            found: Positions = columns[starts[:, None] + largest(above, kept)]
            return found
    bars = np.partition(scores, tokens - kept, axis=1)[:, tokens - kept]
    taken = scores >= bars[:, None]
    surplus = np.count_nonzero(taken, axis=1) - kept
    for row in np.flatnonzero(surplus):
        equal = np.flatnonzero(scores[row] == bars[row])
        taken[row, equal[-surplus[row] :]] = False
    ranked: Positions = np.nonzero(taken)[1].reshape(count, kept)
    return ranked
