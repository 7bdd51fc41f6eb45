"""A store that counts what is read from it, so that probes are measured and not declared (theory 6)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ProbedStore", "UndeclaredReadError"]

Positions = NDArray[np.integer[Any]]


class UndeclaredReadError(ValueError):
    """A reader that had to say beforehand what it reads asked for something else."""


class ProbedStore:
    """A row of entries that is read entry by entry, for one query or many; repeated reads are one probe.

    Parameters
    ----------
    entries : ndarray
        What is stored; read under its flat positions, and copied.
    """

    def __init__(self, entries: NDArray[Any]) -> None:
        self._entries = np.array(entries).reshape(-1)
        self._declared: NDArray[np.bool_] | None = None
        self._read: list[NDArray[np.int64]] = []

    def __len__(self) -> int:
        return len(self._entries)

    def declare(self, positions: Positions) -> int:
        """Fix which entries may be read from here on: the reader is non-adaptive.

        Parameters
        ----------
        positions : ndarray of int, shape (k,)
            Positions of entries, repeats allowed.

        Returns
        -------
        int
            How many different entries these are.

        Raises
        ------
        ValueError
            If a position is none, something was read already, or a declaration was made before.
        """
        if self._read or self._declared is not None:
            raise ValueError("what is read must be declared once, before the first read")
        declared = np.zeros(len(self), np.bool_)
        declared[self._checked(positions)] = True
        self._declared = declared
        return int(declared.sum())

    def read(self, positions: Positions, queries: Positions | int = 0) -> NDArray[Any]:
        """Return entries, and count them.

        Parameters
        ----------
        positions : ndarray of int, shape (k,)
            Positions of entries.
        queries : ndarray of int, shape (k,), or int
            The number of the query on whose behalf each is read, at least 0; a non-adaptive reader reads for
            all queries at once and leaves it at 0.

        Returns
        -------
        ndarray, shape (k,)
            The entries.

        Raises
        ------
        UndeclaredReadError
            If a declaration was made and a position is not in it; nothing is handed out then.
        ValueError
            If a position or a query is none.
        """
        checked = self._checked(positions)
        if self._declared is not None and not self._declared[checked].all():
            undeclared = checked[~self._declared[checked]]
            raise UndeclaredReadError(f"entry {undeclared[0]} was not declared before the query was seen")
        numbers = np.broadcast_to(np.asarray(queries, np.int64), checked.shape)
        if len(numbers) and numbers.min() < 0:
            raise ValueError(f"queries must be numbers from 0 on, got {numbers.min()}")
        self._read.append(np.unique(numbers * len(self) + checked))
        return self._entries[checked]

    def probes(self, queries: int = 1) -> NDArray[np.int64]:
        """Return how many different entries were read for each query.

        Parameters
        ----------
        queries : int
            The number of queries, at least 1.

        Returns
        -------
        ndarray of int, shape (queries,)
            Probes, for query 0, 1, ...
        """
        pairs = np.unique(np.concatenate([np.empty(0, np.int64), *self._read]))
        return np.bincount(pairs // max(len(self), 1), minlength=queries).astype(np.int64)

    def _checked(self, positions: Positions) -> NDArray[np.int64]:
        """Return positions if all are those of entries, else raise ValueError."""
        checked = np.asarray(positions, np.int64)
        if checked.ndim != 1 or (len(checked) and not (checked.min() >= 0 and checked.max() < len(self))):
            raise ValueError(f"positions must be a vector of numbers in 0..{len(self) - 1}")
        return checked
