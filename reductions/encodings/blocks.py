"""INDEX in the values of a block format: every code and every scale carries its share (theory 16).

A block of B numbers is stored as a code of each, one of q, times a scale that the block shares and, in some
formats, plus an offset that it shares. The scale and the offset are numbers of 11 significant bits, and they
hold symbols, too: the first number of a block is the code of largest magnitude times the scale, so the format
finds the scale again; with an offset the first is the offset and the second the offset plus the whole range.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import floor, log

import numpy as np
from numpy.typing import NDArray

from kvfloor.reductions.checks import Floats, check_norm, check_outputs
from kvfloor.reductions.encodings.protocol import PublicKeys, Tokens
from kvfloor.reductions.keys.known import Keys
from kvfloor.reductions.problems.index import Index
from kvfloor.reductions.problems.strings import Symbols

__all__ = ["BlockEncoding", "BlockFormat"]

SIGNIFICANDS = 1024  # scales and offsets are 1, 1 + 1/1024, ..., below 2: all floats of 16 bits


@dataclass(frozen=True, slots=True, eq=False)
class BlockFormat:
    """What a block of numbers can hold.

    Parameters
    ----------
    codes : ndarray, shape (q,)
        The numbers that codes stand for at scale 1, ascending, q >= 2; with a scale the first has the largest
        magnitude, with an offset they are 0, 1, ..., q - 1.
    block : int
        Numbers B of a block.
    shared : int
        Numbers that a block shares: 0, 1 (a scale) or 2 (a scale and an offset); less than B.

    Raises
    ------
    ValueError
        If an argument is not as described.
    """

    codes: NDArray[np.float64]
    block: int = 1
    shared: int = 0

    def __post_init__(self) -> None:
        if len(self.codes) < 2 or not (np.diff(self.codes) > 0).all():
            raise ValueError(f"codes must be at least 2 ascending numbers, got {len(self.codes)}")
        if self.shared not in (0, 1, 2) or not self.shared < self.block:
            raise ValueError(f"shared must be 0, 1 or 2 and below the block {self.block}, got {self.shared}")
        if self.shared and len(self.codes) > SIGNIFICANDS:
            raise ValueError(f"codes with a scale must be at most {SIGNIFICANDS}, got {len(self.codes)}")
        if self.shared == 1 and -self.codes[0] < self.codes[-1]:
            raise ValueError(f"the first code must have the largest magnitude, got {self.codes[0]}")
        if self.shared == 2 and not np.array_equal(self.codes, np.arange(len(self.codes))):
            raise ValueError("codes with an offset must be 0, 1, ..., q - 1")

    @property
    def digits(self) -> int:
        """Symbols that a scale or an offset holds."""
        return floor(log(SIGNIFICANDS) / log(len(self.codes)) + 1e-9) if self.shared else 0

    @property
    def symbols(self) -> int:
        """Symbols that a block holds."""
        return self.block - self.shared + self.shared * self.digits

    def written(self, symbols: Symbols) -> Floats:
        """Return the numbers of blocks that hold these symbols.

        Parameters
        ----------
        symbols : ndarray of int, shape (m, `symbols`)
            Those of the shared numbers first.

        Returns
        -------
        ndarray of float64, shape (m, B)
            Their numbers.
        """
        free = self.codes[symbols[:, self.shared * self.digits :]]
        if not self.shared:
            return np.asarray(free)
        powers = len(self.codes) ** np.arange(self.digits)
        numbers = symbols[:, : self.shared * self.digits].reshape(len(symbols), self.shared, -1) @ powers
        scale, *offset = 1.0 + numbers.T[:, :, None] / SIGNIFICANDS
        if not offset:
            return np.hstack([self.codes[0] * scale, free * scale])
        return np.hstack([offset[0], offset[0] + self.codes[-1] * scale, offset[0] + free * scale])

    def read(self, blocks: Floats) -> Symbols:
        """Return the symbols whose numbers are nearest.

        Parameters
        ----------
        blocks : ndarray, shape (m, B)
            Numbers, off by less than half a step.

        Returns
        -------
        ndarray of int, shape (m, `symbols`)
            As `written` takes them.
        """
        if not self.shared:
            return self._nearest(blocks)
        offset = blocks[:, :1] if self.shared == 2 else np.zeros((len(blocks), 1))
        scale = (
            (blocks[:, 1:2] - offset) / self.codes[-1] if self.shared == 2 else blocks[:, :1] / self.codes[0]
        )
        largest = len(self.codes) ** self.digits - 1
        numbers = [
            np.clip(np.rint((x - 1.0) * SIGNIFICANDS), 0, largest) for x in (scale, offset)[: self.shared]
        ]
        exact = [1.0 + number / SIGNIFICANDS for number in numbers]
        free = (blocks[:, self.shared :] - (exact[1] if self.shared == 2 else 0.0)) / exact[0]
        powers = len(self.codes) ** np.arange(self.digits)
        digits = [number.astype(np.int64) // powers % len(self.codes) for number in numbers]
        return np.hstack([*digits, self._nearest(free)])

    def _nearest(self, numbers: Floats) -> Symbols:
        """Return the codes nearest to numbers at scale 1."""
        return np.searchsorted((self.codes[1:] + self.codes[:-1]) / 2, numbers)


@dataclass(frozen=True, slots=True, eq=False)
class BlockEncoding(PublicKeys):
    """INDEX in values that a block format stores as they are; the keys are public.

    Parameters
    ----------
    keys : Keys
        n public coins.
    value_dim : int
        Value dimension d_v, a multiple of the format's block.
    format : BlockFormat
        What a block holds.
    query_norm : float
        C, at least 0: the query C k_i reads the value of token i.
    basis : ndarray, shape (d_v, d_v), optional
        An orthogonal matrix that values are multiplied by, against a cache that rotates them back.

    Raises
    ------
    ValueError
        If an argument is not as described.
    """

    keys: Keys
    value_dim: int
    format: BlockFormat
    query_norm: float
    basis: Floats | None = None

    guarantee = None

    def __post_init__(self) -> None:
        if self.value_dim < 1 or self.value_dim % self.format.block:
            raise ValueError(
                f"value_dim must be a multiple of the block {self.format.block}, got {self.value_dim}"
            )
        check_norm("query_norm", self.query_norm)

    @property
    def problem(self) -> Index:
        """INDEX on the symbols of all blocks."""
        return Index(self.tokens * self._row, len(self.format.codes))

    @property
    def _row(self) -> int:
        """Symbols of a token."""
        return self.value_dim // self.format.block * self.format.symbols

    def encode(self, x: Symbols) -> Tokens:
        """Return the keys, and values in float64; see `Encoding.encode`."""
        symbols = self.problem.check_string(x).reshape(-1, self.format.symbols)
        values = self.format.written(symbols).reshape(self.tokens, self.value_dim)
        return Tokens(self.public_keys, values if self.basis is None else values @ self.basis)

    def reader_token(self) -> Tokens:
        """Return Bob's token: key and value are 0."""
        return Tokens(np.zeros((1, self.dim)), np.zeros((1, self.value_dim)))

    def queries(self, indices: Symbols) -> Floats:
        """Return C k_i for every token i that holds a symbol asked for, by ascending i; see `Encoding.queries`."""
        asked = np.unique(self.problem.check_indices(indices) // self._row)
        queries: Floats = self.public_keys[asked] * self.keys.dtype.type(self.query_norm)
        return queries

    def decode(self, outputs: Floats, indices: Symbols) -> Symbols:
        """Return the symbols read from the outputs of `queries(indices)`; not monotone where scales are read."""
        token, place = np.divmod(self.problem.check_indices(indices), self._row)
        asked, row = np.unique(token, return_inverse=True)
        outputs = np.asarray(check_outputs(outputs, len(asked), self.value_dim), np.float64)
        values = outputs if self.basis is None else outputs @ self.basis.T
        read = self.format.read(values.reshape(-1, self.format.block)).reshape(len(asked), self._row)
        symbols: Symbols = read[row, place].astype(self.problem.dtype)
        return symbols
