"""EQUALITY in the keys: a word is half of a key, and the query's word scores highest on itself (theory 3).

A key is (a_i, s_i / sqrt w) / sqrt 2 with a public address a_i and the signs s_i of Alice's word. The query for a
place i and a word with signs y scores A + m <s_i, y> = A + m (w - 2 h) on its token, for h differing bits, and
A + m (w - 1) on Bob's own token. Equality therefore lifts the token m above Bob's, and any difference drops it at
least m below; with A (1 - eps) = 2 m + ln n every other token stands at least m + ln n below.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log, sqrt

import numpy as np

from kvfloor.reductions.accuracy import Guarantee
from kvfloor.reductions.checks import Floats, check_eta, check_outputs
from kvfloor.reductions.encodings.protocol import Tokens
from kvfloor.reductions.keys.known import Keys
from kvfloor.reductions.problems.equality import Equality
from kvfloor.reductions.problems.strings import Questions, Symbols

MARGIN_NATS = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class EqualityEncoding:
    """EQUALITY on n words of w bits as n tokens whose keys hold the words; every value of Alice is 1.

    Parameters
    ----------
    addresses : Keys
        n of d1 dimensions, public.
    width : int
        Bits w of a word, in 1..16.
    eta : float
        Relative accuracy to be survived, in [0, 1).

    Raises
    ------
    ValueError
        If a number is out of its range, or two addresses are the same.
    """

    addresses: Keys
    width: int = 4
    eta: float = 0.0

    def __post_init__(self) -> None:
        check_eta(self.eta)
        if self.addresses.incoherence() >= 1:
            raise ValueError("addresses must differ, got two that coincide")

    @property
    def problem(self) -> Equality:
        """EQUALITY on n words of w bits."""
        return Equality(self.tokens * self.width, self.width)

    @property
    def tokens(self) -> int:
        """Number n of tokens Alice writes."""
        return len(self.addresses)

    @property
    def dim(self) -> int:
        """Key dimension d = d1 + w + 1."""
        return self.addresses.dim + self.width + 1

    @property
    def value_dim(self) -> int:
        """One."""
        return 1

    @property
    def nats(self) -> float:
        """m, by which a match stands above Bob's token and a difference below."""
        return log(4 * (1 + self.eta) / (1 - self.eta)) + MARGIN_NATS

    @property
    def query_norm(self) -> float:
        """A, what a query scores on its own address."""
        return (2 * self.nats + log(self.tokens)) / (1 - self.addresses.incoherence())

    @property
    def guarantee(self) -> Guarantee | None:
        """Decoding at A, for the addresses as they are."""
        known = self.addresses
        return Guarantee(self.query_norm, known.incoherence(), self.eta, known.failure_probability)

    @property
    def public_keys(self) -> Floats | None:
        """None: the keys hold the words."""
        return None

    def encode(self, x: Symbols) -> Tokens:
        """Return Alice's n tokens for the string x, shape (N,)."""
        dtype = self.addresses.dtype
        signs = 2.0 * self.problem.check_string(x).reshape(self.tokens, self.width) - 1.0
        keys = np.zeros((self.tokens, self.dim), dtype)
        keys[:, : -self.width - 1] = self.addresses.rows / sqrt(2)
        keys[:, -self.width - 1 : -1] = signs / sqrt(2 * self.width)
        return Tokens(keys, np.ones((self.tokens, 1), dtype))

    def reader_token(self) -> Tokens:
        """Return Bob's token: its score is the same for every query, and its value 0."""
        key = np.zeros((1, self.dim), self.addresses.dtype)
        key[0, -1] = 1
        return Tokens(key, np.zeros((1, 1), self.addresses.dtype))

    def queries(self, questions: Questions) -> Floats:
        """Return a query for each distinct place and word, shape (m, d)."""
        (places, words), _ = self._distinct(questions)
        norm, nats = self.query_norm, self.nats
        made = np.empty((len(places), self.dim), self.addresses.dtype)
        made[:, : -self.width - 1] = sqrt(2) * norm * self.addresses.rows[places]
        made[:, -self.width - 1 : -1] = sqrt(2 * self.width) * nats * (2.0 * words - 1.0)
        made[:, -1] = norm + nats * (self.width - 1)
        return made

    def decode(self, outputs: Floats, questions: Questions) -> Symbols:
        """Return 1 for each question whose word matches, shape (k,)."""
        (places, _), of = self._distinct(questions)
        read = check_outputs(outputs, len(places), 1)[:, 0]
        different, match = 2 * exp(-self.nats), 1 / (1 + exp(-self.nats))
        threshold = ((1 + self.eta) * different + (1 - self.eta) * match) / 2
        return (read > threshold).astype(np.uint8)[of]

    def _distinct(self, questions: Questions) -> tuple[tuple[Symbols, Symbols], Symbols]:
        """Return places and words of the distinct questions, and which of them each question is."""
        self.problem.check_questions(questions)
        asked, of = np.unique(questions, axis=0, return_inverse=True)
        return self.problem.check_questions(asked), of.reshape(-1)
