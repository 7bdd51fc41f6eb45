"""Clusters that open as keys come: their number follows the geometry of the keys, not how many there are."""

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches.base import Rows
from kvfloor.attention.checks import Matrix

__all__ = ["Clusters"]

_JOIN_TOKENS = 256  # tokens that are compared with the clusters at a time
_SCORES = 1 << 17  # scores in memory at a time


class Clusters:
    """Online clusters: a key joins the nearest representative within `delta`, else it becomes one.

    Blocks of keys are compared with all representatives by one matrix product. Its rounding depends on the
    block, so it only picks candidates: representatives that may be nearest for all that its error bound
    says. Among these the distances decide, computed row by row; so the clusters do not depend on the blocks.

    Parameters
    ----------
    dim : int
        Number d of columns of keys.
    delta : float
        Radius of a cluster, positive.
    """

    def __init__(self, dim: int, delta: float) -> None:
        self.dim = dim
        self._largest_square = delta * delta
        self._rows = Rows(dim + 1, np.float64)  # c and -|c|^2/2: their product with (k, 1) ranks distances
        self._largest_norm = 0.0

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def representatives(self) -> Matrix:
        """The first keys of the clusters, float32, shape (m, dim)."""
        return self._rows.array[:, : self.dim].astype(np.float32)

    def join(self, keys: Matrix) -> NDArray[np.int64]:
        """Put keys into clusters, one after the other.

        Parameters
        ----------
        keys : ndarray of float32, shape (b, dim)
            The keys.

        Returns
        -------
        ndarray of int64, shape (b,)
            The cluster of each; clusters are numbered in the order in which they were opened.
        """
        labels, start = np.empty(len(keys), np.int64), 0
        while start < len(keys):
            stop = start + min(_JOIN_TOKENS, max(16, _SCORES // max(len(self), 1)))
            labels[start:stop] = self._join(keys[start:stop].astype(np.float64))
            start = stop
        return labels

    def open(self, keys: Matrix) -> None:
        """Make keys the representatives of new clusters.

        Parameters
        ----------
        keys : ndarray, shape (m, dim)
            Keys in float32 precision.
        """
        squares = np.square(keys, dtype=np.float64).sum(axis=1, keepdims=True)
        self._rows.extend(np.hstack([keys, -squares / 2]))
        self._largest_norm = max(self._largest_norm, float(np.sqrt(squares.max(initial=0.0))))

    def _join(self, keys: NDArray[np.float64]) -> NDArray[np.int64]:
        """Put a few keys into clusters; only those that open one take a step of their own."""
        labels, squares = self._nearest(keys)
        row = 0
        while len(far := np.flatnonzero(squares[row:] > self._largest_square)):
            row += int(far[0])
            labels[row] = len(self)
            self.open(keys[row : row + 1])
            rest = slice(row + 1, None)
            to_new = _squares(keys[rest], keys[row])
            closer = to_new < squares[rest]
            labels[rest][closer], squares[rest][closer] = labels[row], to_new[closer]
            row += 1
        return labels

    def _nearest(self, keys: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the nearest cluster of every key, the earliest of equally near ones, and the squared distance."""
        if not len(self):
            return np.zeros(len(keys), np.int64), np.full(len(keys), np.inf)
        scores = np.hstack([keys, np.ones((len(keys), 1))]) @ self._rows.array.T
        # A score errs by at most (d + 2) u |c| (|k| + |c|) and a distance by (d + 3) u (|k| + |c|)^2, u = eps/2;
        # two of each are compared.
        unit = 2 * (self.dim + 4) * np.finfo(np.float64).eps
        slack = unit * (np.sqrt(np.square(keys).sum(axis=1)) + self._largest_norm) ** 2
        near = scores >= (scores.max(axis=1) - slack)[:, None]
        rows, clusters = np.divmod(np.flatnonzero(near), len(self))
        squares = _squares(keys[rows], self._rows.array[clusters, : self.dim])
        best = np.lexsort((squares, rows))[np.searchsorted(rows, np.arange(len(keys)))]
        return clusters[best], squares[best]


def _squares(keys: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return squared distances of rows, each rounded alike whatever other rows there are."""
    distances: NDArray[np.float64] = np.square(keys - others).sum(axis=1)
    return distances
