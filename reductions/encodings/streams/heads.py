"""INDEX in several heads at once: one stream, a part of every key and value a head (theory 8)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kvfloor.reductions.accuracy import Guarantee
from kvfloor.reductions.checks import Floats, check_outputs
from kvfloor.reductions.encodings.protocol import Encoding, Stream, Tokens
from kvfloor.reductions.problems.index import Index
from kvfloor.reductions.problems.strings import Symbols


@dataclass(frozen=True, slots=True, eq=False)
class MultiHeadEncoding:
    """Instances of ordinary attention side by side: head h has its own columns of keys and values.

    The string is that of the heads one after the other. A query asks one head; it is zero in the columns of
    the others, whose outputs are not read.

    Parameters
    ----------
    heads : tuple of Encoding
        Instances of two arrays, with the same tokens, dimensions and alphabet.

    Raises
    ------
    ValueError
        If there is no head, or their sizes differ.
    """

    heads: tuple[Encoding, ...]

    def __post_init__(self) -> None:
        sizes = {(h.tokens, h.dim, h.value_dim, h.problem.alphabet) for h in self.heads}
        if len(sizes) != 1:
            raise ValueError(f"heads must have the same tokens, dimensions and alphabet, got {sorted(sizes)}")

    @property
    def problem(self) -> Index:
        """INDEX on the symbols of all heads."""
        return Index(sum(h.problem.length for h in self.heads), self.heads[0].problem.alphabet)

    @property
    def tokens(self) -> int:
        """Number n of tokens Alice writes."""
        return self.heads[0].tokens

    @property
    def dim(self) -> int:
        """Key dimension of all heads together."""
        return len(self.heads) * self.heads[0].dim

    @property
    def value_dim(self) -> int:
        """Value dimension of all heads together."""
        return len(self.heads) * self.heads[0].value_dim

    @property
    def query_norm(self) -> float:
        """The largest query norm of a head."""
        return max(h.query_norm for h in self.heads)

    @property
    def guarantee(self) -> Guarantee | None:
        """None: each head has its own."""
        return None

    @property
    def public_keys(self) -> Floats | None:
        """The keys of all heads side by side, where all are public."""
        keys = [h.public_keys for h in self.heads]
        return None if any(each is None for each in keys) else np.hstack([k for k in keys if k is not None])

    def encode(self, x: Symbols) -> Tokens:
        """Return keys and values of all heads side by side; see `Encoding.encode`."""
        parts = np.split(self.problem.check_string(x), self._starts()[1:])
        return _beside([head.encode(part) for head, part in zip(self.heads, parts, strict=True)])

    def reader_token(self) -> Tokens:
        """Return Bob's token: those of all heads."""
        return _beside([head.reader_token() for head in self.heads])

    def queries(self, indices: Symbols) -> Floats:
        """Return the queries of every head that is asked, by head; see `Encoding.queries`."""
        blocks = []
        for number, _, within in self._asked(indices):
            part = self.heads[number].queries(within)
            block = np.zeros((len(part), self.dim), part.dtype)
            block[:, number * part.shape[1] : (number + 1) * part.shape[1]] = part
            blocks.append(block)
        return np.concatenate(blocks)

    def decode(self, outputs: Floats, indices: Symbols) -> Symbols:
        """Return the symbols that each head reads from its columns; see `Encoding.decode`."""
        decoded = np.empty(len(indices), self.problem.dtype)
        asked = self._asked(indices)
        counts = [len(self.heads[number].queries(within)) for number, _, within in asked]
        outputs = check_outputs(outputs, sum(counts), self.value_dim)
        width = self.heads[0].value_dim
        for (number, places, within), rows in zip(
            asked, np.split(outputs, np.cumsum(counts)[:-1]), strict=True
        ):
            own = rows[:, number * width : (number + 1) * width]
            decoded[places] = self.heads[number].decode(own, within)
        return decoded

    def _starts(self) -> Symbols:
        """Return where each head's string starts."""
        return np.cumsum([0] + [head.problem.length for head in self.heads[:-1]])

    def _asked(self, indices: Symbols) -> list[tuple[int, Symbols, Symbols]]:
        """Return for every head that is asked its number, the places in `indices`, and the positions in its string."""
        positions, starts = self.problem.check_indices(indices), self._starts()
        number = np.searchsorted(starts, positions, side="right") - 1
        return [
            (int(head), np.flatnonzero(number == head), positions[number == head] - starts[head])
            for head in np.unique(number)
        ]


def _beside(streams: list[Stream]) -> Tokens:
    """Return one stream whose keys and values are those of all, side by side."""
    keys, values = (np.hstack(arrays) for arrays in zip(*(s.arrays for s in streams), strict=True))
    return Tokens(keys, values)
