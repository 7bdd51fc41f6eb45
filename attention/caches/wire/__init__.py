"""What crosses from Alice to Bob: a cache as bytes, and nothing else.

`payload` writes and reads whole states, `envelope` says where one begins and ends, `fields` packs its arrays,
`formats` rounds numbers. Nothing here knows what a cache does with its arrays, and nothing else may turn a
state into bytes.
"""

from kvfloor.attention.caches.wire.envelope import Envelope, WireError
from kvfloor.attention.caches.wire.fields import Codes, Field, Floats, bits_for
from kvfloor.attention.caches.wire.payload import Header, Scalar, read, read_arrays, write

__all__ = [
    "Codes",
    "Envelope",
    "Field",
    "Floats",
    "Header",
    "Scalar",
    "WireError",
    "bits_for",
    "read",
    "read_arrays",
    "write",
]
