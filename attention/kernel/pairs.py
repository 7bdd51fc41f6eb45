"""Sums over pairs of tokens: each query times the first side asks the second (theory 7)."""

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.checks import Matrix
from kvfloor.attention.kernel.sums import Asked, Buffers, Limits, Sums, Tokens
from kvfloor.attention.kernel.threads import share

__all__ = ["Pairs"]

CLIMBED = 256  # queries that climb together
_Doubles: TypeAlias = NDArray[np.float64]


class Pairs:
    """Queries to all pairs of tokens of two sides.

    Parameters
    ----------
    queries : ndarray, shape (m, d)
        The queries, in units of scores.
    keys, values : ndarray, shapes (n1, d) and (n1, d_v)
        The first side; values in [-1, 1].
    tokens : Tokens
        The second side; a strip are products of queries with keys of the first.
    bounds : ndarray, shape (m,)
        What no score of a query exceeds in magnitude.
    """

    def __init__(
        self, queries: Matrix, keys: Matrix, values: Matrix, tokens: Tokens, bounds: _Doubles
    ) -> None:
        self._queries, self._keys, self._values, self._tokens = queries, keys, values, tokens
        self._bounds, self._limits = (
            bounds,
            Limits.of(keys.dtype, len(keys) * len(tokens.values), keys.shape[1]),
        )

    def attend(self) -> Matrix:
        """Return the outputs, shape (m, d_v).

        What is left out lies far below the largest score that a query is seen to have. Scores are shifted by their
        bound; where all lie so far below it that it would tell, the query is done again by its true maximum.
        """
        limits = self._limits
        shifts = limits.shifts(self._bounds)
        cuts = limits.cuts(self._climbed(), self._bounds)
        outputs, totals = self._sums(shifts, cuts)
        raised = limits.raises(self._bounds, shifts)
        uncertain = np.flatnonzero(totals < limits.needed(shifts, cuts, raised))
        if len(uncertain):
            some = Pairs(self._queries[uncertain], self._keys, self._values, self._tokens,
                         self._bounds[uncertain])  # fmt: skip
            none = np.full(len(uncertain), -np.inf)
            outputs[uncertain], totals[uncertain] = some._sums(some._maxima() - limits.highest, none)
        outputs /= totals.astype(outputs.dtype)[:, None]
        return outputs

    def sums(self) -> tuple[Matrix, _Doubles]:
        """Return the sums of weights times values over e^shift, and the shifts, the largest scores."""
        shifts = self._maxima()
        sums, _ = self._sums(shifts, self._limits.cuts(shifts, self._bounds))
        return sums, shifts

    def _sums(self, shifts: _Doubles, cuts: _Doubles) -> tuple[Matrix, _Doubles]:
        """Return the sums of weights times values, and of weights, of every query."""
        items = self._items()
        found: list[tuple[Matrix, _Doubles]] = [(self._values[:0], shifts[:0])] * len(items)
        every = range(len(self._tokens.blocks))

        def work(queue: Iterator[int]) -> None:
            room = Buffers(self._tokens)
            for number in queue:
                chosen, part = items[number]
                asked, values = self._asked(chosen, part), self._values[part]
                sums = Sums(asked, *(column[chosen].repeat(len(values)) for column in (shifts, cuts)))
                sums.add(slice(0, len(asked.queries)), every, room)
                products = sums.numerators.reshape(-1, *values.shape)
                products *= values
                found[number] = products.sum(axis=1), sums.denominators.reshape(-1, len(values)).sum(axis=1)

        share(range(len(items)), work)
        outputs: Matrix = np.zeros((len(shifts), self._values.shape[1]), self._values.dtype)
        totals: _Doubles = np.zeros(len(shifts))
        for (chosen, _), (numerators, denominators) in zip(items, found, strict=True):
            outputs[chosen] += numerators
            totals[chosen] += denominators
        return outputs, totals

    def _maxima(self) -> _Doubles:
        """Return the largest score of every query."""
        items = self._items()
        found = [self._bounds] * len(items)

        def work(queue: Iterator[int]) -> None:
            room = Buffers(self._tokens)
            for number in queue:
                chosen, part = items[number]
                asked = self._asked(chosen, part)
                maxima = asked.maxima(slice(0, len(asked.queries)), room)
                found[number] = maxima.reshape(-1, part.stop - part.start).max(axis=1).astype(np.float64)

        share(range(len(items)), work)
        maxima = np.full(len(self._queries), -np.inf)
        for (chosen, _), largest in zip(items, found, strict=True):
            np.maximum(maxima[chosen], largest, out=maxima[chosen])
        return maxima

    def _climbed(self) -> _Doubles:
        """Return a score of every query that is as large as can be reached by changing one token at a time."""
        reached = np.empty(len(self._queries))
        sides = self._keys, self._tokens.rows
        for start in range(0, len(reached), CLIMBED):
            queries = self._queries[start : start + CLIMBED]
            first = np.zeros(len(queries), np.intp)
            for _ in range(2):
                second = (queries * sides[0][first] @ sides[1].T).argmax(axis=1)
                scores = queries * sides[1][second] @ sides[0].T
                first = scores.argmax(axis=1)
            reached[start : start + CLIMBED] = scores.max(axis=1)
        return reached

    def _items(self) -> list[tuple[slice, slice]]:
        """Return which queries and which tokens of the first side make a strip together."""
        count, tokens = len(self._queries), len(self._keys)
        longest = self._tokens.strip
        together = max(1, longest // tokens)
        return [
            (slice(start, min(start + together, count)), slice(low, min(low + longest, tokens)))
            for start in range(0, count, together)
            for low in range(0, tokens, longest)
        ]

    def _asked(self, chosen: slice, part: slice) -> Asked:
        """Return the products of some queries with some keys of the first side, as queries to the second."""
        rows = (self._queries[chosen, None, :] * self._keys[part]).reshape(-1, self._keys.shape[1])
        return Asked(
            self._tokens, rows, 1.0, self._bounds[chosen].repeat(part.stop - part.start), self._limits
        )
