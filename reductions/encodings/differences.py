"""INDEX in the values at any temperature: one token, read by its difference to the mean of all (theory 15).

The query rho k_i has the normaliser e^rho + n - 1 under orthonormal keys, the zero query has n, and the difference of
normaliser times answer is (e^rho - 1) x_i. Answers within eps move it by at most eps (e^rho + 2 n - 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, expm1
from typing import TYPE_CHECKING

import numpy as np

from kvfloor.reductions.checks import Floats, check_count, check_outputs, check_within
from kvfloor.reductions.encodings.levels import BINARY, Levels
from kvfloor.reductions.encodings.protocol import PublicKeys, Tokens, zero_tokens
from kvfloor.reductions.keys.incoherence import check_orthonormal
from kvfloor.reductions.keys.known import Keys
from kvfloor.reductions.problems.index import Index
from kvfloor.reductions.problems.strings import Symbols

if TYPE_CHECKING:
    from kvfloor.reductions.accuracy import Guarantee


@dataclass(frozen=True, slots=True, eq=False)
class DifferencesEncoding(PublicKeys):
    """INDEX on n d_v symbols: token l has the orthonormal key k_l and, as its value, row l of the string.

    Bob appends no token; he asks rho k_i for every token, and the zero query once. L equally spaced levels decode from
    answers within eps if L - 1 < 1/(2 eps (1 + 2 n/(e^rho - 1))).

    Parameters
    ----------
    keys : Keys
        n of d dimensions, orthonormal.
    value_dim : int
        Value dimension d_v, at least 1.
    largest_score : float
        rho, in (0, 80].
    levels : Levels
        The value of each of the q symbols.

    Raises
    ------
    ValueError
        If a number is out of its range or the keys are not orthonormal.
    """

    keys: Keys
    value_dim: int = 1
    largest_score: float = 1.0
    levels: Levels = BINARY

    def __post_init__(self) -> None:
        check_count("value_dim", self.value_dim)
        check_within("largest_score", self.largest_score, "(0, 80]")
        check_orthonormal(self.keys.rows)

    @property
    def problem(self) -> Index:
        """INDEX on n d_v symbols."""
        return Index(self.tokens * self.value_dim, len(self.levels))

    @property
    def query_norm(self) -> float:
        """The largest score."""
        return self.largest_score

    @property
    def guarantee(self) -> Guarantee | None:
        """None: what is proved depends on the additive accuracy, not on a relative one."""
        return None

    def encode(self, x: Symbols) -> Tokens:
        """Return the keys, and the levels of the symbols as values; see `Encoding.encode`."""
        rows = self.problem.check_string(x).reshape(self.tokens, self.value_dim)
        return Tokens(self.keys.rows, self.levels.values.astype(self.keys.dtype)[rows])

    def reader_token(self) -> Tokens:
        """Return no token: Bob brings none."""
        return zero_tokens(self.keys, self.value_dim, 0)

    def queries(self, indices: Symbols) -> Floats:
        """Return rho k_i for every token that holds a symbol asked for, ascending, and the zero query last."""
        asked = np.unique(self.problem.check_indices(indices) // self.value_dim)
        lone = self.keys.rows[asked] * self.keys.dtype.type(self.largest_score)
        return np.concatenate([lone, np.zeros_like(lone[:1])])

    def decode(self, outputs: Floats, indices: Symbols) -> Symbols:
        """Return the nearest level of each difference; see `Encoding.decode`."""
        token, channel = np.divmod(self.problem.check_indices(indices), self.value_dim)
        asked, row = np.unique(token, return_inverse=True)
        read = check_outputs(outputs, len(asked) + 1, self.value_dim).astype(np.float64)
        lifted = (exp(self.largest_score) + self.tokens - 1) * read[:-1] - self.tokens * read[-1]
        middles = (self.levels.values[:-1] + self.levels.values[1:]) / 2
        symbols: Symbols = np.searchsorted(
            middles, (lifted / expm1(self.largest_score))[row, channel], side="right"
        ).astype(self.problem.dtype)
        return symbols
