"""The checks on arguments that every module of this package shares.

`name` is always what the argument is called in the error message; whatever is not as described is a ValueError that
says what was given and what is allowed.
"""

from collections.abc import Collection
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["LARGEST", "Matrix", "integer", "matrix", "one_of", "positive", "token_block"]

Matrix: TypeAlias = NDArray[np.floating[Any]]

LARGEST = 1e100
"""Largest magnitude of an entry: the inner product of two rows of such entries stays finite in float64."""


def matrix(name: str, array: object, columns: int | None = None) -> Matrix:
    """Return an argument as a finite, non-empty, C-contiguous float matrix.

    Parameters
    ----------
    array : array_like, shape (rows, columns)
        Real numbers of magnitude at most ``LARGEST``; rows >= 1.
    columns : int, optional
        The number of columns that is expected; any positive number if not given.

    Returns
    -------
    ndarray, shape (rows, columns)
        float32 for float16 and float32 input, else float64; the input itself where it already is one.
    """
    given = np.asarray(array)
    expected = f"(rows, {'columns' if columns is None else columns})"
    if given.ndim != 2 or 0 in given.shape or columns not in (None, given.shape[1]):
        raise ValueError(
            f"{name} have shape {given.shape}, expected {expected} with at least one row and column"
        )
    if given.dtype.kind not in "fiub":
        raise ValueError(f"{name} hold {given.dtype} entries, expected real numbers")
    narrow = given.dtype.kind == "f" and given.dtype.itemsize <= 4
    floats: Matrix = np.ascontiguousarray(given, dtype=np.float32 if narrow else np.float64)
    with np.errstate(invalid="ignore"):
        lowest, highest = float(floats.min()), float(floats.max())
    if not (lowest >= -LARGEST and highest <= LARGEST):  # also catches NaN, which compares false
        raise ValueError(
            f"{name} hold entries in [{lowest:g}, {highest:g}], expected finite ones within +-{LARGEST:g}"
        )
    return floats


def token_block(
    keys: object, values: object, dim: int | None, value_dim: int | None
) -> tuple[Matrix, Matrix]:
    """Return keys and values as two checked matrices with the same number of rows.

    Parameters
    ----------
    keys : array_like, shape (b, dim)
        Keys of b >= 1 tokens.
    values : array_like, shape (b, value_dim)
        Their values.
    dim, value_dim : int or None
        The expected numbers of columns; None accepts any.

    Returns
    -------
    keys, values : ndarray
        As `matrix` returns them.
    """
    checked_keys, checked_values = matrix("keys", keys, dim), matrix("values", values, value_dim)
    if len(checked_keys) != len(checked_values):
        raise ValueError(
            f"keys {checked_keys.shape} and values {checked_values.shape} must have the same number of rows"
        )
    return checked_keys, checked_values


def integer(name: str, value: object, low: int, high: int) -> int:
    """Return a whole number between two inclusive limits.

    Parameters
    ----------
    value : object
        A Python or NumPy integer; booleans are not numbers here.
    low, high : int
        The least and the largest number allowed.

    Returns
    -------
    int
        The number.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not low <= int(value) <= high:
        shown = "a huge number" if isinstance(value, int) and abs(value) >> 64 else repr(value)
        raise ValueError(f"{name} is {shown}, expected an integer from {low} to {high}")
    return int(value)


def positive(name: str, value: object, high: float = LARGEST) -> float:
    """Return a positive real number.

    Parameters
    ----------
    value : object
        A Python or NumPy real number.
    high : float
        The largest number allowed.

    Returns
    -------
    float
        The number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise ValueError(f"{name} is {value!r}, expected a positive number")
    if not 0 < value <= high:
        raise ValueError(f"{name} is {value!r}, expected a positive number up to {high:g}")
    return float(value)


def one_of(name: str, value: object, allowed: Collection[str]) -> str:
    """Return a word out of a list of allowed words.

    Parameters
    ----------
    value : object
        The word.
    allowed : collection of str
        The words it may be.

    Returns
    -------
    str
        The word.
    """
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{name} is {value!r}, expected one of {', '.join(allowed)}")
    return value
