"""What every communication problem is: Alice's string, Bob's question, the answer, and the way back to the string.

Theorem A counts strings. A problem whose answers give Alice's string back therefore proves as many bits as
INDEX does: the questions that do so are its *reconstruction* (theory 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log2
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from kvfloor.reductions.checks import check_count

Symbols: TypeAlias = NDArray[np.integer[Any]]
Questions: TypeAlias = NDArray[Any]


class Problem(Protocol):
    """A one-way communication problem with a uniform string of N symbols over an alphabet of q.

    Bob's questions are arrays, one question along the first axis: positions, sets or words, as the problem has it.
    """

    @property
    def length(self) -> int:
        """Number N of symbols Alice holds."""

    @property
    def alphabet(self) -> int:
        """Number q of values a symbol takes."""

    @property
    def capacity_bits(self) -> float:
        """The entropy N log2 q of a uniform string, in bits."""

    @property
    def dtype(self) -> DTypeLike:
        """The smallest unsigned integer type that holds a symbol."""

    def sample(self, rng: np.random.Generator) -> Symbols:
        """Draw Alice's string uniformly, shape (N,)."""

    def answer(self, x: Symbols, questions: Questions) -> Symbols:
        """Return the right answers, shape (k,), to k questions about the string `x`."""

    def reconstruction(self, indices: Symbols) -> Questions:
        """Return the questions whose answers give the symbols at these positions back.

        Parameters
        ----------
        indices : ndarray of int, shape (k,)
            Positions in 0..N-1.

        Returns
        -------
        ndarray
            Questions, the same for every x.
        """

    def reconstruct(self, answers: Symbols, indices: Symbols) -> Symbols:
        """Return the symbols that the answers to ``reconstruction(indices)`` say.

        Parameters
        ----------
        answers : ndarray of int
            One answer for each question, not all of them right.
        indices : ndarray of int, shape (k,)
            The positions.

        Returns
        -------
        ndarray of int, shape (k,)
            Symbols; those of x where all answers are right.
        """


@dataclass(frozen=True, slots=True)
class Strings:
    """Alice's half of a problem: a uniform string of N symbols over an alphabet of q.

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
    >>> Strings(length=8, alphabet=4).capacity_bits
    16.0
    """

    length: int
    alphabet: int = 2

    def __post_init__(self) -> None:
        check_count("length", self.length)
        check_count("alphabet", self.alphabet, 2)

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
