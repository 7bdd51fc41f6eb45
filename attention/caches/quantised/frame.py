"""Matrices in few bits: what a quantised cache keeps its keys, or its values, in."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches.base import Rows, StreamCache
from kvfloor.attention.caches.base.projection import norms
from kvfloor.attention.caches.wire import Codes, Field, Floats
from kvfloor.attention.caches.wire.formats import round_to
from kvfloor.attention.checks import Matrix

__all__ = ["CodedMatrix", "Groups", "Halves", "NormedCodes", "QuantisedCache"]


class CodedMatrix(ABC):
    """One matrix that grows by rows, kept in some code."""

    @abstractmethod
    def __len__(self) -> int:
        """Return how many rows there are."""

    @abstractmethod
    def quantise(self, rows: Matrix) -> tuple[NDArray[Any], ...]:
        """Return what `extend` takes for the next rows; ValueError if they cannot be coded."""

    @abstractmethod
    def extend(self, *coded: NDArray[Any]) -> None:
        """Take in rows; a state, too, in an empty matrix."""

    @abstractmethod
    def matrix(self) -> Matrix:
        """Return the matrix that is stood for."""

    @abstractmethod
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """Return the state, as `layout` describes it."""

    @abstractmethod
    def layout(self, rows: int) -> tuple[Field, ...]:
        """Return the fields of the state when there are so many rows."""


class QuantisedCache(StreamCache):
    """The frame of caches that keep every token, keys and values each in a code.

    A family's `_begin` makes the two.
    """

    _keys: CodedMatrix
    _values: CodedMatrix

    def _append(self, keys: Matrix, values: Matrix) -> None:
        coded = self._keys.quantise(keys), self._values.quantise(values)
        self._keys.extend(*coded[0])
        self._values.extend(*coded[1])

    def _tokens(self) -> tuple[Matrix, Matrix]:
        return self._keys.matrix(), self._values.matrix()

    def _state(self) -> tuple[tuple[int, ...], tuple[NDArray[Any], ...]]:
        return (len(self._keys),), (*self._keys.arrays(), *self._values.arrays())

    def _layout(self, *counts: int) -> tuple[Field, ...]:
        return (*self._keys.layout(counts[0]), *self._values.layout(counts[0]))

    def _restore(self, counts: tuple[int, ...], arrays: list[NDArray[Any]]) -> None:
        of_keys = len(self._keys.layout(counts[0]))
        self._keys.extend(*arrays[:of_keys])
        self._values.extend(*arrays[of_keys:])


class Halves(CodedMatrix):
    """A matrix as it is, in float16.

    Parameters
    ----------
    name : str
        What it is called, for error messages.
    columns : int
        Its number of columns.
    """

    def __init__(self, name: str, columns: int) -> None:
        self._name, self._columns = name, columns
        self._rows = Rows(columns, np.float32)

    def __len__(self) -> int:
        return len(self._rows)

    def quantise(self, rows: Matrix) -> tuple[NDArray[Any], ...]:
        """Return the rows, rounded."""
        return (round_to("float16", rows, self._name),)

    def extend(self, *coded: NDArray[Any]) -> None:
        """Take in rows."""
        self._rows.extend(coded[0])

    def matrix(self) -> Matrix:
        """Return the matrix."""
        return self._rows.array

    def arrays(self) -> tuple[NDArray[Any], ...]:
        """Return the matrix."""
        return (self._rows.array,)

    def layout(self, rows: int) -> tuple[Field, ...]:
        """Return its field."""
        return (Floats(self._name, (rows, self._columns), "float16"),)


class Groups(CodedMatrix):
    """A matrix quantised in groups along an axis; rows that do not fill a group yet are kept as they are.

    Along "channel", `size` consecutive rows of one column form a group, and the last rows, which do not fill
    a group yet, are kept in float16. Along "token", `size` consecutive columns of one row form a group, the last
    of them possibly smaller. A group stores its minimum (the zero point) and its range divided by 2^bits - 1 (the
    scale) in float16, and a code for each number.

    Parameters
    ----------
    name, columns
        As of `Halves`.
    bits : int
        Bits per code, 1 to 8.
    size : int
        Numbers in a group, at least 1.
    axis : str
        "channel" or "token".
    """

    def __init__(self, name: str, columns: int, bits: int, size: int, axis: str) -> None:
        self._name, self._columns, self._levels, self._size = name, columns, 1 << bits, size
        self._axis = 0 if axis == "channel" else 1
        self._rows_together = size if self._axis == 0 else 1
        groups_across = columns if self._axis == 0 else -(-columns // size)
        self._codes = Rows(columns, np.uint8)
        self._zeros = Rows(groups_across, np.float32)
        self._scales = Rows(groups_across, np.float32)
        self._rest: Matrix = np.empty((0, columns), np.float32)

    def __len__(self) -> int:
        return len(self._codes) + len(self._rest)

    def quantise(self, rows: Matrix) -> tuple[NDArray[Any], ...]:
        """Return codes, zeros and scales of new groups, and the new rest."""
        rows = np.concatenate([self._rest, round_to("float16", rows, self._name)])
        complete, rest = np.split(rows, [len(rows) // self._rows_together * self._rows_together])
        if not len(complete):
            return self._codes.array[:0], self._zeros.array[:0], self._scales.array[:0], rest.copy()
        starts = np.arange(0, complete.shape[self._axis], self._size)
        zeros = np.minimum.reduceat(complete, starts, axis=self._axis)
        ranges = np.maximum.reduceat(complete, starts, axis=self._axis) - zeros
        scales = round_to(
            "float16", ranges / np.float32(self._levels - 1), f"the quantisation scales of {self._name}"
        )
        # A group of equal numbers has scale 0 (as has one whose range is below float16): any divisor gives
        # code 0.
        steps = (complete - self._spread(zeros)) / self._spread(np.where(scales > 0, scales, np.inf))
        codes = np.minimum(np.rint(steps), self._levels - 1).astype(np.uint8)
        return codes, zeros, scales, rest.copy()

    def extend(self, *coded: NDArray[Any]) -> None:
        """Take in new groups, and put the rest in the place of the old one."""
        codes, zeros, scales, self._rest = coded
        self._codes.extend(codes)
        self._zeros.extend(zeros)
        self._scales.extend(scales)

    def matrix(self) -> Matrix:
        """Return the matrix of codes, scaled back."""
        quantised = self._codes.array.astype(np.float32)
        quantised *= self._spread(self._scales.array)
        quantised += self._spread(self._zeros.array)
        return np.concatenate([quantised, self._rest])

    def arrays(self) -> tuple[NDArray[Any], ...]:
        """Return codes, zeros, scales and the rest."""
        return self._codes.array, self._zeros.array, self._scales.array, self._rest

    def layout(self, rows: int) -> tuple[Field, ...]:
        """Return their fields."""
        groups_down = rows // self._rows_together
        grouped = groups_down * self._rows_together
        groups = groups_down, self._zeros.array.shape[1]
        return (
            Codes(f"codes of {self._name}", (grouped, self._columns), self._levels),
            Floats(f"zero points of {self._name}", groups, "float16"),
            Floats(f"scales of {self._name}", groups, "float16", low=0.0),
            Floats(f"ungrouped {self._name}", (rows - grouped, self._columns), "float16"),
        )

    def _spread(self, per_group: Matrix) -> Matrix:
        """Return a matrix that repeats what each group has for each of its numbers."""
        spread: Matrix = np.repeat(per_group, self._size, axis=self._axis)
        return spread if self._axis == 0 else spread[:, : self._columns]


class NormedCodes(CodedMatrix):
    """The norms of rows, in float16, and codes of their directions; a subclass says which.

    Parameters
    ----------
    name : str
        What the matrix is called, for error messages.
    codes : str
        What its codes are called.
    columns : int
        Codes of a row.
    limit : int
        Number of different codes, at most 256.
    """

    def __init__(self, name: str, codes: str, columns: int, limit: int) -> None:
        self._name, self._codes_name, self._limit = name, codes, limit
        self._norms = Rows(1, np.float32)
        self._codes = Rows(columns, np.uint8)

    def __len__(self) -> int:
        return len(self._norms)

    def quantise(self, rows: Matrix) -> tuple[NDArray[Any], ...]:
        """Return norms and codes."""
        lengths = norms(rows)
        return round_to("float16", lengths, f"norms of {self._name}"), self._coded(rows, lengths)

    def extend(self, *coded: NDArray[Any]) -> None:
        """Take in norms and codes."""
        self._norms.extend(coded[0])
        self._codes.extend(coded[1])

    def matrix(self) -> Matrix:
        """Return rows of these norms, in the directions that the codes stand for."""
        return np.asarray(self._decoded(self._norms.array, self._codes.array), np.float32)

    def arrays(self) -> tuple[NDArray[Any], ...]:
        """Return norms and codes."""
        return self._norms.array, self._codes.array

    def layout(self, rows: int) -> tuple[Field, ...]:
        """Return their fields."""
        return (
            Floats(f"norms of {self._name}", (rows, 1), "float16", low=0.0),
            Codes(f"{self._codes_name} of {self._name}", (rows, self._codes.array.shape[1]), self._limit),
        )

    @abstractmethod
    def _coded(self, rows: Matrix, lengths: Matrix) -> NDArray[Any]:
        """Return the codes of rows of these norms."""

    @abstractmethod
    def _decoded(self, lengths: Matrix, codes: NDArray[Any]) -> Matrix:
        """Return the rows that norms and codes stand for."""
