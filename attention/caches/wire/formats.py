"""Number formats in which floats are stored: rounding to them, and their bytes.

A cache holds numbers already rounded to its format, but in a type that NumPy computes with; only their
bytes on the wire are narrow.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.checks import Matrix

__all__ = ["FORMATS", "compute_dtype", "decode", "encode", "item_bytes", "round_to", "round_tokens"]

_WIRE_DTYPES = {"float64": "<f8", "float32": "<f4", "float16": "<f2", "bfloat16": "<u2"}

FORMATS = tuple(_WIRE_DTYPES)
"""The names of the formats; bfloat16 is the upper half of a float32."""


def compute_dtype(name: str) -> np.dtype[Any]:
    """Return the NumPy type that numbers of a format are computed with: float64 for float64, else float32."""
    return np.dtype(np.float64 if name == "float64" else np.float32)


def item_bytes(name: str) -> int:
    """Return how many bytes a number of a format takes: 8, 4 or 2."""
    return np.dtype(_WIRE_DTYPES[name]).itemsize


def round_to(name: str, numbers: Matrix, what: str) -> Matrix:
    """Round numbers to the nearest ones of a format, ties to even.

    Parameters
    ----------
    name : str
        One of ``FORMATS``.
    numbers : ndarray of float32 or float64
        Finite numbers.
    what : str
        What they are called, for the error message.

    Returns
    -------
    ndarray
        The rounded numbers, of type ``compute_dtype(name)``.

    Raises
    ------
    ValueError
        If a number is beyond the range of the format.
    """
    with np.errstate(over="ignore", under="ignore"):
        if name == "bfloat16":
            rounded = _bfloat16_to_float32(_nearest_bfloat16(numbers))
        else:
            rounded = numbers.astype(_WIRE_DTYPES[name]).astype(compute_dtype(name))
    beyond = np.isinf(rounded)
    if beyond.any():
        raise ValueError(f"{what} hold {float(numbers[beyond].flat[0]):g}, beyond the range of {name}")
    return rounded


def round_tokens(name: str, keys: Matrix, values: Matrix) -> tuple[Matrix, Matrix]:
    """Round keys and values, as `round_to` does it."""
    return round_to(name, keys, "keys"), round_to(name, values, "values")


def encode(name: str, numbers: Matrix) -> bytes:
    """Return the little-endian bytes of numbers that are already rounded to a format.

    Parameters
    ----------
    name : str
        One of ``FORMATS``.
    numbers : ndarray
        Numbers as `round_to` returns them.

    Returns
    -------
    bytes
        ``item_bytes(name)`` bytes a number, in C order.
    """
    if name == "bfloat16":
        return (np.ascontiguousarray(numbers).view(np.uint32) >> 16).astype("<u2").tobytes()
    return numbers.astype(_WIRE_DTYPES[name]).tobytes()


def decode(name: str, data: bytes | memoryview) -> Matrix:
    """Return the numbers that `encode` wrote, as a flat array.

    Parameters
    ----------
    name : str
        One of ``FORMATS``.
    data : bytes or memoryview
        A whole number of items.

    Returns
    -------
    ndarray
        A new array of type ``compute_dtype(name)``; NaN and infinities come through.
    """
    stored = np.frombuffer(data, dtype=_WIRE_DTYPES[name])
    if name == "bfloat16":
        return _bfloat16_to_float32(stored)
    numbers: Matrix = stored.astype(compute_dtype(name))
    return numbers


def _nearest_bfloat16(numbers: Matrix) -> NDArray[np.uint16]:
    """Return the upper halves of the float32 encodings, rounded to nearest, ties to even."""
    bits = numbers.astype(np.float32).view(np.uint32)
    if numbers.dtype != np.float32:
        # Rounding twice can go wrong at ties. Rounding to odd first cannot: an inexact float32 is moved
        # towards zero and its last bit set, so that it is never mistaken for a tie.
        single = bits.view(np.float32)
        bits = bits - (np.abs(single) > np.abs(numbers)).astype(np.uint32)
        bits |= (single != numbers).astype(np.uint32)
    upper: NDArray[np.uint16] = ((bits + np.uint32(0x7FFF) + ((bits >> 16) & np.uint32(1))) >> 16).astype(
        np.uint16
    )
    return upper


def _bfloat16_to_float32(upper: NDArray[Any]) -> Matrix:
    """Return the float32 numbers with these upper halves."""
    return (upper.astype(np.uint32) << 16).view(np.float32)
