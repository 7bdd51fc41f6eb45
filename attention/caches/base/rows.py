"""A matrix that grows by rows: what caches hold their tokens in."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Rows"]


class Rows:
    """A matrix that grows downwards, at a constant cost per row.

    Parameters
    ----------
    columns : int
        Its number of columns.
    dtype : dtype
        The type of its entries.
    """

    def __init__(self, columns: int, dtype: Any) -> None:
        self._buffer: NDArray[Any] = np.empty((0, columns), dtype)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def array(self) -> NDArray[Any]:
        """The rows so far, a view."""
        return self._buffer[: self._count]

    def extend(self, rows: NDArray[Any]) -> None:
        """Append rows.

        Parameters
        ----------
        rows : ndarray, shape (b, columns)
            The new rows; they are copied.
        """
        needed = self._count + len(rows)
        if needed > len(self._buffer):
            grown = np.empty((max(needed, 2 * len(self._buffer)), self._buffer.shape[1]), self._buffer.dtype)
            grown[: self._count] = self.array
            self._buffer = grown
        self._buffer[self._count : needed] = rows
        self._count = needed

    def delete(self, row: int) -> None:
        """Remove one row; those below move up.

        Parameters
        ----------
        row : int
            Its index.
        """
        self._buffer[row : self._count - 1] = self._buffer[row + 1 : self._count]
        self._count -= 1

    def replace(self, rows: NDArray[Any]) -> None:
        """Put other rows in the place of all.

        Parameters
        ----------
        rows : ndarray, shape (b, columns)
            The rows; they are kept, not copied.
        """
        self._buffer, self._count = rows, len(rows)
