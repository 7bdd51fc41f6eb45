"""An inverted file in plain NumPy: keys in cells round sqrt(n) directions, a few cells searched for a query."""

from math import ceil, sqrt

import numpy as np

from kvfloor.attention.checks import Matrix, integer, matrix
from kvfloor.attention.knn.indexes import Neighbours, Positions, checked_queries, largest

__all__ = ["CellIndex"]

_QUERIES_AT_ONCE = 1024
_TINY = 1e-30


class CellIndex:
    """Keys in cells, each round a unit direction; a query is scored against directions, then in a few cells.

    A key belongs to the direction of its largest inner product. So a query that points exactly as a key does
    ranks that key's cell first, whatever the other keys are: INDEX's queries find their token in one cell.
    With sqrt(n) cells of about sqrt(n) keys a search costs O(sqrt n) probes. `ceiling` holds for every key
    in a cell that was not searched: <q, k> <= <q, c> + |q| max |k - c| over the cell's keys.

    Parameters
    ----------
    keys : array_like, shape (n, d)
        The keys of n >= 1 tokens.
    rng : numpy.random.Generator
        Draws the first directions among the keys.
    cells : int, optional
        Number of cells, from 1 to n; ceil(sqrt n) by default.
    visited : int
        Cells that a query searches at least; more where they hold fewer than k keys.
    rounds : int
        How often directions move to the mean of their cell (spherical k-means), at least 0.
    """

    def __init__(
        self,
        keys: object,
        rng: np.random.Generator,
        *,
        cells: int | None = None,
        visited: int = 1,
        rounds: int = 2,
    ) -> None:
        self.keys = matrix("keys", keys)
        tokens = len(self.keys)
        count = integer("cells", ceil(sqrt(tokens)) if cells is None else cells, 1, tokens)
        self.visited = integer("visited", visited, 1, count)
        integer("rounds", rounds, 0, 1000)
        self._directions = _unit(self.keys[rng.choice(tokens, count, replace=False)])
        members = _nearest(self.keys, self._directions)
        for _ in range(rounds):
            sums = np.zeros_like(self._directions)
            np.add.at(sums, members, self.keys)
            moved = np.linalg.norm(sums, axis=1) > _TINY  # an empty cell keeps its direction
            self._directions[moved] = _unit(sums[moved])
            members = _nearest(self.keys, self._directions)
        self.build_probes = (rounds + 1) * tokens * count
        self._sizes = np.bincount(members, minlength=count)
        self._starts = np.cumsum(self._sizes) - self._sizes
        self._order = np.argsort(members, kind="stable")  # tokens, cell by cell
        self._sorted_keys = self.keys[self._order]
        distances = np.linalg.norm(self.keys - self._directions[members], axis=1)
        self._radii = np.zeros(count, self.keys.dtype)
        np.maximum.at(self._radii, members, distances)

    def search(self, queries: object, kept: int) -> Neighbours:
        """Return the `kept` largest scores among the keys of the nearest cells; see `KeyIndex.search`.

        The ceiling holds; a probe is a cell's direction, or a key in a cell that was searched.
        """
        checked = checked_queries(queries, self.keys, kept)
        blocks = [
            self._search(checked[start : start + _QUERIES_AT_ONCE], kept)
            for start in range(0, len(checked), _QUERIES_AT_ONCE)
        ]
        parts = zip(*((b.positions, b.scores, b.ceiling, b.probes) for b in blocks), strict=True)
        return Neighbours(*(np.concatenate(part) for part in parts))

    def _search(self, queries: Matrix, kept: int) -> Neighbours:
        """Search for a block of queries."""
        towards = queries @ self._directions.T
        order = np.argsort(-towards, axis=1)
        sizes = self._sizes[order]
        reached = np.cumsum(sizes, axis=1)
        # As many cells as asked for, and more until they hold k keys.
        needed = np.maximum(self.visited, 1 + np.argmax(reached >= kept, axis=1))
        ranks = np.arange(order.shape[1])
        searched = ranks < needed[:, None]
        candidates = reached[np.arange(len(queries)), needed - 1]
        scores = np.full((len(queries), int(candidates.max())), -np.inf, queries.dtype)
        positions = np.zeros(scores.shape, np.int64)
        rows, columns = np.nonzero(searched)
        self._fill(queries, rows, order[rows, columns], (reached - sizes)[rows, columns], positions, scores)

        best = largest(scores, kept)
        found = np.take_along_axis(scores, best, axis=1)
        reach = np.linalg.norm(queries, axis=1, keepdims=True) * self._radii
        outside = np.take_along_axis(towards + reach, order, axis=1)
        occupied = ~searched & (sizes > 0)
        ceiling = np.max(outside, axis=1, where=occupied, initial=-np.inf)
        dropped = candidates > kept
        ceiling[dropped] = np.maximum(ceiling, found.min(axis=1))[dropped]
        probes = candidates + len(self._directions)
        return Neighbours(np.take_along_axis(positions, best, axis=1), found, ceiling, probes)

    def _fill(
        self,
        queries: Matrix,
        rows: Positions,
        cells: Positions,
        offsets: Positions,
        positions: Positions,
        scores: Matrix,
    ) -> None:
        """Score each (row, cell) pair, one product a cell, and write its keys into the row at an offset."""
        by_cell = np.argsort(cells, kind="stable")
        rows, offsets = rows[by_cell], offsets[by_cell]
        present, firsts = np.unique(cells[by_cell], return_index=True)
        for cell, first, last in zip(present, firsts, [*firsts[1:], len(rows)], strict=True):
            members = slice(self._starts[cell], self._starts[cell] + self._sizes[cell])
            asking = rows[first:last]
            columns = offsets[first:last, None] + np.arange(self._sizes[cell])
            scores[asking[:, None], columns] = queries[asking] @ self._sorted_keys[members].T
            positions[asking[:, None], columns] = self._order[members]


def _unit(rows: Matrix) -> Matrix:
    """Return rows scaled to norm 1; zero rows stay."""
    scaled: Matrix = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), _TINY)
    return scaled


def _nearest(keys: Matrix, directions: Matrix) -> Positions:
    """Return the direction of the largest inner product for every key, block by block."""
    rows = max(1, (1 << 22) // len(directions))
    blocks = [
        np.argmax(keys[start : start + rows] @ directions.T, axis=1) for start in range(0, len(keys), rows)
    ]
    return np.concatenate(blocks)
