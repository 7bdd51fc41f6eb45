"""A short instance in a long stream: INDEX on P tokens where n are written (theory 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self, TypeAlias

import numpy as np

from kvfloor.reductions.encodings.protocol import Floats, Guarantee, Tokens
from kvfloor.reductions.encodings.values import BINARY_LEVELS, ValuesEncoding, known_incoherence
from kvfloor.reductions.keys.projections import check_unit_rows
from kvfloor.reductions.problems.index import Index
from kvfloor.reductions.problems.strings import Symbols

Rest: TypeAlias = Literal["repeated", "zero"]


@dataclass(frozen=True, slots=True, eq=False)
class StretchedEncoding:
    """The tokens of an instance, and then the rest of a stream of n tokens, which brings nothing new.

    Either the P tokens come round again and again until the stream is full, or the rest are zero keys with
    zero values. Repetition multiplies the weight of the token asked for along with all others: with
    m = floor(n / P) full rounds the others, Bob's among them, weigh at most

        ((n - m) e^{C eps} + 1) / (m e^C)  <=  floor(n / m) e^{-C (1 - eps)}

    relative to it, and floor(n / m) < 2 P whatever n is: so the query norm that the guarantee asks for stays
    bounded. Zero keys weigh 1 each, and up to n e^{-C (1 - eps)} together: then it grows with ln n.

    Build one by `binary`.

    Parameters
    ----------
    once : ValuesEncoding
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

    once: ValuesEncoding
    tokens: int
    rest: Rest = "repeated"

    def __post_init__(self) -> None:
        if self.tokens < self.once.tokens:
            raise ValueError(f"tokens must be at least the instance's {self.once.tokens}, got {self.tokens}")
        _check_rest(self.rest)

    @classmethod
    def binary(
        cls,
        keys: Floats,
        value_dim: int,
        tokens: int,
        *,
        eta: float = 0.0,
        incoherence: float | None = None,
        query_norm: float | None = None,
        rest: Rest = "repeated",
    ) -> Self:
        """Write bits as values 0 and 1 into a stream of n tokens.

        Parameters
        ----------
        keys : ndarray, shape (P, d)
            Unit keys, float32 or float64; the first n of them where n < P.
        value_dim : int
            Value dimension d_v, at least 1.
        tokens : int
            Length n of the stream, at least 1.
        eta : float
            Relative accuracy in [0, 1) of the attention that must be decoded.
        incoherence : float, optional
            A bound in [0, 1) on the inner products of the keys; measured if not given.
        query_norm : float, optional
            C; by default the one that the guarantee asks for.
        rest : {"repeated", "zero"}
            What follows the P tokens.

        Returns
        -------
        StretchedEncoding
            Alphabet 2, on min(n, P) d_v bits.

        Raises
        ------
        ValueError
            If an argument is not as described, or if two keys coincide and C is to be chosen.
        """
        if tokens < 1:
            raise ValueError(f"tokens must be at least 1, got {tokens}")
        _check_rest(rest)
        keys = check_unit_rows(keys)[:tokens]
        rounds = tokens // len(keys) if rest == "repeated" else 1
        once = ValuesEncoding.from_levels(
            keys,
            value_dim,
            BINARY_LEVELS,
            eta=eta,
            incoherence=known_incoherence(keys, incoherence),
            query_norm=query_norm,
            rivals=tokens // rounds,
        )
        return cls(once, tokens, rest)

    @property
    def problem(self) -> Index:
        """INDEX on P d_v symbols."""
        return self.once.problem

    @property
    def dim(self) -> int:
        """Key dimension d."""
        return self.once.dim

    @property
    def value_dim(self) -> int:
        """Value dimension d_v."""
        return self.once.value_dim

    @property
    def query_norm(self) -> float:
        """C."""
        return self.once.query_norm

    @property
    def guarantee(self) -> Guarantee | None:
        """When decoding from the whole stream is proved."""
        return self.once.guarantee

    @property
    def public_keys(self) -> Floats:
        """The keys of the whole stream, shape (n, d): public coins."""
        return self._stretch(self.once.keys)

    def encode(self, x: Symbols) -> Tokens:
        """Return Alice's n tokens.

        Parameters
        ----------
        x : ndarray of int, shape (P d_v,)
            Symbols in 0..q-1.

        Returns
        -------
        Tokens
            The instance's tokens and the rest.

        Raises
        ------
        ValueError
            If `x` is not a string of the problem.
        """
        tokens = self.once.encode(x)
        return Tokens(self._stretch(tokens.keys), self._stretch(tokens.values))

    def reader_token(self) -> Tokens:
        """Return Bob's token: zero key, zero value.

        Returns
        -------
        Tokens
            One token.
        """
        return self.once.reader_token()

    def queries(self, indices: Symbols) -> Floats:
        """Return C k_i for every token i of the instance that holds a symbol asked for, by ascending i.

        Parameters
        ----------
        indices : ndarray of int, shape (k,)
            Positions in 0..P d_v - 1.

        Returns
        -------
        ndarray, shape (m, d)
            One query per token.

        Raises
        ------
        ValueError
            If `indices` is empty or leaves the range.
        """
        return self.once.queries(indices)

    def decode(self, outputs: Floats, indices: Symbols) -> Symbols:
        """Return the symbols read from the outputs of `queries(indices)`.

        Parameters
        ----------
        outputs : ndarray, shape (m, d_v)
            One row per query.
        indices : ndarray of int, shape (k,)
            The positions asked for.

        Returns
        -------
        ndarray of int, shape (k,)
            Symbols in 0..q-1.

        Raises
        ------
        ValueError
            If a shape or an index does not fit.
        """
        return self.once.decode(outputs, indices)

    def _stretch(self, rows: Floats) -> Floats:
        """Return n rows: the given ones and then the rest."""
        if self.rest == "zero":
            return np.concatenate([rows, np.zeros((self.tokens - len(rows), rows.shape[1]), rows.dtype)])
        return rows[np.arange(self.tokens) % len(rows)]


def _check_rest(rest: str) -> None:
    """Raise ValueError unless the word is known."""
    if rest not in ("repeated", "zero"):
        raise ValueError(f"rest must be 'repeated' or 'zero', got {rest!r}")
