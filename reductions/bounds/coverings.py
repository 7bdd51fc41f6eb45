"""INDEX with errors, exactly: the best average success of B bits on N bits (theory 10).

A message says one of 2^B words, the reader's answers to all N positions. Averaged over x and the positions, the
success is 1 - (mean distance of a string to the nearest word)/N, so that the best protocol is the best covering
code; public coins do not help an average.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement
from math import comb
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from kvfloor.reductions.checks import check_count

Words: TypeAlias = NDArray[np.int64]

_MOST_ENTRIES = 1 << 26
_AT_A_TIME = 1 << 22


@dataclass(frozen=True, slots=True)
class Success:
    """The best average success of B bits on N bits, from both sides.

    Parameters
    ----------
    length, bits : int
        N and B.
    lower_errors, upper_errors : int
        Wrong bits over all 2^N strings: no code has fewer than the one; one has as many as the other.
    words : tuple of int
        That code: 2^B words as binary numbers.
    """

    length: int
    bits: int
    lower_errors: int
    upper_errors: int
    words: tuple[int, ...]

    @property
    def closed(self) -> bool:
        """Whether both sides agree, so that the optimum is known."""
        return self.lower_errors == self.upper_errors

    @property
    def success(self) -> float:
        """The average success of the code, in [1/2, 1]."""
        return 1 - self.upper_errors / (self.length << self.length)

    @property
    def bound(self) -> float:
        """No protocol has a larger average success."""
        return 1 - self.lower_errors / (self.length << self.length)


def sphere_packing_success(length: int, bits: int) -> float:
    """Return a bound on the average success of B bits on N bits, in [1/2, 1]: balls that fill the cube without overlap.

    A word that is nearest to s strings has at least the s smallest distances to them, a convex function of s;
    so the errors are fewest if each of the 2^B words serves its 2^(N-B) nearest strings. Perfect codes do.

    Examples
    --------
    >>> sphere_packing_success(7, 4)  # Hamming
    0.875
    """
    return 1 - _sphere_packing_errors(length, bits) / (length << length)


def covering_errors(words: Words | tuple[int, ...], length: int) -> int:
    """Return the wrong bits over all 2^N strings if each is told as its nearest word: a sum of distances.

    Parameters
    ----------
    words : sequence of int
        At least one word, each a binary number of N digits.
    length : int
        N, at least 1.
    """
    code = np.asarray(words, dtype=np.int64)
    if length < 1 or code.ndim != 1 or code.size == 0 or code.min() < 0 or code.max() >> length:
        raise ValueError(f"words must be at least one number of {length} binary digits")
    return int(_errors(code[None], length)[0])


def best_success(length: int, bits: int) -> Success:
    """Bracket the best average success of B bits on N bits, and find a code.

    The lower bound on errors is that of sphere packing, or the truth where all codes can be tried: a code is a
    matrix of 2^B words, and permuting its columns or flipping one does not change its errors. So only
    multisets of N columns that end in 0 are tried, which is few for B <= 2. The code is the best linear
    one where not all can be tried.

    Parameters
    ----------
    length : int
        N in 1..12.
    bits : int
        B in 0..N.

    Returns
    -------
    Success
        Closed for every N <= 7.

    Raises
    ------
    ValueError
        If a number is out of its range or N is too large to search.
    """
    if length > 12:
        raise ValueError(f"length must be at most 12 to be searched, got {length}")
    bound = _sphere_packing_errors(length, bits)
    words, errors = _best_linear(length, bits)
    if errors > bound and bits <= 2:
        words, errors = _best_of_all(length, bits)
        bound = errors
    return Success(length, bits, bound, errors, tuple(words.tolist()))


def _sphere_packing_errors(length: int, bits: int) -> int:
    """Return 2^B times the sum of the 2^(N-B) smallest distances to a point of the cube."""
    check_count("length", length)
    if not 0 <= bits <= length:
        raise ValueError(f"bits must be in 0..{length}, got {bits}")
    left, errors = 1 << (length - bits), 0
    for distance in range(length + 1):
        served = min(left, comb(length, distance))
        errors += served * distance
        left -= served
    return errors << bits


def _best_of_all(length: int, bits: int) -> tuple[Words, int]:
    """Return the best of all codes, by the multisets of their columns."""
    words = 1 << bits
    columns = np.array(list(combinations_with_replacement(range(1 << (words - 1)), length)), dtype=np.int64)
    digits = columns[:, None, :] >> np.arange(words)[:, None] & 1  # the last word is 0
    codes: Words = (digits << np.arange(length)).sum(axis=2)
    return _best(codes, length)


def _best_linear(length: int, bits: int) -> tuple[Words, int]:
    """Return the best linear code, by the weights of the cosets of its check matrix [A, identity]."""
    redundancy = length - bits
    syndromes = np.arange(1 << redundancy)
    count = comb(len(syndromes) + bits - 1, bits)
    if count * len(syndromes) > _MOST_ENTRIES:
        raise ValueError(f"there are too many codes of {bits} bits and length {length} to search: {count}")
    choices = combinations_with_replacement(range(len(syndromes)), bits)
    columns = np.array(list(choices), dtype=np.int64).reshape(count, bits)
    leaders = np.repeat(np.bitwise_count(syndromes)[None].astype(np.int64), len(columns), axis=0)
    for place in range(bits):
        shifted = syndromes ^ columns[:, place, None]
        leaders = np.minimum(leaders, 1 + np.take_along_axis(leaders, shifted, axis=1))
    errors = leaders.sum(axis=1) << bits
    best = int(errors.argmin())
    return _linear_code(columns[best], redundancy), int(errors[best])


def _linear_code(columns: Words, redundancy: int) -> Words:
    """Return the words [message, syndrome of the message]."""
    messages = np.arange(1 << len(columns))
    checks = np.zeros_like(messages)
    for place, column in enumerate(columns):
        checks ^= (messages >> place & 1) * column
    return messages << redundancy | checks


def _best(codes: Words, length: int) -> tuple[Words, int]:
    """Return the code with the fewest errors, and their number."""
    step = max(1, _AT_A_TIME // (codes.shape[1] << length))
    errors = np.concatenate([_errors(codes[i : i + step], length) for i in range(0, len(codes), step)])
    best = int(errors.argmin())
    return codes[best], int(errors[best])


def _errors(codes: Words, length: int) -> Words:
    """Return the errors of each code, shape (codes,), for codes of shape (codes, words)."""
    distances = np.bitwise_count(codes[:, :, None] ^ np.arange(1 << length))
    errors: Words = distances.min(axis=1).sum(axis=1, dtype=np.int64)
    return errors
