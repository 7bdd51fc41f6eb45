"""Nearly orthogonal unit keys, drawn: Johnson-Lindenstrauss projections (theory 2)."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from types import MappingProxyType
from typing import Protocol, TypeAlias

import numpy as np

from kvfloor.reductions.checks import Doubles, Floats

FloatType: TypeAlias = type[np.float32] | type[np.float64]

BLOCK_ROWS = 2048
"""How many rows are worked on at a time, so that what is not the keys stays small."""


class Projection(Protocol):
    """Draws the images of the n unit vectors under a random projection to d dimensions, normalised."""

    def __call__(
        self, tokens: int, dim: int, rng: np.random.Generator, dtype: FloatType = np.float64
    ) -> Floats:
        """Draw unit keys.

        Parameters
        ----------
        tokens : int
            Number n of keys, at least 1.
        dim : int
            Their dimension d, at least 1.
        rng : numpy.random.Generator
            Source of randomness.
        dtype : {numpy.float64, numpy.float32}
            Precision of the keys; nothing wider of that size is ever held.

        Returns
        -------
        ndarray, shape (tokens, dim)
            Unit rows.

        Raises
        ------
        ValueError
            If a count is below 1 or the type is another.
        """


def gaussian_keys(tokens: int, dim: int, rng: np.random.Generator, dtype: FloatType = np.float64) -> Floats:
    """Draw independent uniform points of the unit sphere; see `Projection`."""
    _check_request(tokens, dim, dtype)
    return _normalised(rng.standard_normal((tokens, dim), dtype=dtype))


def rademacher_keys(tokens: int, dim: int, rng: np.random.Generator, dtype: FloatType = np.float64) -> Floats:
    """Draw keys with independent entries +-1/sqrt(d); see `Projection`.

    References
    ----------
    D. Achlioptas. Database-friendly random projections: Johnson-Lindenstrauss with binary coins.
    J. Comput. Syst. Sci. 66 (2003).
    """
    _check_request(tokens, dim, dtype)
    coins = np.frombuffer(rng.bytes((tokens * dim + 7) // 8), dtype=np.uint8)
    keys: Floats = np.unpackbits(coins, count=tokens * dim).reshape(tokens, dim).astype(dtype)
    keys *= 2 / sqrt(dim)
    keys -= 1 / sqrt(dim)
    return keys


def sparse_keys(tokens: int, dim: int, rng: np.random.Generator, dtype: FloatType = np.float64) -> Floats:
    """Draw keys whose entries are +-1 with probability 1/6 each and else 0, then normalised; see `Projection`.

    A row that came out as zero is drawn again.

    References
    ----------
    D. Achlioptas. Database-friendly random projections: Johnson-Lindenstrauss with binary coins.
    J. Comput. Syst. Sci. 66 (2003).
    """
    _check_request(tokens, dim, dtype)
    # By the face of a die; the scale sqrt(3) of the projection is normalised away.
    entry_of_face: Floats = np.array([1, -1, 0, 0, 0, 0], dtype=dtype)
    keys = entry_of_face[rng.integers(0, 6, size=(tokens, dim), dtype=np.int8)]
    while (empty := np.flatnonzero(~keys.any(axis=1))).size:
        keys[empty] = entry_of_face[rng.integers(0, 6, size=(empty.size, dim), dtype=np.int8)]
    return _normalised(keys)


def hadamard_keys(tokens: int, dim: int, rng: np.random.Generator, dtype: FloatType = np.float64) -> Floats:
    """Draw keys by a subsampled randomised Hadamard transform; see `Projection`.

    Key l is column l of d distinct random rows of the Hadamard matrix of order 2^p >= max(n, d), times a
    random sign, over sqrt(d). Keys are exactly orthogonal when d = 2^p.

    References
    ----------
    N. Ailon, B. Chazelle. The fast Johnson-Lindenstrauss transform and approximate nearest neighbors.
    SIAM J. Comput. 39 (2009).
    """
    _check_request(tokens, dim, dtype)
    rows = rng.choice(hadamard_order(tokens, dim), size=dim, replace=False).astype(np.uint32)
    entries = rng.choice(np.array([-1, 1], dtype=dtype), size=(tokens, 1)) / dtype(sqrt(dim))
    keys = np.empty((tokens, dim), dtype=dtype)
    for start in range(0, tokens, BLOCK_ROWS):
        block = slice(start, min(start + BLOCK_ROWS, tokens))
        columns = np.arange(block.start, block.stop, dtype=np.uint32)[:, np.newaxis]
        odd = np.bitwise_count(columns & rows) % 2 == 1  # Sylvester: H[r, l] = (-1)^popcount(r & l)
        keys[block] = np.where(odd, -entries[block], entries[block])
    return keys


PROJECTIONS: Mapping[str, Projection] = MappingProxyType(
    {
        "gaussian": gaussian_keys,
        "rademacher": rademacher_keys,
        "sparse": sparse_keys,
        "hadamard": hadamard_keys,
    }
)
"""The random projections by name."""


def check_projection(kind: str) -> str:
    """Return the name if a projection has it, else raise ValueError."""
    if kind not in PROJECTIONS:
        raise ValueError(f"kind must be one of {', '.join(PROJECTIONS)}, got {kind!r}")
    return kind


def hadamard_order(tokens: int, dim: int) -> int:
    """Return the least power of two that is at least both."""
    return 1 << (max(tokens, dim) - 1).bit_length()


def row_norms(keys: Floats) -> Doubles:
    """Return the norms of the rows, shape (n,), summed in float64 whatever the keys are."""
    squares: Doubles = np.einsum("ij,ij->i", keys, keys, dtype=np.float64)
    return np.sqrt(squares)


def _normalised(keys: Floats) -> Floats:
    """Scale the rows to unit norm, in place."""
    keys /= row_norms(keys)[:, np.newaxis].astype(keys.dtype)
    return keys


def _check_request(tokens: int, dim: int, dtype: FloatType) -> None:
    """Raise ValueError unless such keys can be drawn."""
    if tokens < 1 or dim < 1:
        raise ValueError(f"tokens and dim must be at least 1, got {tokens} and {dim}")
    if dtype not in (np.float32, np.float64):
        raise ValueError(f"dtype must be float32 or float64, got {dtype}")
