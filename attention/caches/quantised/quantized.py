"""Uniform quantisation of keys and values in groups, as KIVI does it."""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches.base import Coins, Rows, StreamCache
from kvfloor.attention.caches.formats import round_to
from kvfloor.attention.caches.public.public import PublicKeyCache
from kvfloor.attention.caches.wire import Codes, Field, Floats
from kvfloor.attention.checks import Matrix, integer, one_of

__all__ = ["Groups", "Uniform", "UniformValues"]

_AXES = ("channel", "token")
_LARGEST_GROUP = 1 << 20
_UNQUANTISED = 16


class Uniform(StreamCache):
    """Asymmetric b-bit quantisation: keys per channel and values per token, in groups (KIVI).

    Along "channel", `group_size` consecutive tokens of one channel form a group, and the last tokens, which
    do not fill a group yet, are kept in float16. Along "token", `group_size` consecutive channels of one
    token form a group, the last of them possibly smaller. A group stores its minimum (the zero point) and
    its range divided by 2^bits - 1 (the scale) in float16, and a code for each number.

    Parameters
    ----------
    dim, value_dim : int
        Numbers of columns of keys and values.
    coins : Coins
        Not used.
    bits : int
        Bits per code, 1 to 8, or 16: no codes, every number in float16.
    key_bits, value_bits : int, optional
        Bits for one side alone, in the place of `bits`.
    group_size : int
        Numbers in a group, at least 1.
    key_axis, value_axis : str
        "channel" or "token".

    References
    ----------
    Z. Liu et al. KIVI: A Tuning-Free Asymmetric 2bit Quantization for KV Cache. ICML 2024, arXiv:2402.02750.
    """

    name: ClassVar[str] = "uniform"
    source: ClassVar[str] = "arXiv:2402.02750 (KIVI)"

    def __init__(
        self,
        dim: int,
        value_dim: int,
        coins: Coins,
        *,
        bits: int = 2,
        key_bits: int | None = None,
        value_bits: int | None = None,
        group_size: int = 32,
        key_axis: str = "channel",
        value_axis: str = "token",
    ) -> None:
        super().__init__(dim, value_dim, coins)
        self.bits = _bits("bits", bits)
        self.key_bits = None if key_bits is None else _bits("key_bits", key_bits)
        self.value_bits = None if value_bits is None else _bits("value_bits", value_bits)
        self.group_size = integer("group_size", group_size, 1, _LARGEST_GROUP)
        self.key_axis = one_of("key_axis", key_axis, _AXES)
        self.value_axis = one_of("value_axis", value_axis, _AXES)
        self._keys = _side("keys", self.dim, self.key_bits or self.bits, self.group_size, self.key_axis)
        self._values = _side(
            "values", self.value_dim, self.value_bits or self.bits, self.group_size, self.value_axis
        )

    def _append(self, keys: Matrix, values: Matrix) -> None:
        rounded = round_to("float16", keys, "keys"), round_to("float16", values, "values")
        grouped = self._keys.quantise(rounded[0]), self._values.quantise(rounded[1])
        self._keys.extend(*grouped[0])
        self._values.extend(*grouped[1])

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


class UniformValues(PublicKeyCache):
    """Asymmetric b-bit quantisation of the values alone, per token, with public keys.

    What `Uniform` does to values, where keys cost nothing: the price of precision by itself (theory 3).

    Parameters
    ----------
    dim, value_dim : int
        Numbers of columns of keys and values.
    coins : Coins
        Its keys are the public ones.
    bits : int
        Bits per code, 1 to 8.
    group_size : int
        Channels in a group, at least 1.
    """

    name: ClassVar[str] = "uniform-values"
    source: ClassVar[str] = "arXiv:2402.02750 (KIVI), values alone"

    def __init__(
        self, dim: int, value_dim: int, coins: Coins, *, bits: int = 2, group_size: int = 32
    ) -> None:
        super().__init__(dim, value_dim, coins)
        self.bits = integer("bits", bits, 1, 8)
        self.group_size = integer("group_size", group_size, 1, _LARGEST_GROUP)
        self._groups = Groups("values", self.value_dim, self.bits, self.group_size, "token")

    def _append_values(self, values: Matrix) -> None:
        self._groups.extend(*self._groups.quantise(round_to("float16", values, "values")))

    def _values(self) -> Matrix:
        return self._groups.matrix()

    def _value_arrays(self) -> tuple[NDArray[Any], ...]:
        return self._groups.arrays()

    def _value_layout(self, public_tokens: int, *counts: int) -> tuple[Field, ...]:
        return self._groups.layout(public_tokens)

    def _restore_values(
        self, public_tokens: int, counts: tuple[int, ...], arrays: list[NDArray[Any]]
    ) -> None:
        self._groups.extend(*arrays)


def _bits(name: str, value: object) -> int:
    """Return a number of bits that a number may have."""
    if value == _UNQUANTISED:
        return _UNQUANTISED
    try:
        return integer(name, value, 1, 8)
    except ValueError as error:
        raise ValueError(f"{error}, or {_UNQUANTISED} for float16") from None


def _side(name: str, columns: int, bits: int, size: int, axis: str) -> "Groups | _Halves":
    """Return the keys or the values: quantised, or as they are."""
    return _Halves(name, columns) if bits == _UNQUANTISED else Groups(name, columns, bits, size, axis)


class _Halves:
    """One matrix as it is, in float16, with the methods of `Groups`."""

    def __init__(self, name: str, columns: int) -> None:
        self._name, self._columns = name, columns
        self._rows = Rows(columns, np.float32)

    def __len__(self) -> int:
        return len(self._rows)

    def quantise(self, rows: Matrix) -> tuple[Matrix]:
        """Return what `extend` takes for the next rows."""
        return (rows,)

    def extend(self, rows: Matrix) -> None:
        """Take in rows."""
        self._rows.extend(rows)

    def matrix(self) -> Matrix:
        """Return the matrix that is stood for."""
        return self._rows.array

    def arrays(self) -> tuple[NDArray[Any], ...]:
        """Return the state, as `layout` describes it."""
        return (self._rows.array,)

    def layout(self, rows: int) -> tuple[Field, ...]:
        """Return the fields of the state when there are so many rows."""
        return (Floats(self._name, (rows, self._columns), "float16"),)


class Groups:
    """One matrix, quantised in groups along an axis; rows that do not fill a group yet are kept as they are.

    Parameters
    ----------
    name : str
        What the matrix is called, for error messages.
    columns : int
        Its number of columns.
    bits : int
        Bits per code, 1 to 8.
    size : int
        Numbers in a group, at least 1.
    axis : str
        "channel" or "token", as in `Uniform`.
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

    def quantise(self, rows: Matrix) -> tuple[NDArray[Any], Matrix, Matrix, Matrix]:
        """Return what `extend` takes for the next rows: codes, zeros, scales, and the new rest."""
        rows = np.concatenate([self._rest, rows])
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

    def extend(self, codes: NDArray[Any], zeros: Matrix, scales: Matrix, rest: Matrix) -> None:
        """Take in new groups, and put the rest in the place of the old one."""
        self._codes.extend(codes)
        self._zeros.extend(zeros)
        self._scales.extend(scales)
        self._rest = rest

    def matrix(self) -> Matrix:
        """Return the matrix that is stood for."""
        quantised = self._codes.array.astype(np.float32)
        quantised *= self._spread(self._scales.array)
        quantised += self._spread(self._zeros.array)
        return np.concatenate([quantised, self._rest])

    def arrays(self) -> tuple[NDArray[Any], ...]:
        """Return the state, as `layout` describes it."""
        return self._codes.array, self._zeros.array, self._scales.array, self._rest

    def layout(self, rows: int) -> tuple[Field, ...]:
        """Return the fields of the state when there are so many rows."""
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
