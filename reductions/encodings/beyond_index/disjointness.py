"""DISJOINTNESS in the values: Bob's set is a query that attends to all of its tokens at once (theory 3).

Token i holds x_i in {0, 1} as its value under the key k_i; a set S is asked by C times the sum of its keys. With
|<k_i, k_l>| <= eps the scores of its tokens lie within C (1 +- (s - 1) eps), all others at most at C s eps, for
s = |S|. If the sets meet, the output is at least e^{-2 C (s - 1) eps} / (2 s); if they are disjoint, it is at most
n e^{-C (1 - (2 s - 1) eps)}. The ratio of the two grows with C as long as (4 s - 3) eps < 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, log

import numpy as np

from kvfloor.reductions.accuracy import Guarantee
from kvfloor.reductions.checks import Floats, check_eta, check_outputs
from kvfloor.reductions.encodings.protocol import PublicKeys, Tokens, zero_tokens
from kvfloor.reductions.keys.known import Keys
from kvfloor.reductions.problems.disjointness import Disjointness
from kvfloor.reductions.problems.strings import Questions, Symbols

MARGIN_NATS = 1.0  # beyond the least C that separates, so that rounding does not matter


@dataclass(frozen=True, slots=True, eq=False)
class DisjointnessEncoding(PublicKeys):
    """DISJOINTNESS on n elements as n tokens with values of one entry.

    Parameters
    ----------
    keys : Keys
        n of them, public; what counts is the largest |<k_i, k_l>|, which is measured.
    largest : int
        Most elements s of Bob's set, in 1..n.
    eta : float
        Relative accuracy to be survived, in [0, 1).

    Raises
    ------
    ValueError
        If a number is out of its range, or (4 s - 3) eps >= 1 for the keys' coherence eps.
    """

    keys: Keys
    largest: int = 1
    eta: float = 0.0

    def __post_init__(self) -> None:
        check_eta(self.eta)
        if not self.query_norm < inf:
            raise ValueError(
                f"sets of {self.largest} elements need keys with |<k_i, k_l>| below "
                f"{1 / (4 * self.largest - 3):.3g}, got {self.coherence:.3g}"
            )

    @property
    def problem(self) -> Disjointness:
        """DISJOINTNESS on the n elements."""
        return Disjointness(self.tokens, largest=self.largest)

    @property
    def value_dim(self) -> int:
        """One."""
        return 1

    @property
    def coherence(self) -> float:
        """The largest |<k_i, k_l>| of two different keys."""
        products = np.abs(self.keys.rows @ self.keys.rows.T)
        np.fill_diagonal(products, 0)
        return float(products.max())

    @property
    def query_norm(self) -> float:
        """C, the weight of each key of the set in the query."""
        return _weight(self.tokens, self.coherence, self.largest, self.eta)

    @property
    def guarantee(self) -> Guarantee | None:
        """Decoding at C, for the keys as they are."""
        return Guarantee(self.query_norm, self.coherence, self.eta)

    def encode(self, x: Symbols) -> Tokens:
        """Return Alice's n tokens for the string x, shape (N,)."""
        values = self.problem.check_string(x).astype(self.keys.dtype)
        return Tokens(self.keys.rows, values[:, np.newaxis])

    def reader_token(self) -> Tokens:
        """Return no token: Bob brings none."""
        return zero_tokens(self.keys, 1, 0)

    def queries(self, questions: Questions) -> Floats:
        """Return C times the sum of each distinct set's keys, shape (m, d)."""
        sets, _ = self._distinct(questions)
        rows, dtype = self.keys.rows, self.keys.dtype
        scaled: Floats = (sets.astype(dtype) @ rows) * dtype.type(self.query_norm)
        return scaled

    def decode(self, outputs: Floats, questions: Questions) -> Symbols:
        """Return 1 for each set whose output is too small for a common element, else 0; shape (k,)."""
        sets, of = self._distinct(questions)
        read = check_outputs(outputs, len(sets), 1)[:, 0]
        sizes = sets.sum(axis=1)
        least = np.exp(-2 * self.query_norm * (sizes - 1) * self.coherence) / (2 * sizes)
        disjoint: Symbols = (read < 0.5 * (1 - self.eta) * least).astype(np.uint8)[of]
        return disjoint

    def _distinct(self, questions: Questions) -> tuple[Questions, Symbols]:
        """Return the distinct sets, and which of them each question is."""
        sets, of = np.unique(self.problem.check_questions(questions), axis=0, return_inverse=True)
        return sets, of.reshape(-1)


def _weight(tokens: int, coherence: float, largest: int, eta: float) -> float:
    """Return a C at which half of what a common element leaves exceeds twice what disjoint sets leave, or inf."""
    slope = 1 - (4 * largest - 3) * coherence
    if slope <= 0:
        return inf
    return (log(4 * tokens * largest * (1 + eta) / (1 - eta)) + MARGIN_NATS) / slope
