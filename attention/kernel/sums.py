"""Sums of weights over blocks of tokens: of all weights, or only of those that can tell (theory 13)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array

from kvfloor.attention.checks import Matrix
from kvfloor.attention.kernel.blocks import Kept, Room, Tokens
from kvfloor.attention.kernel.limits import Limits

__all__ = ["Asked", "Sums"]

PENDING = 1 << 17  # kept weights that wait for their product with values
_Doubles: TypeAlias = NDArray[np.float64]


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
        queries = self.queries[rows]
        strip: Matrix = queries if self.factor == 1 else queries * self.tokens.values.dtype.type(self.factor)
        return strip

    def some(self, rows: NDArray[np.intp]) -> "Asked":
        """Return some of the queries."""
        return Asked(self.tokens, self.queries[rows], self.factor, self.bounds[rows], self.limits)

    def maxima(self, rows: slice, room: Room) -> Matrix:
        """Return the largest score of each of some queries."""
        queries = self.strip(rows)
        by_block = [room.score(queries, keys).max(axis=1) for keys in self.tokens.keys]
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
        self._clips = self._limits.clips(asked.bounds, shifts)
        values = asked.tokens.values
        self.numerators: Matrix = np.zeros((len(shifts), values.shape[1]), values.dtype)
        self.denominators: _Doubles = np.zeros(len(shifts))
        self.untouched = True

    def add(self, rows: slice, blocks: Sequence[int], room: Room) -> None:
        """Add blocks of tokens, by number, to a strip of queries."""
        pending: list[tuple[int, Kept]] = []
        waiting = 0
        for index, kept in self.thinned(rows, blocks, room):
            pending.append((index, kept))
            waiting += len(kept.rows)
            if waiting > PENDING:
                self.add_kept(rows, pending)
                pending, waiting = [], 0
        self.add_kept(rows, pending)

    def thinned(
        self, rows: slice, blocks: Sequence[int], room: Room, caps: Mapping[int, float] | None = None
    ) -> Iterator[tuple[int, Kept]]:
        """Thin blocks of tokens for a strip of queries, until one keeps too much: add that and all others whole.

        Parameters
        ----------
        rows : slice
            The strip.
        blocks : sequence of int
            Numbers of blocks.
        room : Room
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
            scores = room.score(queries, self._tokens.keys[index])
            kept = None
            if thin:
                cut = np.minimum(cuts, caps[index]) if caps and index in caps else cuts
                kept = room.above(scores, cut.astype(scores.dtype))
            if kept is None:
                thin = False
                self._add_whole(rows, index, scores, room)
            else:
                yield index, kept

    def add_kept(self, rows: slice, kept: Sequence[tuple[int, Kept]]) -> None:
        """Add what was kept of blocks, by number, to a strip of queries."""
        if not kept:
            return
        self.untouched = False
        strip, columns, weights = self.weighed(rows, kept)
        count = self.denominators[rows].size
        if len(kept) > 1 and np.bincount(strip, minlength=1).max() > self._tokens.widest:
            # No sum is longer than over a block.
            for part in kept:
                self.add_kept(rows, [part])
            return
        self.denominators[rows] += np.bincount(strip, weights, minlength=count)
        shape = count, len(self._tokens.values)
        self.numerators[rows] += coo_array((weights, (strip, columns)), shape=shape) @ self._tokens.values

    def weighed(
        self, rows: slice, kept: Sequence[tuple[int, Kept]]
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], Matrix]:
        """Return what was kept of blocks, at least one: rows in the strip, tokens, and their weights."""
        strip = np.concatenate([part.rows for _, part in kept])
        tokens = np.concatenate([part.columns + self._tokens.blocks[index].start for index, part in kept])
        scores = np.concatenate([part.scores for _, part in kept])
        shifts = self._shifts[rows].astype(scores.dtype)[strip]
        return strip, tokens, self._limits.weights(scores, shifts, self._clips)

    def uncertain(self) -> NDArray[np.intp]:
        """Return the queries whose sums do not settle it."""
        return self._limits.uncertain(self.denominators, self._asked.bounds, self._shifts, self._cuts)

    def outputs(self) -> Matrix:
        """Divide the sums, in place."""
        self.numerators /= self.denominators.astype(self.numerators.dtype)[:, None]
        return self.numerators

    def _add_whole(self, rows: slice, index: int, scores: Matrix, room: Room) -> None:
        """Add a block of tokens, given its scores, which are overwritten."""
        self.untouched = False
        values = self._tokens.values[self._tokens.blocks[index]]
        shifts = _column(self._shifts[rows]).astype(scores.dtype)
        weights = self._limits.weights(scores, shifts, self._clips)
        self.denominators[rows] += weights @ room.ones[: weights.shape[1]]
        self.numerators[rows] += room.multiply(weights, values)


def _column(scores: _Doubles) -> _Doubles:
    """Return a column, one number a query, or a single number if it is the same for all."""
    return scores[:1] if (scores == scores[0]).all() else scores[:, None]
