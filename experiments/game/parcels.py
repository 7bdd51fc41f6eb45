"""What crosses between the judge and a party: one file without a name, read as bytes that anybody may have written."""

import json
import mmap
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["Parcel", "ParcelError", "nameless"]

MAGIC = b"kvparcel"
HEAD_BYTES = len(MAGIC) + 8
LARGEST_HEADER = 1 << 24
ALIGNMENT = 64
TYPES = frozenset(f"{order}{kind}" for order, kinds in (("<", ("f2", "f4", "f8", "i2", "i4", "i8", "u2", "u4", "u8")),
                                                        ("|", ("b1", "i1", "u1"))) for kind in kinds)  # fmt: skip


class ParcelError(ValueError):
    """The bytes are no parcel; the message says why."""


def nameless() -> IO[bytes]:
    """Return a new file that no folder lists: whoever is killed, it is gone."""
    if hasattr(os, "memfd_create"):
        return open(os.memfd_create("kvfloor"), "w+b")
    return tempfile.TemporaryFile(prefix="kvfloor-")


@dataclass(frozen=True, slots=True, eq=False)
class Parcel:
    """JSON values, arrays and a message.

    Parameters
    ----------
    facts : mapping
        JSON values.
    arrays : mapping of str to ndarray
        Numbers or truth values.
    payload : bytes
        A message.
    """

    facts: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    payload: bytes = b""

    def write(self, file: IO[bytes]) -> None:
        """Write the parcel to an empty file.

        Raises
        ------
        ParcelError
            If an array holds anything but numbers and truth values.
        """
        arrays = [(name, np.asarray(array, order="C")) for name, array in self.arrays.items()]
        kinds = [(array.dtype.newbyteorder("<").str, array.shape) for _, array in arrays]
        for (name, array), (kind, _) in zip(arrays, kinds, strict=True):
            if kind not in TYPES:
                raise ParcelError(f"the array {name!r} holds {array.dtype}, expected numbers")
        told = [[name, *kind] for (name, _), kind in zip(arrays, kinds, strict=True)]
        header = json.dumps([dict(self.facts), told, len(self.payload)]).encode()
        file.write(MAGIC + len(header).to_bytes(8, "little") + header)
        for (_, array), (kind, _) in zip(arrays, kinds, strict=True):
            file.write(bytes(-file.tell() % ALIGNMENT))
            file.write(array.astype(kind, copy=False).data.cast("B") if array.size else b"")
        file.write(self.payload)
        file.flush()

    @classmethod
    def read(cls, file: IO[bytes], at_most: int, *, mapped: bool = False) -> Self:
        """Return the parcel that a file holds.

        Parameters
        ----------
        file : binary file
            The file; where it stands does not matter.
        at_most : int
            Bytes that it may have.
        mapped : bool
            Whether its arrays are mapped, not read: for a file that nobody else can change.

        Raises
        ------
        ParcelError
            If the file is larger, or holds anything but one parcel.
        """
        size = os.fstat(file.fileno()).st_size
        if size > at_most:
            raise ParcelError(f"{size:,} bytes, expected at most {at_most:,}")
        if size < HEAD_BYTES:
            raise ParcelError("nothing" if size == 0 else f"{size} bytes, too few for anything")
        content: Any
        if mapped:
            content = memoryview(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ))
        else:
            content = memoryview(os.pread(file.fileno(), size, 0))
        try:
            return cls._parse(content)
        except ParcelError:
            raise
        except (ValueError, TypeError, RecursionError, OverflowError) as error:
            raise ParcelError(f"bytes that are no parcel ({type(error).__name__})") from error

    @classmethod
    def _parse(cls, content: memoryview) -> Self:
        """Return the parcel that bytes hold; ValueError or TypeError say in whatever words that they do not."""
        length = int.from_bytes(content[len(MAGIC) : HEAD_BYTES], "little")
        if content[: len(MAGIC)] != MAGIC or length > min(LARGEST_HEADER, len(content) - HEAD_BYTES):
            raise ParcelError("bytes that are no parcel")
        facts, kinds, payload_bytes = json.loads(bytes(content[HEAD_BYTES : HEAD_BYTES + length]))
        arrays, place = {}, HEAD_BYTES + length
        for name, kind, shape in kinds:
            if kind not in TYPES or not all(type(n) is int and n >= 0 for n in shape):
                raise ParcelError(f"an array of {kind!r} and shape {shape!r}")
            place += -place % ALIGNMENT
            end = place + np.dtype(kind).itemsize * prod(shape)
            if end > len(content):
                raise ParcelError(f"too few bytes for an array of shape {shape!r}")
            arrays[str(name)] = np.frombuffer(content[place:end], kind).reshape(shape)
            place = end
        if type(facts) is not dict or payload_bytes != len(content) - place:
            raise ParcelError("bytes that are no parcel")
        return cls(facts, arrays, bytes(content[place:]))
