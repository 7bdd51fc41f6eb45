"""Associative recall (MQAR): pairs of a public key and a secret word, written as signs or levels (theory 14).

Multi-query associative recall asks for the value that came with a key, over a vocabulary of q values. With the
keys public and the values independent it is INDEX over the alphabet q, one symbol a pair.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log

import numpy as np

from kvfloor.reductions.accuracy import Guarantee
from kvfloor.reductions.checks import Floats, check_count, check_outputs
from kvfloor.reductions.encodings.protocol import PublicKeys, Tokens, zero_tokens
from kvfloor.reductions.keys.known import Keys
from kvfloor.reductions.problems.index import Index
from kvfloor.reductions.problems.strings import Symbols

_MOST_VALUES = 2**24


@dataclass(frozen=True, slots=True, eq=False)
class RecallEncoding(PublicKeys):
    """INDEX over words: token i has the public key k_i and, in its value entries, words of w digits each.

    A digit of L is one of L equally spaced levels from -1 to 1, read off at the middle between neighbours: for
    L = 2 by its sign. Bob's token is (0, 0), his query C k_i. The weight of all other tokens relative to the one
    asked for is at most kappa = n e^{-C (1 - eps)}, so an exact output is within 2 kappa / (1 + kappa) of the
    value; half the distance of two levels is 1 / (L - 1).

    Parameters
    ----------
    keys : Keys
        n of d dimensions: public coins, independent of the string.
    width : int
        Digits w of a word, at least 1.
    levels : int
        L, at least 2; L^w is at most 2^24.
    words : int
        Words of a token, at least 1: one is MQAR's.
    norm : float, optional
        C; by default the one that the guarantee asks for.

    Raises
    ------
    ValueError
        If a number is out of its range, or two keys coincide and C is not given.

    Examples
    --------
    >>> import numpy as np
    >>> RecallEncoding(Keys(np.eye(4)), width=12).problem
    Index(length=4, alphabet=4096)
    """

    keys: Keys
    width: int = 12
    levels: int = 2
    words: int = 1
    norm: float | None = None

    def __post_init__(self) -> None:
        if self.width < 1 or self.levels < 2 or self.levels**self.width > _MOST_VALUES:
            raise ValueError(
                f"words of {self.width} digits on {self.levels} levels are none of 2 to {_MOST_VALUES} values"
            )
        check_count("words", self.words)
        if self.norm is None and self.guarantee is None:
            raise ValueError("two keys are the same: give the query norm, which no guarantee can name")

    @property
    def problem(self) -> Index:
        """INDEX on all words."""
        return Index(self.tokens * self.words, self.levels**self.width)

    @property
    def value_dim(self) -> int:
        """The digits of a token."""
        return self.width * self.words

    @property
    def query_norm(self) -> float:
        """C."""
        if self.norm is not None:
            return self.norm
        assert self.guarantee is not None
        return self.guarantee.query_norm

    @property
    def guarantee(self) -> Guarantee | None:
        """C > ln(n (2 L - 3)) / (1 - eps), for which 2 kappa / (1 + kappa) < 1 / (L - 1), for exact answers."""
        eps = self.keys.incoherence()
        if eps >= 1:
            return None
        required = log(self.tokens * (2 * self.levels - 3)) / (1 - eps)
        return Guarantee.above(required, eps, 0.0, self.keys.failure_probability)

    def encode(self, x: Symbols) -> Tokens:
        """Return Alice's n tokens for the string x, shape (N,)."""
        places = self.levels ** np.arange(self.width)
        digits = self.problem.check_string(x).astype(np.int64)[:, np.newaxis] // places % self.levels
        values = 2 * digits.reshape(self.tokens, self.value_dim) / (self.levels - 1) - 1
        return Tokens(self.keys.rows, values.astype(self.keys.dtype))

    def reader_token(self) -> Tokens:
        """Return Bob's token: zero key, zero value."""
        return zero_tokens(self.keys, self.value_dim)

    def queries(self, indices: Symbols) -> Floats:
        """Return C k_i for every token that holds a word asked for, by ascending i, shape (m, d)."""
        asked = np.unique(self.problem.check_indices(indices) // self.words)
        return self.keys.rows[asked] * self.keys.dtype.type(self.query_norm)

    def decode(self, outputs: Floats, indices: Symbols) -> Symbols:
        """Return the words read from the outputs of `queries(indices)`, shape (k,)."""
        token, place = np.divmod(self.problem.check_indices(indices), self.words)
        asked, row = np.unique(token, return_inverse=True)
        read = check_outputs(outputs, len(asked), self.value_dim).reshape(len(asked), self.words, self.width)
        levels = np.rint((read[row, place].astype(np.float64) + 1) / 2 * (self.levels - 1))
        digits = np.clip(levels, 0, self.levels - 1).astype(np.int64)
        return (digits @ self.levels ** np.arange(self.width)).astype(self.problem.dtype)
