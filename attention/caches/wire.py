"""The byte format of caches: what crosses from Alice to Bob, and nothing else does.

    b"KVFL"  version (1 byte)  header length (2 bytes)  header  arrays  CRC-32 (4 bytes)

Integers are little-endian. The header is one JSON array ``[cache, parameters, counts]``, spelt in the one
canonical way: the name of the cache, its parameters in the order of its signature, and the sizes of its
state. The header says nothing about the arrays: a cache derives their number, formats and shapes from its
parameters and counts. So a header cannot contradict its arrays, and the length that a payload must have is
known before anything is allocated.
"""

import json
import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches import formats
from kvfloor.attention.checks import LARGEST

__all__ = [
    "Codes",
    "Field",
    "Floats",
    "Message",
    "Scalar",
    "WireError",
    "bits_for",
    "read",
    "read_arrays",
    "write",
]

Scalar = str | int | float | None

_MAGIC = b"KVFL"
_VERSION = 1
_PREFIX = struct.Struct("<4sBH")
_CHECKSUM = struct.Struct("<I")
_LONGEST_HEADER = 1024
_LARGEST_COUNT = 1 << 48
_CODES_AT_A_TIME = 1 << 16  # a multiple of 8, so that every portion but the last fills whole bytes


class WireError(ValueError):
    """A payload is not a valid cache; the message says what is wrong with it."""


class Field(Protocol):
    """One array of a state: how many bytes it takes, and how it becomes bytes and back."""

    @property
    def wire_bytes(self) -> int:
        """The number of bytes on the wire."""

    def encode(self, array: NDArray[Any]) -> bytes:
        """Return the bytes of an array of this field's shape."""

    def decode(self, data: memoryview) -> NDArray[Any]:
        """Return the array that the bytes stand for; WireError if they stand for none."""


@dataclass(frozen=True, slots=True)
class Floats:
    """An array of finite floats.

    Parameters
    ----------
    name : str
        What the array is called, for error messages.
    shape : tuple of int
        Its shape.
    format : str
        How the numbers are stored, one of ``formats.FORMATS``.
    low : float
        The least number allowed.
    """

    name: str
    shape: tuple[int, ...]
    format: str
    low: float = -LARGEST

    @property
    def wire_bytes(self) -> int:
        """The number of bytes on the wire."""
        return math.prod(self.shape) * formats.item_bytes(self.format)

    def encode(self, array: NDArray[Any]) -> bytes:
        """Return the bytes of an array of this field's shape, already rounded to its format."""
        assert array.shape == self.shape, f"{self.name}: {array.shape} is not {self.shape}"
        return formats.encode(self.format, array)

    def decode(self, data: memoryview) -> NDArray[Any]:
        """Return the array; WireError if a number is not finite or below the least one."""
        with np.errstate(invalid="ignore"):  # a signalling NaN warns when it is cast
            numbers = formats.decode(self.format, data)
            if numbers.size and not (self.low <= float(numbers.min()) and float(numbers.max()) <= LARGEST):
                raise WireError(
                    f"{self.name} hold a number that is not finite or not within [{self.low:g}, 1e100]"
                )
        return numbers.reshape(self.shape)


@dataclass(frozen=True, slots=True)
class Codes:
    """An array of integers in [0, limit), packed tightly, most significant bit first.

    Parameters
    ----------
    name : str
        What the array is called, for error messages.
    shape : tuple of int
        Its shape.
    limit : int
        One above the largest integer allowed, from 1 to 2^48; ``bits_for(limit)`` bits are spent on each.
    """

    name: str
    shape: tuple[int, ...]
    limit: int

    @property
    def wire_bytes(self) -> int:
        """The number of bytes on the wire: the last one is filled up with zero bits."""
        return (math.prod(self.shape) * bits_for(self.limit) + 7) // 8

    def encode(self, array: NDArray[Any]) -> bytes:
        """Return the bytes of an array of this field's shape."""
        assert array.shape == self.shape, f"{self.name}: {array.shape} is not {self.shape}"
        return _pack(array.reshape(-1), bits_for(self.limit))

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


@dataclass(frozen=True, slots=True)
class Message:
    """A payload whose frame and header are in order.

    Parameters
    ----------
    cache : str
        The name of the cache.
    parameters : tuple of (str, int, float or None)
        Its parameters in the order of its signature.
    counts : tuple of int
        The sizes of its state, from 0 to 2^48.
    body : memoryview
        The bytes of its arrays.
    """

    cache: str
    parameters: tuple[Scalar, ...]
    counts: tuple[int, ...]
    body: memoryview


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


def write(
    cache: str,
    parameters: Sequence[Scalar],
    counts: Sequence[int],
    fields: Sequence[Field],
    arrays: Sequence[NDArray[Any]],
) -> bytes:
    """Return the payload of a cache.

    Parameters
    ----------
    cache : str
        Its name.
    parameters : sequence of (str, int, float or None)
        Its parameters in the order of its signature.
    counts : sequence of int
        The sizes of its state.
    fields : sequence of Field
        What its arrays look like.
    arrays : sequence of ndarray
        The arrays, in the order of the fields.

    Returns
    -------
    bytes
        Everything that is sent.
    """
    header = _spell([cache, list(parameters), list(counts)])
    assert len(header) <= _LONGEST_HEADER, f"a header of {len(header)} bytes"
    parts = [_PREFIX.pack(_MAGIC, _VERSION, len(header)), header]
    parts += [field.encode(array) for field, array in zip(fields, arrays, strict=True)]
    checksum = 0
    for part in parts:
        checksum = zlib.crc32(part, checksum)
    return b"".join([*parts, _CHECKSUM.pack(checksum)])


def read(payload: bytes) -> Message:
    """Check the frame and the header of a payload.

    Parameters
    ----------
    payload : bytes
        What `write` returned, or anything else.

    Returns
    -------
    Message
        The header's entries and the bytes of the arrays.

    Raises
    ------
    WireError
        If it is not a payload of this version, is damaged, or has a header of another shape.
    """
    if not isinstance(payload, bytes):
        raise WireError(f"a payload is bytes, not {type(payload).__name__}")
    if len(payload) < _PREFIX.size + _CHECKSUM.size:
        raise WireError(f"a payload of {len(payload)} bytes is too short to be one")
    magic, version, header_bytes = _PREFIX.unpack_from(payload)
    if magic != _MAGIC:
        raise WireError(f"a payload starts with {_MAGIC!r}, not {magic!r}")
    if version != _VERSION:
        raise WireError(f"this is format version {version}, expected {_VERSION}")
    data = memoryview(payload)[: -_CHECKSUM.size]
    if _CHECKSUM.unpack_from(payload, len(data))[0] != zlib.crc32(data):
        raise WireError("the checksum is wrong: the payload is damaged or incomplete")
    if header_bytes > min(_LONGEST_HEADER, len(data) - _PREFIX.size):
        raise WireError(f"a header of {header_bytes} bytes does not fit")
    body = data[_PREFIX.size :]
    cache, parameters, counts = _parse(bytes(body[:header_bytes]))
    return Message(cache, parameters, counts, body[header_bytes:])


def read_arrays(body: memoryview, fields: Sequence[Field]) -> list[NDArray[Any]]:
    """Return the arrays of a payload.

    Parameters
    ----------
    body : memoryview
        The bytes of all arrays, one after the other.
    fields : sequence of Field
        What the arrays look like.

    Returns
    -------
    list of ndarray
        One array for each field.

    Raises
    ------
    WireError
        If the number of bytes or an entry is not as the fields say.
    """
    expected = sum(field.wire_bytes for field in fields)
    if expected != len(body):
        raise WireError(f"the header asks for {expected} bytes of arrays, but there are {len(body)}")
    arrays, start = [], 0
    for field in fields:
        stop = start + field.wire_bytes
        arrays.append(field.decode(body[start:stop]))
        start = stop
    return arrays


def _spell(header: list[Any]) -> bytes:
    """Return the canonical bytes of a header."""
    return json.dumps(header, separators=(",", ":"), allow_nan=False).encode("ascii")


def _parse(text: bytes) -> tuple[str, tuple[Scalar, ...], tuple[int, ...]]:
    """Return the three entries of a header, if it is one and spelt canonically."""
    try:
        header = json.loads(text.decode("ascii"))
        canonical = _spell(header) == text
    except (
        ValueError,
        RecursionError,
    ):  # not ASCII, not JSON, an integer of too many digits, NaN, nested too deeply
        raise WireError("the header is not JSON as this format spells it") from None
    match header:
        case [str(cache), list(parameters), list(counts)] if canonical:
            pass
        case _:
            raise WireError("the header is not [cache, parameters, counts] as this format spells it")
    if not all(value is None or type(value) in (str, int, float) for value in parameters):
        raise WireError(f"the header of {cache!r} holds a parameter that is not a string, a number or null")
    if not all(type(count) is int and 0 <= count <= _LARGEST_COUNT for count in counts):
        raise WireError(f"the header of {cache!r} holds a count that is not an integer from 0 to 2^48")
    return cache, tuple(parameters), tuple(counts)


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
