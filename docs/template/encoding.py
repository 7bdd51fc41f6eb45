"""A template for an encoding of your own: SUMS OF TWO in the values. Copy it to reductions/encodings/beyond_index/.

Token i holds bit x_i as its value under the key k_i. The pair (i, j) is asked by C (k_i + k_j): both tokens score
C (1 + <k_i, k_j>), hence the same, and their mean value is half of the sum. With |<k, k'>| <= eps all others score at most
2 C eps, so together they weigh at most kappa = n e^{-C (1 - 3 eps)} of the two, and an output is within kappa of half of the
sum. With kappa <= 1/20 the thresholds 1/4 and 3/4 survive a relative error of 1/5:
1.2 (1/2 + kappa) < 3/4 < 0.8 / (1 + kappa). The proof stands here or in docs/theory.md; write it before the code.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log

import numpy as np

# Once the problem is in reductions/problems/: from kvfloor.reductions.problems.sums import SumsOfTwo
from problem import SumsOfTwo

from kvfloor.reductions.accuracy import Guarantee
from kvfloor.reductions.atlas.nodes import INDEX, SOFTMAX
from kvfloor.reductions.atlas.reduction import About, Instance, Reduction, Shape
from kvfloor.reductions.checks import Floats, check_outputs
from kvfloor.reductions.encodings.protocol import Encoding, PublicKeys, Tokens, zero_tokens
from kvfloor.reductions.keys.known import Keys
from kvfloor.reductions.problems.index import Index
from kvfloor.reductions.problems.strings import Questions, Symbols

KAPPA = 1 / 20
ETA = 1 / 5


@dataclass(frozen=True, slots=True, eq=False)
class SumsEncoding(PublicKeys):
    """SUMS OF TWO on n bits as n tokens with values of one entry.

    Parameters
    ----------
    keys : Keys
        n of d dimensions, public.

    Raises
    ------
    ValueError
        If two keys have |<k_i, k_l>| >= 1/3, where nothing is proved.
    """

    keys: Keys

    def __post_init__(self) -> None:
        if self.coherence >= 1 / 3:
            raise ValueError(f"keys must have |<k_i, k_l>| below 1/3, got {self.coherence:.3g}")

    # What every encoding says of itself, see `kvfloor.reductions.encodings.protocol.Encoding`. `tokens`, `dim` and
    # `public_keys` come with `PublicKeys`, because the keys are public coins here and x lives in the values: a cache that
    # is given them need not spend a bit on keys. If your keys hold part of x, write the three yourself and let
    # `public_keys` be None: a cache that knew the keys would know x, and an audit would count nothing.

    @property
    def problem(self) -> SumsOfTwo:
        """SUMS OF TWO on n bits."""
        return SumsOfTwo(self.tokens)

    @property
    def value_dim(self) -> int:
        """One."""
        return 1

    @property
    def query_norm(self) -> float:
        """C = ln(n / kappa) / (1 - 3 eps), from the proof above."""
        return _norm(self.tokens, self.coherence)

    @property
    def guarantee(self) -> Guarantee | None:
        """Decoding at C for a relative accuracy of 1/5."""
        return Guarantee(self.query_norm, self.coherence, ETA)

    # What Alice writes, and what Bob asks and reads.

    def encode(self, x: Symbols) -> Tokens:
        """Return Alice's n tokens for the string x, shape (N,)."""
        values = self.problem.check_string(x).astype(self.keys.dtype)
        return Tokens(self.keys.rows, values[:, np.newaxis])

    def reader_token(self) -> Tokens:
        """Return no token: Bob brings none."""
        return zero_tokens(self.keys, 1, 0)

    def queries(self, questions: Questions) -> Floats:
        """Return C (k_i + k_j) for each distinct pair, shape (m, d): a cache may answer a repeated query for free."""
        pairs, _ = self._distinct(questions)
        asked: Floats = self.keys.rows[pairs].sum(axis=1) * self.keys.dtype.type(self.query_norm)
        return asked

    def decode(self, outputs: Floats, questions: Questions) -> Symbols:
        """Return the sums, shape (k,).

        It must be monotone in every output: then worst-case noise is a matter of its two ends.
        """
        pairs, of = self._distinct(questions)
        read = check_outputs(outputs, len(pairs), 1)[:, 0]
        return np.searchsorted([0.25, 0.75], read)[of]

    @property
    def coherence(self) -> float:
        """The largest |<k_i, k_l>| of two different keys."""
        products = np.abs(self.keys.rows @ self.keys.rows.T)
        np.fill_diagonal(products, 0)
        return float(products.max())

    def _distinct(self, questions: Questions) -> tuple[Symbols, Symbols]:
        """Return the distinct pairs in either order, and which of them each question is."""
        pairs = np.sort(self.problem.check_questions(questions), axis=1)
        distinct, of = np.unique(pairs, axis=0, return_inverse=True)
        return distinct, of.reshape(-1)


def _norm(tokens: int, coherence: float) -> float:
    """Return the C at which all others weigh at most kappa."""
    return log(tokens / KAPPA) / (1 - 3 * coherence)


# The arrow in the atlas. To make it count in `kvfloor floor`, in the claim `atlas` and in its figure, append it to
# `REDUCTIONS` in reductions/atlas/arrows.py. Its two parameter maps, worked for n = 100 tokens in d = 100 dimensions:
#   down: the model's shape -> the problem that fits into it.        Shape(100, 100, ...) -> INDEX on 100 bits
#   up:   the instance found there -> what it asks of the model.     C = ln(20 * 100) / (1 - 0) = 7.6, eps = 0
COHERENCE = 0.0  # of the standard basis, which has as many keys as dimensions


def _down(shape: Shape) -> Index | None:
    """Fit a bit into each token; none where there are more tokens than basis vectors, or eta is too coarse."""
    return Index(shape.tokens) if shape.tokens <= shape.dim and shape.eta <= ETA else None


def _up(instance: Instance, shape: Shape) -> Instance:
    """Ask for the query norm of the proof."""
    return replace(instance, query_norm=_norm(shape.tokens, COHERENCE), incoherence=COHERENCE)


def _play(shape: Shape, rng: np.random.Generator) -> Encoding:
    """Return the instance that the arrow speaks of, so that it can be played."""
    return SumsEncoding(Keys(np.eye(shape.tokens, shape.dim)))


ARROW = Reduction(
    source=INDEX,
    target=SOFTMAX,
    about=About(
        name="sums of two",
        theory="3",
        reference="yours",
        statement="the sum of two values is asked by the sum of two keys",
        symbols="N = n",
    ),
    down=_down,
    up=_up,
    encoding=_play,
)


def example(tokens: int = 64, dim: int = 1024) -> SumsEncoding:
    """Return an instance on Gaussian keys, for the test beside it."""
    return SumsEncoding(Keys.drawn("gaussian", tokens, dim, np.random.default_rng(0)))
