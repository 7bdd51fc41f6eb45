"""Reservoirs: slots that hold independent random tokens of a stream, at O(1) draws a replacement.

A slot takes the token that lifts the total weight from W' to W with probability (W - W')/W, so that it
always holds a token with probability its share of the weight. It need not draw at every token: after a
replacement at total W it stays as it is up to total T with probability W/T, so the next replacement comes
with the first token that lifts the total above W/U, U uniform in (0, 1]. That total is when the slot is
due (theory 4).
"""

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches.base import Rows
from kvfloor.attention.caches.base.draws import Draws
from kvfloor.attention.checks import LARGEST, Matrix

__all__ = ["KeySlots", "ValueSlots"]

_NEVER = 2.0**62
_FOR_KEYS, _FOR_VALUES = 0, 1  # the first counter of a draw: no two slots share one


class KeySlots:
    """Clusters' counts, and `slots` independent uniform samples of the keys of each.

    Every key weighs 1, so a slot is due at a rank: the r-th key of its cluster. The next rank is drawn by
    cluster, slot and rank, which makes the ranks a function of the counts and the coins: they are replayed
    on restoring, not sent.

    Parameters
    ----------
    dim : int
        Number d of columns of keys.
    slots : int
        Slots t of each cluster, at least 1.
    draws : Draws
        The public randomness.
    """

    def __init__(self, dim: int, slots: int, draws: Draws) -> None:
        self.dim, self.slots = dim, slots
        self._draws = draws
        self._counts = Rows(1, np.int64)
        self._keys = Rows(slots * dim, np.float32)
        self._due = Rows(slots, np.int64)

    @property
    def counts(self) -> NDArray[np.int64]:
        """The number of keys of each cluster, shape (m,), a view."""
        return self._counts.array[:, 0]

    @property
    def keys(self) -> Matrix:
        """The sampled keys, shape (m, slots, dim), a view."""
        return self._keys.array.reshape(-1, self.slots, self.dim)

    def extend(self, labels: NDArray[np.int64], keys: Matrix) -> None:
        """Read keys.

        Parameters
        ----------
        labels : ndarray of int, shape (b,)
            The cluster of each; clusters are numbered in the order of their first keys.
        keys : ndarray of float32, shape (b, dim)
            The keys.
        """
        self._open(max(0, int(labels.max()) + 1 - len(self._counts)))
        order = np.argsort(labels, kind="stable")
        clusters, starts, gained = np.unique(labels[order], return_index=True, return_counts=True)
        before = self.counts[clusters]
        self.counts[clusters] += gained
        places, slots, ranks = self._replaced(clusters)
        tokens = order[starts[places] + ranks - before[places] - 1]
        self.keys[clusters[places], slots] = keys[tokens]

    def restore(self, counts: NDArray[np.int64], keys: Matrix) -> None:
        """Take over a state.

        Parameters
        ----------
        counts : ndarray of int, shape (m,)
            Counts, each at least 1.
        keys : ndarray of float32, shape (m, slots, dim)
            Sampled keys.
        """
        self._open(len(counts))
        self.counts[:] = counts
        self.keys[:] = keys
        self._replaced(np.arange(len(counts)))

    def _open(self, clusters: int) -> None:
        """Open clusters without keys: their slots are due at their first one."""
        self._counts.extend(np.zeros((clusters, 1), np.int64))
        self._keys.extend(np.zeros((clusters, self.slots * self.dim), np.float32))
        self._due.extend(np.ones((clusters, self.slots), np.int64))

    def _replaced(
        self, clusters: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Go on to the clusters' counts; return the places in `clusters`, slots and last ranks of replacements."""
        counts = self.counts[clusters]
        due = self._due.array[clusters]
        places, slots = np.nonzero(due <= counts[:, None])
        ranks = due[places, slots]
        following = ranks.copy()
        pending = np.arange(len(places))
        while len(pending):
            ranks[pending] = following[pending]
            drawn = self._draws.uniforms(_FOR_KEYS, clusters[places[pending]], slots[pending], ranks[pending])
            following[pending] = self._next_rank(ranks[pending], drawn)
            pending = pending[following[pending] <= counts[places[pending]]]
        self._due.array[clusters[places], slots] = following
        return places, slots, ranks

    @staticmethod
    def _next_rank(ranks: NDArray[np.int64], uniforms: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the first rank above rank/U: slots stay as they are up to rank r' with probability rank/r'."""
        return np.minimum(ranks / uniforms, _NEVER).astype(np.int64) + 1


class ValueSlots:
    """Independent samples of a stream's tokens, each with probability proportional to |v|^2.

    Parameters
    ----------
    dim, value_dim : int
        Numbers of columns of keys and values.
    slots : int
        How many, at least 1.
    draws : Draws
        The public randomness.

    Attributes
    ----------
    total : float
        mu, the sum of |v|^2 over the stream.
    due : ndarray, shape (slots,)
        The totals above which the slots are replaced next.
    keys, values : ndarray of float32, shapes (slots, dim) and (slots, value_dim)
        The sampled tokens; no rows while the total is 0, when there is nothing to draw from.
    """

    def __init__(self, dim: int, value_dim: int, slots: int, draws: Draws) -> None:
        self.slots = slots
        self._draws = draws
        self.total = 0.0
        self.due: NDArray[np.float64] = np.empty(0)
        self.keys: Matrix = np.empty((0, dim), np.float32)
        self.values: Matrix = np.empty((0, value_dim), np.float32)

    def extend(self, first: int, keys: Matrix, values: Matrix) -> None:
        """Read tokens.

        Parameters
        ----------
        first : int
            The position of the first of them in the stream.
        keys, values : ndarray of float32, shapes (b, dim) and (b, value_dim)
            The tokens.
        """
        totals = np.cumsum(np.append(self.total, self._weights(values)))[1:]
        if not totals[-1] > 0:
            return
        if not len(self.due):
            self.due = np.zeros(self.slots)
            self.keys = np.zeros((self.slots, keys.shape[1]), np.float32)
            self.values = np.zeros((self.slots, values.shape[1]), np.float32)
        self.total = float(totals[-1])
        tokens = np.zeros(self.slots, np.int64)
        replaced = pending = np.flatnonzero(self.due < self.total)
        while len(pending):
            tokens[pending] = np.searchsorted(totals, self.due[pending], side="right")
            drawn = self._draws.uniforms(_FOR_VALUES, pending, first + tokens[pending])
            self.due[pending] = np.minimum(totals[tokens[pending]] / drawn, LARGEST)
            pending = pending[self.due[pending] < self.total]
        self.keys[replaced], self.values[replaced] = keys[tokens[replaced]], values[tokens[replaced]]

    def restore(self, total: float, due: NDArray[np.float64], keys: Matrix, values: Matrix) -> None:
        """Take over a state.

        Parameters
        ----------
        total : float
            mu.
        due, keys, values : ndarray
            As the attributes of these names.
        """
        self.total, self.due, self.keys, self.values = total, due, keys, values

    @staticmethod
    def _weights(values: Matrix) -> NDArray[np.float64]:
        """Return |v|^2 of every value."""
        squares: NDArray[np.float64] = np.square(values, dtype=np.float64).sum(axis=1)
        return squares
