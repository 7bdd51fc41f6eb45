"""Sums of weights over blocks of tokens: of all weights, or only of those that can tell (theory 13)."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array

from kvfloor.attention.checks import Matrix

__all__ = ["BIT", "FOLD", "Asked", "Buffers", "Kept", "Limits", "Sums", "Tokens"]

_Doubles: TypeAlias = NDArray[np.float64]


def _vectorised(function: str) -> bool:
    """Say whether NumPy has a vectorised float32 loop of a function for this processor."""
    loops = np.lib.introspect.opt_func_info(func_name=f"^{function}$").get(function, {})
    return not loops.get("ff", {}).get("current", "baseline").startswith("baseline")


# Weights are powers of 2 where these are vectorised, twice as fast as powers of e; else powers of e, twice as
# fast as powers of 2 one by one. Scores are exponents of that base: FOLD times what they are in nats.
FOLD, _power = (math.log2(math.e), np.exp2) if _vectorised("exp2") else (1.0, np.exp)
BIT = FOLD * math.log(2)
"""One bit, in scores."""

FULL = 16  # keeping one weight in so many takes as long as the whole block
PENDING = 1 << 17  # kept weights that wait for their product with values


@dataclass(frozen=True, slots=True)
class Limits:
    """What the weights of a type must keep to, in scores and in weights.

    Parameters
    ----------
    highest : float
        The largest exponent of a weight: so many weights add up to a quarter of what overflows.
    smallest : float
        The exponent of the smallest normal number.
    accurate : float
        Sums of weights below this feel that weights are raised to the smallest normal number.
    left_out : float
        How far below the largest weight all others are, together, one unit roundoff of it.
    rounding : float
        By how much two computations of a score may differ, relative to a bound on it.
    """

    highest: float
    smallest: float
    accurate: float
    left_out: float
    rounding: float

    def cuts(self, largest: _Doubles, bounds: _Doubles) -> _Doubles:
        """Return above which scores weights are kept.

        Parameters
        ----------
        largest : ndarray, shape (m,)
            What each query's largest score is thought to be. Too much, and its sums turn out to be too small for
            what was left out; too little, and more is kept than need be.
        bounds : ndarray, shape (m,)
            What no score of a query exceeds in magnitude.

        Returns
        -------
        ndarray, shape (m,)
            -inf where nothing can be left out, or scores round by more than the one bit that is left for it.
        """
        cuts = largest - self.left_out - BIT
        cuts = np.where((cuts > -bounds) & (bounds * self.rounding < BIT), cuts, -np.inf)
        return _levelled(cuts, float(cuts.min()))

    def shifts(self, bounds: _Doubles) -> _Doubles:
        """Return by how much scores are shifted down for no sum to overflow, whatever they are."""
        shifts = np.maximum(bounds - self.highest, 0.0)
        return _levelled(shifts, float(shifts.max()))

    def raises(self, bounds: _Doubles, shifts: _Doubles) -> bool:
        """Say whether weights of such scores may be denormal, so that they are raised."""
        return float((bounds + shifts).max()) > -self.smallest

    def needed(self, shifts: _Doubles, cuts: _Doubles, raised: bool) -> _Doubles:
        """Return the sums of weights that make what was left out, and raised, rounding error."""
        with np.errstate(over="ignore"):
            left_out = np.exp2((cuts + self.left_out - shifts) / BIT)
        return left_out + (self.accurate if raised else 0.0)

    @classmethod
    def of(cls, dtype: np.dtype[Any], terms: int, dim: int) -> "Limits":
        """Return the limits for sums of so many terms, with keys of a dimension."""
        numbers = np.finfo(dtype)
        return cls(
            highest=BIT * (numbers.maxexp - 2 - math.log2(terms)),
            smallest=BIT * (numbers.minexp + 1),
            accurate=terms * float(numbers.tiny) * 2 / float(numbers.eps),
            left_out=BIT * (math.log2(terms) + 1 - math.log2(numbers.eps)),
            rounding=(dim + 8) * float(numbers.eps),
        )


class Tokens:
    """Keys and values of tokens in blocks, which all threads read.

    Parameters
    ----------
    keys : ndarray, shape (n, d)
        Keys of the tokens.
    values : ndarray, shape (n, d_v)
        Their values, in [-1, 1], of the same type.
    edges : sequence of int
        Where blocks begin, and n.
    strip : int
        The most queries that ask together.
    """

    def __init__(self, keys: Matrix, values: Matrix, edges: Sequence[int], strip: int) -> None:
        self.rows, self.values, self.strip = keys, values, strip
        self.blocks = [slice(*pair) for pair in pairwise(edges)]
        self.widest = max(block.stop - block.start for block in self.blocks)
        # Products with contiguous transposes are faster than with transposed views.
        self.keys = [np.ascontiguousarray(keys[block].T) for block in self.blocks]


@dataclass(frozen=True, slots=True)
class Kept:
    """The weights of a block that are kept: where they stand in it, and their scores."""

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    scores: Matrix

    def flipped(self) -> "Kept":
        """Return what is kept of the block that is this one's mirror image."""
        return Kept(self.columns, self.rows, self.scores)


class Buffers:
    """One thread's room for a block of scores, made once: fresh pages are slow.

    Parameters
    ----------
    tokens : Tokens
        What is asked.
    """

    def __init__(self, tokens: Tokens) -> None:
        rows, columns = tokens.strip, tokens.widest
        value_dim, dtype = tokens.values.shape[1], tokens.values.dtype
        self._scores = np.empty(rows * columns, dtype)
        self._above = np.empty(rows * columns, np.bool_)
        self._products = np.empty(rows * value_dim, dtype)
        self.ones = np.ones(columns, dtype)

    def score(self, queries: Matrix, keys: Matrix) -> Matrix:
        """Return the scores of queries on a transposed block of keys."""
        shape = len(queries), keys.shape[1]
        return np.matmul(queries, keys, out=self._scores[: shape[0] * shape[1]].reshape(shape))

    def above(self, scores: Matrix, cut: Matrix) -> Kept | None:
        """Return what lies above the cut, or None if that is too much to be worth it."""
        above = np.greater(scores, cut, out=self._above[: scores.size].reshape(scores.shape))
        if np.count_nonzero(above) * FULL > scores.size:
            return None
        where = np.flatnonzero(above)
        return Kept(*np.divmod(where, scores.shape[1]), scores.ravel()[where])

    def multiply(self, weights: Matrix, values: Matrix) -> Matrix:
        """Return the product of weights with values."""
        shape = len(weights), values.shape[1]
        return np.matmul(weights, values, out=self._products[: shape[0] * shape[1]].reshape(shape))


@dataclass(frozen=True, slots=True)
class Asked:
    """Queries to tokens.

    Parameters
    ----------
    tokens : Tokens
        What is asked.
    queries : ndarray, shape (m, d)
        Who asks.
    factor : float
        What queries are multiplied by, for their products with keys to be scores.
    bounds : ndarray, shape (m,)
        What no score of a query exceeds in magnitude.
    limits : Limits
        What weights keep to.
    """

    tokens: Tokens
    queries: Matrix
    factor: float
    bounds: _Doubles
    limits: Limits

    def strip(self, rows: slice) -> Matrix:
        """Return some queries as they are multiplied with keys."""
        strip: Matrix = self.queries[rows] * self.tokens.values.dtype.type(self.factor)
        return strip

    def some(self, rows: NDArray[np.intp]) -> "Asked":
        """Return some of the queries."""
        return Asked(self.tokens, self.queries[rows], self.factor, self.bounds[rows], self.limits)

    def maxima(self, rows: slice, buffers: Buffers) -> Matrix:
        """Return the largest score of each of some queries."""
        queries = self.strip(rows)
        by_block = [buffers.score(queries, keys).max(axis=1) for keys in self.tokens.keys]
        largest: Matrix = np.max(by_block, axis=0)
        return largest


class Sums:
    """Sums of the weights of queries, and of weights times values, to which blocks of tokens are added.

    Strips of queries do not touch each other: each may be another thread's.

    Parameters
    ----------
    asked : Asked
        The queries and the tokens.
    shifts, cuts : ndarray, shape (m,)
        Of each query: what is subtracted from scores before the power, and the score above which weights are
        kept where a block is thinned, -inf where there is nothing to leave out.
    """

    def __init__(self, asked: Asked, shifts: _Doubles, cuts: _Doubles) -> None:
        self._asked, self._tokens, self._limits = asked, asked.tokens, asked.limits
        self._shifts, self._cuts = shifts, cuts
        self._raised = self._limits.raises(asked.bounds, self._shifts)
        values = asked.tokens.values
        self.numerators: Matrix = np.zeros((len(shifts), values.shape[1]), values.dtype)
        self.denominators: _Doubles = np.zeros(len(shifts))

    def add(self, rows: slice, blocks: Sequence[int], buffers: Buffers) -> None:
        """Add blocks of tokens, by number, to a strip of queries."""
        pending: list[tuple[int, Kept]] = []
        waiting = 0
        for index, kept in self.thinned(rows, blocks, buffers):
            pending.append((index, kept))
            waiting += len(kept.rows)
            if waiting > PENDING:
                self.add_kept(rows, pending)
                pending, waiting = [], 0
        self.add_kept(rows, pending)

    def thinned(
        self, rows: slice, blocks: Sequence[int], buffers: Buffers, caps: Mapping[int, float] | None = None
    ) -> Iterator[tuple[int, Kept]]:
        """Thin blocks of tokens for a strip of queries, until one keeps too much: add that and all others whole.

        Parameters
        ----------
        rows : slice
            The strip.
        blocks : sequence of int
            Numbers of blocks.
        buffers : Buffers
            This thread's room.
        caps : mapping of int to float, optional
            Of blocks that will serve another strip as well, what the cut must not exceed.

        Yields
        ------
        tuple of int and Kept
            The number of a block that was thinned, and what was kept of it.
        """
        queries, cuts = self._asked.strip(rows), _column(self._cuts[rows])
        thin = bool((cuts > -np.inf).any())
        for index in blocks:
            scores = buffers.score(queries, self._tokens.keys[index])
            kept = None
            if thin:
                cut = np.minimum(cuts, caps[index]) if caps and index in caps else cuts
                kept = buffers.above(scores, cut.astype(scores.dtype))
            if kept is None:
                thin = False
                self._add_whole(rows, index, scores, buffers)
            else:
                yield index, kept

    def add_kept(self, rows: slice, kept: Sequence[tuple[int, Kept]]) -> None:
        """Add what was kept of blocks, by number, to a strip of queries."""
        if not kept:
            return
        strip = np.concatenate([part.rows for _, part in kept])
        count = self.denominators[rows].size
        if len(kept) > 1 and len(strip) and np.bincount(strip).max() > self._tokens.widest:
            # No sum is longer than over a block.
            for part in kept:
                self.add_kept(rows, [part])
            return
        columns = np.concatenate([part.columns + self._tokens.blocks[index].start for index, part in kept])
        scores = np.concatenate([part.scores for _, part in kept])
        weights = self._weights(scores, self._shifts[rows].astype(scores.dtype)[strip])
        self.denominators[rows] += np.bincount(strip, weights, minlength=count)
        shape = count, len(self._tokens.values)
        self.numerators[rows] += coo_array((weights, (strip, columns)), shape=shape) @ self._tokens.values

    def uncertain(self) -> NDArray[np.intp]:
        """Return the queries whose sums are too small for what was left out, or raised."""
        return np.flatnonzero(self.denominators < self._limits.needed(self._shifts, self._cuts, self._raised))

    def outputs(self) -> Matrix:
        """Divide the sums, in place."""
        self.numerators /= self.denominators.astype(self.numerators.dtype)[:, None]
        return self.numerators

    def _add_whole(self, rows: slice, index: int, scores: Matrix, buffers: Buffers) -> None:
        """Add a block of tokens, given its scores, which are overwritten."""
        values = self._tokens.values[self._tokens.blocks[index]]
        weights = self._weights(scores, _column(self._shifts[rows]).astype(scores.dtype))
        self.denominators[rows] += weights @ buffers.ones[: weights.shape[1]]
        self.numerators[rows] += buffers.multiply(weights, values)

    def _weights(self, scores: Matrix, shifts: Matrix) -> Matrix:
        """Turn scores into weights, in place."""
        if shifts.any():
            np.subtract(scores, shifts, out=scores)
        if self._raised:
            # Scores of 10^9 round by more than the room above the largest.
            np.clip(scores, self._limits.smallest, self._limits.highest, out=scores)
        weights: Matrix = _power(scores, out=scores)
        return weights


def _levelled(scores: _Doubles, level: float) -> _Doubles:
    """Return scores that differ by no more than a bit as one: a number takes a third of the time of a column."""
    apart = float(scores.max()) - float(scores.min())
    return np.full_like(scores, level) if apart <= BIT else scores


def _column(scores: _Doubles) -> _Doubles:
    """Return a column, one number a query, or a single number if it is the same for all."""
    return scores[:1] if (scores == scores[0]).all() else scores[:, None]
