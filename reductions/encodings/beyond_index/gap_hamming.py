"""GAP-HAMMING in the values, at any temperature: attention averages, and averages tell strings apart (theory 15).

Token l has one of n orthonormal keys and Alice's bit x_l as its value. Bob's string y is asked by the two queries
+- rho sum_l y_l k_l, whose scores are +- rho y_l: no token weighs more than e^{2 rho} times another. With
Z+- = n cosh(rho) +- sinh(rho) sum_l y_l the answers A+- give

    sum_l y_l x_l = (Z+ A+ - Z- A-) / (2 sinh(rho)).

Answers within eps move this by at most eps n / tanh(rho), so the overlap of the signs 2 x - 1 with y by twice that.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cosh, sinh, tanh

import numpy as np

from kvfloor.reductions.accuracy import Guarantee
from kvfloor.reductions.checks import Doubles, Floats, check_outputs, check_within
from kvfloor.reductions.encodings.protocol import PublicKeys, Tokens, zero_tokens
from kvfloor.reductions.keys.incoherence import check_orthonormal
from kvfloor.reductions.keys.known import Keys
from kvfloor.reductions.problems.gap_hamming import GapHamming
from kvfloor.reductions.problems.strings import Questions, Symbols


@dataclass(frozen=True, slots=True, eq=False)
class GapHammingEncoding(PublicKeys):
    """GAP-HAMMING on n bits as n tokens with values of one entry.

    Parameters
    ----------
    keys : Keys
        n public orthonormal keys, n a power of two.
    largest_score : float
        rho > 0, the inverse temperature: the score of a token for a query is rho or -rho.
    rounds : int
        Rounds of the reconstruction; see `GapHamming`.
    seed : int
        Of the public random signs.

    Raises
    ------
    ValueError
        If a number is out of its range or the keys are not orthonormal.
    """

    keys: Keys
    largest_score: float = 1.0
    rounds: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        check_within("largest_score", self.largest_score, "(0, inf)")
        check_orthonormal(self.keys.rows)
        GapHamming(self.tokens, self.rounds)  # says what is wrong with these numbers

    @property
    def problem(self) -> GapHamming:
        """GAP-HAMMING on n bits."""
        return GapHamming(self.tokens, self.rounds, self.seed)

    @property
    def value_dim(self) -> int:
        """One."""
        return 1

    @property
    def query_norm(self) -> float:
        """The score rho that a query gives to a key."""
        return self.largest_score

    @property
    def guarantee(self) -> Guarantee | None:
        """None: what is proved depends on the gap, see `decided_gap`."""
        return None

    def decided_gap(self, eps: float) -> float:
        """Return the overlap beyond which every answer is right, from attention within an additive eps.

        Parameters
        ----------
        eps : float
            At least 0.

        Returns
        -------
        float
            2 eps n / tanh(rho).
        """
        return 2 * eps * self.tokens / tanh(self.largest_score)

    def encode(self, x: Symbols) -> Tokens:
        """Return Alice's n tokens for the string x, shape (n,)."""
        return Tokens(self.keys.rows, self.problem.check_string(x).astype(self.keys.dtype)[:, np.newaxis])

    def reader_token(self) -> Tokens:
        """Return no token: Bob brings none."""
        return zero_tokens(self.keys, 1, 0)

    def queries(self, questions: Questions) -> Floats:
        """Return the two queries of each string, shape (2 k, d): first all with +, then all with -."""
        signs = self.problem.check_questions(questions).astype(self.keys.dtype)
        towards = signs @ self.keys.rows * self.keys.dtype.type(self.largest_score)
        return np.concatenate([towards, -towards])

    def overlaps(self, outputs: Floats, questions: Questions) -> Doubles:
        """Return the overlaps that the outputs say, shape (k,); see `GapHamming.overlaps`."""
        sums = self.problem.check_questions(questions).sum(axis=1, dtype=np.int64)
        plus, minus = check_outputs(outputs, 2 * len(sums), 1)[:, 0].astype(np.float64).reshape(2, -1)
        even, odd = self.tokens * cosh(self.largest_score), sums * sinh(self.largest_score)
        overlaps: Doubles = ((even + odd) * plus - (even - odd) * minus) / sinh(self.largest_score) - sums
        return overlaps

    def decode(self, outputs: Floats, questions: Questions) -> Symbols:
        """Return 1 for each string that seems to agree in most places, shape (k,)."""
        return (self.overlaps(outputs, questions) > 0).astype(np.uint8)
