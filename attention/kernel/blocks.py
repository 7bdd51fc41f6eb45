"""Tokens in blocks, the room for a block of scores, and what is kept of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.checks import Matrix

__all__ = ["Kept", "Room", "Tokens"]

FULL = 16  # keeping one weight in so many takes as long as the whole block
LINE = 64  # bytes of a line of the processor's cache
LARGEST_SPARE = 1 << 23  # bytes of a room that is put by for the next one
MOST_SPARE = 4
_spare: list[NDArray[np.uint8]] = []  # popped and appended at one end only, which threads may


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
    queries : int
        How many ask.
    """

    def __init__(self, keys: Matrix, values: Matrix, edges: Sequence[int], strip: int, queries: int) -> None:
        self.rows, self.values, self.strip = keys, values, min(strip, queries)
        self.blocks = [slice(*pair) for pair in pairwise(edges)]
        self.widest = max(block.stop - block.start for block in self.blocks)
        # Products with contiguous transposes are faster than with transposed views, by a third of what these cost.
        self.keys = [keys[block].T for block in self.blocks]
        if queries > 3 * strip:
            self.keys = [np.ascontiguousarray(block) for block in self.keys]


@dataclass(frozen=True, slots=True)
class Kept:
    """The weights of a block that are kept: where they stand in it, and their scores."""

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    scores: Matrix

    def flipped(self) -> "Kept":
        """Return what is kept of the block that is this one's mirror image."""
        return Kept(self.columns, self.rows, self.scores)


class Room:
    """One thread's room for a block of scores; used again from call to call, because fresh pages are slow.

    Parameters
    ----------
    tokens : Tokens
        What is asked.
    """

    def __init__(self, tokens: Tokens) -> None:
        dtype, (columns, value_dim) = tokens.values.dtype, (tokens.widest, tokens.values.shape[1])
        scores, products = tokens.strip * columns, tokens.strip * value_dim
        numbers = (scores + products + columns) * dtype.itemsize
        needed = numbers + scores + LINE
        try:
            self._bytes = _spare.pop()
        except IndexError:
            self._bytes = np.empty(needed, np.uint8)
        if len(self._bytes) < needed:
            self._bytes = np.empty(needed, np.uint8)
        start = -self._bytes.ctypes.data % LINE
        floats = self._bytes[start : start + numbers].view(dtype)
        self._scores, self._products = floats[:scores], floats[scores : scores + products]
        self._above = self._bytes[start + numbers : start + numbers + scores].view(np.bool_)
        self.ones = floats[scores + products :]
        self.ones[:] = 1

    def __enter__(self) -> "Room":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if len(self._bytes) <= LARGEST_SPARE and len(_spare) < MOST_SPARE:
            _spare.append(self._bytes)

    def score(self, queries: Matrix, keys: Matrix) -> Matrix:
        """Return the scores of queries on a transposed block of keys."""
        shape = len(queries), keys.shape[1]
        return np.matmul(queries, keys, out=self._scores[: shape[0] * shape[1]].reshape(shape))

    def above(self, scores: Matrix, cut: Matrix) -> Kept | None:
        """Return what lies above the cut, or None if that is too much to be worth it."""
        above = np.greater(scores, cut, out=self._above[: scores.size].reshape(scores.shape))
        # A glance at every eighth row tells what is far too much.
        if np.count_nonzero(above[::8]) * 4 * FULL > scores.size:
            return None
        where = np.flatnonzero(above)
        if len(where) * FULL > scores.size:
            return None
        return Kept(*np.divmod(where, scores.shape[1]), scores.ravel()[where])

    def multiply(self, weights: Matrix, values: Matrix) -> Matrix:
        """Return the product of weights with values."""
        shape = len(weights), values.shape[1]
        return np.matmul(weights, values, out=self._products[: shape[0] * shape[1]].reshape(shape))
