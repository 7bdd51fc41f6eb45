"""GAP-HAMMING in the values, at any temperature: attention averages, and averages tell strings apart (theory 15).

Token l has one of n orthonormal keys and Alice's bit x_l as its value. Bob's string y is asked by the two queries
+- rho sum_l y_l k_l, whose scores are +- rho y_l: no token weighs more than e^{2 rho} times another. With
Z+- = n cosh(rho) +- sinh(rho) sum_l y_l the answers A+- give

    sum_l y_l x_l = (Z+ A+ - Z- A-) / (2 sinh(rho)).

Answers within eps move this by at most eps n / tanh(rho), so the overlap of the signs 2 x - 1 with y by twice that.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cosh, inf, sinh, tanh

import numpy as np
from numpy.typing import NDArray

from kvfloor.reductions.accuracy import Guarantee
from kvfloor.reductions.checks import Floats, check_outputs
from kvfloor.reductions.encodings.protocol import Tokens
from kvfloor.reductions.problems.gap_hamming import GapHamming
from kvfloor.reductions.problems.strings import Questions, Symbols

_ORTHOGONAL = 1e-5  # inner products of float32 keys that were orthogonal before they were rounded


@dataclass(frozen=True, slots=True, eq=False)
class GapHammingEncoding:
    """GAP-HAMMING on n bits as n tokens with values of one entry.

    Parameters
    ----------
    keys : ndarray, shape (n, d)
        Public orthonormal keys, n a power of two.
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

    keys: Floats
    largest_score: float = 1.0
    rounds: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.largest_score < inf:
            raise ValueError(f"largest_score must be positive and finite, got {self.largest_score}")
        wrong = float(np.abs(self.keys @ self.keys.T - np.eye(len(self.keys))).max())
        if wrong > _ORTHOGONAL:
            raise ValueError(
                f"keys must be orthonormal to {_ORTHOGONAL:g}, got a product that is {wrong:.3g} off"
            )
        GapHamming(self.tokens, self.rounds)  # says what is wrong with these numbers

    @property
    def problem(self) -> GapHamming:
        """GAP-HAMMING on n bits."""
        return GapHamming(self.tokens, self.rounds, self.seed)

    @property
    def tokens(self) -> int:
        """Number n of tokens Alice writes."""
        return len(self.keys)

    @property
    def dim(self) -> int:
        """Key dimension d."""
        return int(self.keys.shape[1])

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

    @property
    def public_keys(self) -> Floats | None:
        """The keys."""
        return self.keys

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
        return Tokens(self.keys, self.problem.check_string(x).astype(self.keys.dtype)[:, np.newaxis])

    def reader_token(self) -> Tokens:
        """Return no token: Bob brings none."""
        return Tokens(self.keys[:0], np.empty((0, 1), self.keys.dtype))

    def queries(self, questions: Questions) -> Floats:
        """Return the two queries of each string, shape (2 k, d): first all with +, then all with -."""
        signs = self.problem.check_questions(questions).astype(self.keys.dtype)
        towards = signs @ self.keys * self.keys.dtype.type(self.largest_score)
        return np.concatenate([towards, -towards])

    def overlaps(self, outputs: Floats, questions: Questions) -> NDArray[np.float64]:
        """Return the overlaps that the outputs say, shape (k,); see `GapHamming.overlaps`."""
        sums = self.problem.check_questions(questions).sum(axis=1, dtype=np.int64)
        plus, minus = check_outputs(outputs, 2 * len(sums), 1)[:, 0].astype(np.float64).reshape(2, -1)
        even, odd = self.tokens * cosh(self.largest_score), sums * sinh(self.largest_score)
        return ((even + odd) * plus - (even - odd) * minus) / sinh(self.largest_score) - sums

    def decode(self, outputs: Floats, questions: Questions) -> Symbols:
        """Return 1 for each string that seems to agree in most places, shape (k,)."""
        return (self.overlaps(outputs, questions) > 0).astype(np.uint8)
