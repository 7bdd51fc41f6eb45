"""The envelope of every payload: what it is, how long its header is, and whether all of it arrived.

    magic (4 bytes)  version (1 byte)  header length  header  body  CRC-32 (4 bytes)

Integers are little-endian.
"""

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Envelope", "WireError"]

_CHECKSUM = struct.Struct("<I")


class WireError(ValueError):
    """A payload is not a valid cache; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """A kind of payload.

    Parameters
    ----------
    magic : bytes
        The four bytes that it starts with.
    version : int
        The version of its format, below 256.
    length_bytes : int
        Bytes of the header's length, 2 or 4.
    longest_header : int
        The most bytes that a header has.
    """

    magic: bytes
    version: int
    length_bytes: int
    longest_header: int

    @property
    def _prefix(self) -> struct.Struct:
        """What stands before the header."""
        return struct.Struct("<4sB" + {2: "H", 4: "I"}[self.length_bytes])

    def seal(self, header: bytes, parts: Iterable[bytes]) -> bytes:
        """Return the payload of a header and a body.

        Parameters
        ----------
        header : bytes
            At most `longest_header` bytes.
        parts : iterable of bytes
            What the body consists of.

        Returns
        -------
        bytes
            Everything that is sent.
        """
        assert len(header) <= self.longest_header, f"a header of {len(header)} bytes"
        sealed = [self._prefix.pack(self.magic, self.version, len(header)), header, *parts]
        checksum = 0
        for part in sealed:
            checksum = zlib.crc32(part, checksum)
        return b"".join([*sealed, _CHECKSUM.pack(checksum)])

    def open(self, payload: object) -> tuple[bytes, memoryview]:
        """Return the header and the body of a payload.

        Parameters
        ----------
        payload : bytes
            What `seal` returned, or anything else.

        Returns
        -------
        header : bytes
            The header.
        body : memoryview
            The body; nothing is copied.

        Raises
        ------
        WireError
            If it is no payload of this kind and version, or damaged.
        """
        if not isinstance(payload, bytes):
            raise WireError(f"a payload is bytes, not {type(payload).__name__}")
        if len(payload) < self._prefix.size + _CHECKSUM.size:
            raise WireError(f"a payload of {len(payload)} bytes is too short to be one")
        magic, version, length = self._prefix.unpack_from(payload)
        if magic != self.magic:
            raise WireError(f"a payload starts with {self.magic!r}, not {magic!r}")
        if version != self.version:
            raise WireError(f"this is format version {version}, expected {self.version}")
        data = memoryview(payload)[: -_CHECKSUM.size]
        if _CHECKSUM.unpack_from(payload, len(data))[0] != zlib.crc32(data):
            raise WireError("the checksum is wrong: the payload is damaged or incomplete")
        body = data[self._prefix.size :]
        if length > min(self.longest_header, len(body)):
            raise WireError(f"a header of {length} bytes does not fit")
        return bytes(body[:length]), body[length:]
