"""A short instance in a long stream: INDEX on P tokens where n are written (theory 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self, TypeAlias

import numpy as np

from kvfloor.reductions.accuracy import EXACT, Accuracy
from kvfloor.reductions.checks import Floats, check_count
from kvfloor.reductions.encodings.levels import BINARY
from kvfloor.reductions.encodings.protocol import Inside, Tokens
from kvfloor.reductions.encodings.values import ValuesEncoding, values_reading
from kvfloor.reductions.keys.known import Keys
from kvfloor.reductions.problems.strings import Symbols

Rest: TypeAlias = Literal["repeated", "zero"]


@dataclass(frozen=True, slots=True, eq=False)
class StretchedEncoding(Inside):
    """The tokens of an instance, and then the rest of a stream of n tokens, which brings nothing new.

    Either the P tokens come round again and again until the stream is full, or the rest are zero keys with
    zero values. Repetition multiplies the weight of the token asked for along with all others: with
    m = floor(n / P) full rounds the others, Bob's among them, weigh at most

        ((n - m) e^{C eps} + 1) / (m e^C)  <=  floor(n / m) e^{-C (1 - eps)}

    relative to it, and floor(n / m) < 2 P whatever n is: so the query norm that the guarantee asks for stays
    bounded. Zero keys weigh 1 each, and up to n e^{-C (1 - eps)} together: then it grows with ln n.

    `build` chooses how it is read.

    Parameters
    ----------
    inside : ValuesEncoding
        The instance on P tokens, with a guarantee for the whole stream.
    tokens : int
        Length n of the stream, at least P.
    rest : {"repeated", "zero"}
        What follows the P tokens.

    Raises
    ------
    ValueError
        If the stream is shorter than the instance, or `rest` is another word.
    """

    inside: ValuesEncoding
    tokens: int
    rest: Rest = "repeated"

    def __post_init__(self) -> None:
        if self.tokens < self.inside.tokens:
            raise ValueError(
                f"tokens must be at least the instance's {self.inside.tokens}, got {self.tokens}"
            )
        _check_rest(self.rest)

    @classmethod
    def build(
        cls,
        keys: Keys,
        value_dim: int,
        tokens: int,
        accuracy: Accuracy = EXACT,
        query_norm: float | None = None,
        rest: Rest = "repeated",
    ) -> Self:
        """Write bits as values 0 and 1 into a stream of n tokens.

        Parameters
        ----------
        keys : Keys
            P of them; the first n where n < P.
        value_dim, tokens, rest
            Those of the class; at least 1.
        accuracy : Accuracy
            The noise that decoding must survive.
        query_norm : float, optional
            C; by default the one that the guarantee asks for.

        Returns
        -------
        StretchedEncoding
            Alphabet 2, on min(n, P) d_v bits.

        Raises
        ------
        ValueError
            If an argument is not as described, or if two keys coincide and C is to be chosen.
        """
        keys = keys.first(check_count("tokens", tokens))
        rounds = tokens // len(keys) if _check_rest(rest) == "repeated" else 1
        reading = values_reading(keys, tokens // rounds, BINARY, accuracy, query_norm)
        return cls(ValuesEncoding(keys, value_dim, BINARY, reading), tokens, rest)

    @property
    def public_keys(self) -> Floats:
        """The keys of the whole stream, shape (n, d): public coins."""
        return self._stretch(self.inside.public_keys)

    def encode(self, x: Symbols) -> Tokens:
        """Return the instance's tokens and the rest; see `Encoding.encode`."""
        tokens = self.inside.encode(x)
        return Tokens(self._stretch(tokens.keys), self._stretch(tokens.values))

    def reader_token(self) -> Tokens:
        """Return Bob's token: zero key, zero value."""
        return self.inside.reader_token()

    def _stretch(self, rows: Floats) -> Floats:
        """Return n rows: the given ones and then the rest."""
        if self.rest == "zero":
            return np.concatenate([rows, np.zeros((self.tokens - len(rows), rows.shape[1]), rows.dtype)])
        return rows[np.arange(self.tokens) % len(rows)]


def _check_rest(rest: Rest) -> Rest:
    """Return the word if it is known, else raise ValueError."""
    if rest not in ("repeated", "zero"):
        raise ValueError(f"rest must be 'repeated' or 'zero', got {rest!r}")
    return rest
