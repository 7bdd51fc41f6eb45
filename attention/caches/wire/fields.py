"""The arrays of a state: how many bytes each takes, and how it becomes bytes and back."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches.wire import formats
from kvfloor.attention.caches.wire.envelope import WireError
from kvfloor.attention.checks import LARGEST

__all__ = ["Codes", "Field", "Floats", "bits_for"]

_CODES_AT_A_TIME = 1 << 16  # a multiple of 8, so that every portion but the last fills whole bytes


@dataclass(frozen=True, slots=True)
class Field(ABC):
    """One array of a state.

    Parameters
    ----------
    name : str
        What the array is called, for error messages.
    shape : tuple of int
        Its shape.
    """

    name: str
    shape: tuple[int, ...]

    @property
    @abstractmethod
    def wire_bytes(self) -> int:
        """The number of bytes on the wire."""

    def encode(self, array: NDArray[Any]) -> bytes:
        """Return the bytes of an array of this field's shape."""
        assert array.shape == self.shape, f"{self.name}: {array.shape} is not {self.shape}"
        return self._encoded(array)

    @abstractmethod
    def decode(self, data: memoryview) -> NDArray[Any]:
        """Return the array that the bytes stand for; WireError if they stand for none."""

    @abstractmethod
    def _encoded(self, array: NDArray[Any]) -> bytes:
        """Return the bytes of an array of the right shape."""


@dataclass(frozen=True, slots=True)
class Floats(Field):
    """An array of finite floats, already rounded to their format.

    Parameters
    ----------
    name, shape
        As of every field.
    format : str
        How the numbers are stored, one of ``formats.FORMATS``.
    low : float
        The least number allowed.
    """

    format: str
    low: float = -LARGEST

    @property
    def wire_bytes(self) -> int:
        """The number of bytes on the wire."""
        return math.prod(self.shape) * formats.item_bytes(self.format)

    def decode(self, data: memoryview) -> NDArray[Any]:
        """Return the array; WireError if a number is not finite or below the least one."""
        with np.errstate(invalid="ignore"):  # a signalling NaN warns when it is cast
            numbers = formats.decode(self.format, data)
            if numbers.size and not (self.low <= float(numbers.min()) and float(numbers.max()) <= LARGEST):
                raise WireError(
                    f"{self.name} hold a number that is not finite or not within [{self.low:g}, 1e100]"
                )
        return numbers.reshape(self.shape)

    def _encoded(self, array: NDArray[Any]) -> bytes:
        return formats.encode(self.format, array)


@dataclass(frozen=True, slots=True)
class Codes(Field):
    """An array of integers in [0, limit), packed tightly, most significant bit first.

    Parameters
    ----------
    name, shape
        As of every field.
    limit : int
        One above the largest integer allowed, from 1 to 2^48; ``bits_for(limit)`` bits are spent on each.
    """

    limit: int

    @property
    def wire_bytes(self) -> int:
        """The number of bytes on the wire: the last one is filled up with zero bits."""
        return (math.prod(self.shape) * bits_for(self.limit) + 7) // 8

    def decode(self, data: memoryview) -> NDArray[Any]:
        """Return the array, of the smallest unsigned type; WireError if a code or the padding is wrong."""
        bits = bits_for(self.limit)
        count = math.prod(self.shape)
        if len(data) and data[-1] & ((1 << (8 * len(data) - count * bits)) - 1):
            raise WireError(f"{self.name} end in bits that are not zero")
        codes = _unpack(data, count, bits)
        if codes.size and int(codes.max()) >= self.limit:
            raise WireError(
                f"{self.name} hold {int(codes.max())}, but the largest allowed is {self.limit - 1}"
            )
        return codes.reshape(self.shape)

    def _encoded(self, array: NDArray[Any]) -> bytes:
        return _pack(array.reshape(-1), bits_for(self.limit))


def bits_for(limit: int) -> int:
    """Return how many bits tell `limit` different codes apart.

    Parameters
    ----------
    limit : int
        The number of codes, at least 1.

    Returns
    -------
    int
        ceil(log2 limit); no bits for a single code.
    """
    return (limit - 1).bit_length()


def _pack(codes: NDArray[Any], bits: int) -> bytes:
    """Return integers below 2^bits, `bits` bits each, most significant first."""
    if bits == 0:
        return b""
    if bits == 8:
        return codes.astype(np.uint8).tobytes()
    if bits == 1:
        return np.packbits(codes.astype(np.uint8)).tobytes()
    places = np.arange(bits - 1, -1, -1, dtype=np.uint64)
    portions = []
    for start in range(0, len(codes), _CODES_AT_A_TIME):
        portion = codes[start : start + _CODES_AT_A_TIME].astype(np.uint64)
        portions.append(np.packbits(((portion[:, None] >> places) & np.uint64(1)).astype(np.uint8)).tobytes())
    return b"".join(portions)


def _unpack(data: memoryview, count: int, bits: int) -> NDArray[Any]:
    """Return the integers that `_pack` wrote, in the smallest unsigned type."""
    dtype = np.min_scalar_type((1 << bits) - 1)
    if bits == 0:
        return np.zeros(count, dtype)
    packed = np.frombuffer(data, np.uint8)
    if bits == 8:
        return packed.copy()
    if bits == 1:
        return np.unpackbits(packed, count=count)
    codes = np.zeros(count, dtype)
    for start in range(0, count, _CODES_AT_A_TIME):
        portion = codes[start : start + _CODES_AT_A_TIME]
        first, last = start * bits // 8, ((start + len(portion)) * bits + 7) // 8
        digits = np.unpackbits(packed[first:last], count=len(portion) * bits).reshape(-1, bits)
        for digit in digits.T:
            portion <<= 1
            portion |= digit
    return codes
