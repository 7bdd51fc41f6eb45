"""Kissing configurations as keys, in integers: hexagon, FCC, D4, E8 and Leech (theory 2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations, product
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from kvfloor.reductions.keys.known import Keys
from kvfloor.reductions.keys.projections import FloatType

__all__ = ["KISSING", "Kissing", "quadratic_residue_code"]

Integers: TypeAlias = NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Kissing:
    """Unit keys whose largest inner product is 1/2, as integer vectors over the root of their common norm.

    Parameters
    ----------
    dim : int
        d.
    size : int
        Number of keys: the kissing number in d dimensions.
    norm : int
        sum_j form_j u_j^2, the same for every integer vector u.
    vectors : callable
        Builds the integer vectors, shape (size, dim).
    form : tuple of int
        Weights of the d coordinates in inner products.
    """

    dim: int
    size: int
    norm: int
    vectors: Callable[[], Integers]
    form: tuple[int, ...]

    def keys(self, dtype: FloatType = np.float64) -> Keys:
        """Return the unit keys, known to have incoherence 1/2; each entry is rounded once or twice."""
        scale = np.sqrt(np.array(self.form) / self.norm)
        return Keys(self.vectors() * scale.astype(dtype), 0.5)


def quadratic_residue_code(prime: int) -> NDArray[np.uint8]:
    """Return the extended binary quadratic residue code: Hamming's [8,4,4] for 7, Golay's [24,12,8] for 23.

    It is spanned by the shifts of the indicator of the nonzero squares modulo the prime, each with a parity
    bit at its end.

    Parameters
    ----------
    prime : int
        7 or 23.

    Returns
    -------
    ndarray, shape (2^((prime+1)/2), prime + 1)
        All codewords, as zeros and ones.

    Raises
    ------
    ValueError
        For another number.
    """
    if prime not in (7, 23):
        raise ValueError(f"prime must be 7 or 23, got {prime}")
    squares = {i * i % prime for i in range(1, prime)}
    code = np.zeros((1, prime + 1), np.uint8)
    for shift in range(prime):
        row = np.array([(j - shift) % prime in squares for j in range(prime)] + [True], np.uint8)
        if not (code == row).all(axis=1).any():
            code = np.concatenate([code, code ^ row])
    return code


def _signs(length: int) -> Integers:
    """Return all vectors of +-1, shape (2^length, length)."""
    return np.array(list(product((1, -1), repeat=length)), np.int8)


def _on(supports: NDArray[Any], dim: int, entries: Integers) -> Integers:
    """Return vectors with each row of entries on each support, else 0."""
    vectors = np.zeros((len(supports), len(entries), dim), np.int8)
    np.put_along_axis(vectors, np.asarray(supports)[:, np.newaxis], entries[np.newaxis], axis=2)
    return vectors.reshape(-1, dim)


def _pairs(dim: int) -> NDArray[np.intp]:
    """Return all pairs of coordinates."""
    return np.array(list(combinations(range(dim), 2)))


def _supports(code: NDArray[np.uint8], weight: int) -> NDArray[np.intp]:
    """Return the coordinates of the ones of every codeword of a weight, shape (words, weight)."""
    return np.nonzero(code[code.sum(axis=1) == weight])[1].reshape(-1, weight)


def _hexagon() -> Integers:
    """Return (+-2, 0) and (+-1, +-1), of norm 4 in the form x^2 + 3 y^2."""
    return np.concatenate([_on(np.array([[0]]), 2, 2 * _signs(1)), _signs(2)])


def _fcc() -> Integers:
    """Return (+-1, +-1, 0) in every order: the neighbours in the face-centred cubic lattice."""
    return _on(_pairs(3), 3, _signs(2))


def _from_code(code: NDArray[np.uint8]) -> Integers:
    """Return (+-2, 0, ...) and +-1 on the words of weight 4: the shortest vectors that are the code modulo 2."""
    dim = code.shape[1]
    return np.concatenate(
        [_on(np.arange(dim)[:, np.newaxis], dim, 2 * _signs(1)), _on(_supports(code, 4), dim, _signs(4))]
    )


def _d4() -> Integers:
    """Return the 24 shortest vectors of D4, from the repetition code."""
    return _from_code(np.array([[0] * 4, [1] * 4], np.uint8))


def _e8() -> Integers:
    """Return the 240 shortest vectors of E8, from the extended Hamming code."""
    return _from_code(quadratic_residue_code(7))


def _leech() -> Integers:
    """Return the 196560 shortest vectors of the Leech lattice, in three shapes, from the Golay code."""
    code = quadratic_residue_code(23)
    signs = _signs(8)
    twos = _on(_supports(code, 8), 24, 2 * signs[signs.prod(axis=1) == 1])
    fours = _on(_pairs(24), 24, 4 * _signs(2))
    # One -3 and 23 ones, with the signs changed on a codeword.
    threes = (1 - 4 * np.eye(24, dtype=np.int8)) * (1 - 2 * code.astype(np.int8))[:, np.newaxis]
    return np.concatenate([twos, threes.reshape(-1, 24).astype(np.int8), fours])


KISSING: Mapping[str, Kissing] = MappingProxyType(
    {
        "hexagon": Kissing(2, 6, 4, _hexagon, (1, 3)),
        "fcc": Kissing(3, 12, 2, _fcc, (1,) * 3),
        "d4": Kissing(4, 24, 4, _d4, (1,) * 4),
        "e8": Kissing(8, 240, 4, _e8, (1,) * 8),
        "leech": Kissing(24, 196_560, 32, _leech, (1,) * 24),
    }
)
"""The kissing configurations by name.

References
----------
J. H. Conway, N. J. A. Sloane. Sphere Packings, Lattices and Groups. Springer, 3rd edition (1999), chapters 1
and 4.
"""
