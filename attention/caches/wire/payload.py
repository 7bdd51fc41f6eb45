"""The byte format of caches.

An `Envelope` of magic ``KVFL``, whose header is one JSON array ``[cache, parameters, counts]``, spelt in the one
canonical way, and whose body are arrays. The header says nothing about the arrays: a cache derives their number,
formats and shapes from its parameters and counts. So a header cannot contradict its arrays, and the length that
a payload must have is known before anything is allocated.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from kvfloor.attention.caches.wire.envelope import Envelope, WireError
from kvfloor.attention.caches.wire.fields import Field

__all__ = ["Header", "Scalar", "read", "read_arrays", "write"]

Scalar = str | int | float | None

_ENVELOPE = Envelope(b"KVFL", version=1, length_bytes=2, longest_header=1024)
_LARGEST_COUNT = 1 << 48


@dataclass(frozen=True, slots=True)
class Header:
    """What a payload says of itself.

    Parameters
    ----------
    cache : str
        The name of the cache.
    parameters : tuple of (str, int, float or None)
        Its parameters in the order of its signature.
    counts : tuple of int
        The sizes of its state, from 0 to 2^48.
    """

    cache: str
    parameters: tuple[Scalar, ...]
    counts: tuple[int, ...]

    def spelt(self) -> bytes:
        """Return the canonical bytes."""
        entries = [self.cache, list(self.parameters), list(self.counts)]
        return json.dumps(entries, separators=(",", ":"), allow_nan=False).encode("ascii")


def write(header: Header, fields: Sequence[Field], arrays: Sequence[NDArray[Any]]) -> bytes:
    """Return the payload of a cache.

    Parameters
    ----------
    header : Header
        Its header.
    fields : sequence of Field
        What its arrays look like.
    arrays : sequence of ndarray
        The arrays, in the order of the fields.

    Returns
    -------
    bytes
        Everything that is sent.
    """
    body = (field.encode(array) for field, array in zip(fields, arrays, strict=True))
    return _ENVELOPE.seal(header.spelt(), body)


def read(payload: bytes) -> tuple[Header, memoryview]:
    """Check the envelope and the header of a payload.

    Parameters
    ----------
    payload : bytes
        What `write` returned, or anything else.

    Returns
    -------
    header : Header
        Its header.
    body : memoryview
        The bytes of its arrays.

    Raises
    ------
    WireError
        If it is not a payload of this version, is damaged, or has a header of another shape.
    """
    header, body = _ENVELOPE.open(payload)
    return _parsed(header), body


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


def _parsed(text: bytes) -> Header:
    """Return a header, if the text is one and spelt canonically."""
    try:
        found = json.loads(text.decode("ascii"))
    # Not ASCII, not JSON, an integer of too many digits, nested too deeply.
    except (ValueError, RecursionError):
        raise WireError("the header is not JSON as this format spells it") from None
    match found:
        case [str(cache), list(parameters), list(counts)]:
            pass
        case _:
            raise WireError("the header is not [cache, parameters, counts] as this format spells it")
    if not all(value is None or type(value) in (str, int, float) for value in parameters):
        raise WireError(f"the header of {cache!r} holds a parameter that is not a string, a number or null")
    if not all(type(count) is int and 0 <= count <= _LARGEST_COUNT for count in counts):
        raise WireError(f"the header of {cache!r} holds a count that is not an integer from 0 to 2^48")
    header = Header(cache, tuple(parameters), tuple(counts))
    try:
        canonical = header.spelt() == text
    except ValueError:  # NaN
        canonical = False
    if not canonical:
        raise WireError(f"the header of {cache!r} is not JSON as this format spells it")
    return header
