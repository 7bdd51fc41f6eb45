"""Sums over pairs of tokens: queries times keys of the first side ask the second (theory 7)."""

from collections.abc import Callable
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array

from kvfloor.attention.checks import Matrix
from kvfloor.attention.kernel.blocks import Kept, Room, Tokens
from kvfloor.attention.kernel.limits import Limits
from kvfloor.attention.kernel.strips import each
from kvfloor.attention.kernel.sums import Asked, Sums

__all__ = ["Pairs"]

CLIMBERS = 256  # queries that climb together
Found = TypeVar("Found")
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
        The second side; products of queries with keys of the first make a strip.
    bounds : ndarray, shape (m,)
        What no score of a query exceeds in magnitude.
    """

    def __init__(
        self, queries: Matrix, keys: Matrix, values: Matrix, tokens: Tokens, bounds: _Doubles
    ) -> None:
        self._queries, self._keys, self._values = queries, keys, values
        self._tokens, self._bounds = tokens, bounds
        pairs, run = len(keys) * len(tokens.values), tokens.widest + len(tokens.blocks) + len(keys) + 22
        self._limits = Limits.of(keys.dtype, pairs, keys.shape[1], run)

    def attend(self) -> Matrix:
        """Return the outputs, shape (m, d_v).

        Weights are left out, and scores shifted, relative to a score that each query is seen to have. Queries that
        this does not settle are asked again, whole and shifted by their true maximum.
        """
        limits, bounds, likely = self._limits, self._bounds, self._climbed()
        shifts, cuts = limits.shifts(likely, bounds), limits.cuts(likely, bounds)
        outputs, totals = self._sums(shifts, cuts)
        uncertain = limits.uncertain(totals, bounds, shifts, cuts)
        if len(uncertain):
            again = Pairs(self._queries[uncertain], self._keys, self._values, self._tokens, bounds[uncertain])
            nothing = np.full(len(uncertain), -np.inf)
            outputs[uncertain], totals[uncertain] = again._sums(again._maxima() - limits.highest, nothing)
        outputs /= totals.astype(outputs.dtype)[:, None]
        return outputs

    def sums(self) -> tuple[Matrix, _Doubles]:
        """Return the sums of weights times values over e^shift, and the shifts, the largest scores."""
        shifts = self._maxima()
        return self._sums(shifts, self._limits.cuts(shifts, self._bounds))[0], shifts

    def _sums(self, shifts: _Doubles, cuts: _Doubles) -> tuple[Matrix, _Doubles]:
        """Return the sums of weights times values, and of weights, of every query."""

        def add(chosen: slice, part: slice, room: Room) -> tuple[Matrix, _Doubles]:
            asked, values = self._asked(chosen, part), self._values[part]
            sums = Sums(asked, shifts[chosen].repeat(len(values)), cuts[chosen].repeat(len(values)))
            numerators, totals = self._few(sums, values, room)
            if not sums.untouched:
                products = sums.numerators.reshape(-1, *values.shape)
                products *= values
                numerators = numerators + products.sum(axis=1)
                totals = totals + sums.denominators.reshape(-1, len(values)).sum(axis=1)
            return numerators, totals

        outputs: Matrix = np.zeros((len(shifts), self._values.shape[1]), self._values.dtype)
        totals: _Doubles = np.zeros(len(shifts))
        for chosen, (numerators, denominators) in self._each(add):
            outputs[chosen] += numerators
            totals[chosen] += denominators
        return outputs, totals

    def _few(self, sums: Sums, values: Matrix, room: Room) -> tuple[Matrix, _Doubles]:
        """Add all blocks to sums but a few kept weights; return their sums with both sides' values, and of them."""
        every, rows = range(len(self._tokens.blocks)), slice(0, len(sums.denominators))
        queries = len(sums.denominators) // len(values)
        few: list[tuple[int, Kept]] = []
        for index, kept in sums.thinned(rows, every, room):
            few.append((index, kept))
            if sum(len(one.rows) for _, one in few) > self._limits.run:
                sums.add_kept(rows, few)
                few = []
        if not few:
            return np.zeros((queries, values.shape[1]), values.dtype), np.zeros(queries)
        strip, tokens, weights = sums.weighed(rows, few)
        asking, first = np.divmod(strip, len(values))
        products = weights[:, None] * values[first] * self._tokens.values[tokens]
        if queries == 1:
            return products.sum(axis=0, keepdims=True), weights.sum(dtype=np.float64, keepdims=True)
        share = coo_array((np.ones_like(weights), (asking, np.arange(len(asking)))), (queries, len(asking)))
        numerators: Matrix = np.asarray(share @ products)
        totals: _Doubles = np.bincount(asking, weights, minlength=queries).astype(np.float64)
        return numerators, totals

    def _maxima(self) -> _Doubles:
        """Return the largest score of every query."""

        def look(chosen: slice, part: slice, room: Room) -> Matrix:
            asked = self._asked(chosen, part)
            largest = asked.maxima(slice(0, len(asked.queries)), room)
            maxima: Matrix = largest.reshape(-1, part.stop - part.start).max(axis=1)
            return maxima

        maxima = np.full(len(self._queries), -np.inf)
        for chosen, largest in self._each(look):
            np.maximum(maxima[chosen], largest, out=maxima[chosen])
        return maxima

    def _climbed(self) -> _Doubles:
        """Return a score of every query, as large as can be reached by changing one token of a pair at a time."""
        reached = np.empty(len(self._queries))
        one, other = self._keys, self._tokens.rows
        for start in range(0, len(reached), CLIMBERS):
            queries = self._queries[start : start + CLIMBERS]
            first = np.zeros(len(queries), np.intp)
            for _ in range(2):
                second = (queries * one[first] @ other.T).argmax(axis=1)
                scores = queries * other[second] @ one.T
                first = scores.argmax(axis=1)
            reached[start : start + CLIMBERS] = scores.max(axis=1)
        return reached

    def _each(self, work: Callable[[slice, slice, Room], Found]) -> list[tuple[slice, Found]]:
        """Let threads work on queries and tokens of the first side that make a strip; return what they find in order."""
        count, tokens, strip = len(self._queries), len(self._keys), self._tokens.strip
        together = max(1, strip // tokens)
        items = [
            (slice(start, min(start + together, count)), slice(low, min(low + strip, tokens)))
            for start in range(0, count, together)
            for low in range(0, tokens, strip)
        ]
        found: dict[int, Found] = {}

        def find(number: int, room: Room) -> None:
            found[number] = work(*items[number], room)

        each(self._tokens, range(len(items)), find)
        return [(chosen, found[number]) for number, (chosen, _) in enumerate(items)]

    def _asked(self, chosen: slice, part: slice) -> Asked:
        """Return the products of some queries with some keys of the first side, as queries to the second."""
        rows = (self._queries[chosen, None, :] * self._keys[part]).reshape(-1, self._keys.shape[1])
        return Asked(
            self._tokens, rows, 1.0, self._bounds[chosen].repeat(part.stop - part.start), self._limits
        )
