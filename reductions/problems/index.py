"""The communication problems that the reductions encode."""

from __future__ import annotations

from dataclasses import dataclass
from math import log2
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

Symbols: TypeAlias = NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True)
class Index:
    """INDEX: Alice holds a string x, Bob holds a position i and must say x_i after one message.

    Parameters
    ----------
    length : int
        Number N of symbols Alice holds, at least 1.
    alphabet : int
        Number q of values a symbol takes, 0 to q - 1; at least 2.

    Raises
    ------
    ValueError
        If `length` is below 1 or `alphabet` is below 2.

    Examples
    --------
    >>> Index(length=8, alphabet=4).capacity_bits
    16.0
    """

    length: int
    alphabet: int = 2

    def __post_init__(self) -> None:
        if self.length < 1:
            raise ValueError(f"length must be at least 1, got {self.length}")
        if self.alphabet < 2:
            raise ValueError(f"alphabet must be at least 2, got {self.alphabet}")

    @property
    def capacity_bits(self) -> float:
        """The entropy N log2 q of a uniform x, in bits."""
        return self.length * log2(self.alphabet)

    @property
    def dtype(self) -> DTypeLike:
        """The smallest unsigned integer type that holds a symbol."""
        return np.min_scalar_type(self.alphabet - 1)

    def sample(self, rng: np.random.Generator) -> Symbols:
        """Draw x uniformly.

        Parameters
        ----------
        rng : numpy.random.Generator
            Source of randomness, unknown to the cache.

        Returns
        -------
        ndarray, shape (N,)
            Independent uniform symbols in 0..q-1, of the smallest unsigned type.
        """
        symbols: Symbols = rng.integers(0, self.alphabet, size=self.length, dtype=self.dtype)
        return symbols

    def answer(self, x: Symbols, indices: Symbols) -> Symbols:
        """Return the right answers x[indices].

        Parameters
        ----------
        x : ndarray, shape (N,)
            Alice's string.
        indices : ndarray of int, shape (k,)
            Bob's positions, each in 0..N-1.

        Returns
        -------
        ndarray, shape (k,)
            The symbols asked for, in the order of `indices`.

        Raises
        ------
        ValueError
            If `x` is not a string of this problem or an index lies outside of it.
        """
        return self.check_string(x)[self.check_indices(indices)]

    def check_string(self, x: Symbols) -> Symbols:
        """Return `x` if it is one of the q^N strings, else raise ValueError.

        Parameters
        ----------
        x : ndarray of int
            Candidate string.

        Returns
        -------
        ndarray, shape (N,)
            The same array.

        Raises
        ------
        ValueError
            If the shape, the type or a symbol is not that of this problem.
        """
        x = np.asarray(x)
        if x.shape != (self.length,) or not np.issubdtype(x.dtype, np.integer):
            raise ValueError(f"x must hold {self.length} integers, got shape {x.shape} of {x.dtype}")
        if x.min() < 0 or x.max() >= self.alphabet:
            raise ValueError(f"symbols must lie in 0..{self.alphabet - 1}, got {x.min()}..{x.max()}")
        return x

    def check_indices(self, indices: Symbols) -> NDArray[np.int64]:
        """Return `indices` as 64-bit integers if all lie in 0..N-1, else raise ValueError.

        Parameters
        ----------
        indices : ndarray of int
            Candidate positions: at least one, in any order, repeats allowed.

        Returns
        -------
        ndarray of int64, shape (k,)
            The positions.

        Raises
        ------
        ValueError
            If there is none, or one is not an integer in 0..N-1.
        """
        indices = np.asarray(indices)
        if indices.ndim != 1 or indices.size == 0 or not np.issubdtype(indices.dtype, np.integer):
            raise ValueError(
                f"indices must be a non-empty integer vector, got shape {indices.shape} of {indices.dtype}"
            )
        if indices.min() < 0 or indices.max() >= self.length:
            raise ValueError(
                f"indices must lie in 0..{self.length - 1}, got {indices.min()}..{indices.max()}"
            )
        return indices.astype(np.int64, copy=False)
