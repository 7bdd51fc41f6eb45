"""INDEX in a sliding window whose evicted values still count: d_v bits for each of its tokens (theory 5).

Our reading: keys outside of the last W tokens are masked to the zero vector, so that such a token has weight
1 whatever its key, and its value counts. The stream is m = n - W earlier tokens, any of them with values in
[0, 1], then W tokens with unit keys k_i of incoherence eps and bits as values. Bob appends nothing: a token
of his own would push the oldest of the W out and leave d_v (W - 1) bits.

*Constants.* The query C k_i gives e^C to its token, at most e^{C eps} to each of the W - 1 others in the
window, and 1 to each of the m outside. So all others together have at most

    kappa = (W - 1) e^{-C (1 - eps)} + m e^{-C}

of its weight, and hold values in [0, 1]: x_ij = 1 gives an output of at least 1/(1 + kappa), x_ij = 0 of at
most kappa/(1 + kappa). With rho = (1+eta)/(1-eta), every (1 ± eta)-approximation decodes if kappa < 1/rho,
for which C > max(ln(2 rho (W-1))/(1-eps), ln(2 rho m)) suffices. The length of the stream costs ln m, not
ln m/(1-eps): tokens outside do not crowd the keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log
from typing import Self

import numpy as np

from kvfloor.reductions.accuracy import EXACT, Accuracy, Guarantee
from kvfloor.reductions.checks import Floats, check_count, check_eta, check_norm, check_within
from kvfloor.reductions.encodings.levels import BINARY, Reading, chosen_norm
from kvfloor.reductions.encodings.protocol import Inside, Tokens
from kvfloor.reductions.encodings.values import ValuesEncoding
from kvfloor.reductions.keys.known import Keys
from kvfloor.reductions.problems.strings import Symbols

__all__ = ["WindowEncoding", "required_window_norm", "window_guarantee", "window_interference"]


@dataclass(frozen=True, slots=True, eq=False)
class WindowEncoding(Inside):
    """INDEX on the W d_v bits of the last W tokens, after any stream (see the module).

    `build` chooses how it is read.

    Parameters
    ----------
    inside : ValuesEncoding
        What the W tokens of the window hold and how it is read.
    earlier : Tokens
        The m >= 0 tokens before them: public, of the same dimensions, with values in [0, 1].

    Raises
    ------
    ValueError
        If the earlier tokens are not as described.
    """

    inside: ValuesEncoding
    earlier: Tokens

    def __post_init__(self) -> None:
        shapes = self.earlier.dim, self.earlier.value_dim
        if shapes != (self.dim, self.value_dim):
            raise ValueError(
                f"earlier tokens must have dimensions {self.dim} and {self.value_dim}, got {shapes[0]} and "
                f"{shapes[1]}"
            )
        values = self.earlier.values
        if values.size and not (values.min() >= 0 and values.max() <= 1):
            raise ValueError(
                f"earlier values must lie in [0, 1], got values from {values.min():g} to {values.max():g}"
            )

    @classmethod
    def build(
        cls,
        keys: Keys,
        value_dim: int,
        earlier: Tokens,
        accuracy: Accuracy = EXACT,
        query_norm: float | None = None,
    ) -> Self:
        """Write bits as values 0 and 1 into the window.

        Parameters
        ----------
        keys : Keys
            The W of the window.
        value_dim : int
            Value dimension d_v, at least 1.
        earlier : Tokens
            Those of the class.
        accuracy : Accuracy
            The noise that decoding must survive.
        query_norm : float, optional
            C; by default the one that the guarantee asks for.

        Returns
        -------
        WindowEncoding
            Alphabet 2.

        Raises
        ------
        ValueError
            If an argument is not as described, or if two keys coincide and C is to be chosen.
        """
        eps, sizes = keys.incoherence(), (len(keys), len(earlier))
        guarantee = window_guarantee(*sizes, eps, accuracy.eta, keys.failure_probability)
        norm = chosen_norm(query_norm, guarantee, "tells two keys of the window apart: they coincide")
        thresholds = BINARY.thresholds(accuracy, window_interference(*sizes, norm, eps))
        return cls(ValuesEncoding(keys, value_dim, BINARY, Reading(norm, thresholds, guarantee)), earlier)

    @property
    def tokens(self) -> int:
        """Number n = m + W of tokens Alice writes."""
        return len(self.earlier) + self.inside.tokens

    @property
    def public_keys(self) -> Floats:
        """The keys of all n tokens, shape (n, d)."""
        return np.vstack([self.earlier.keys, self.inside.public_keys])

    def encode(self, x: Symbols) -> Tokens:
        """Return the earlier tokens, then those of the window; see `Encoding.encode`."""
        window = self.inside.encode(x)
        values = np.vstack([self.earlier.values, window.values]).astype(window.values.dtype)
        return Tokens(self.public_keys, values)

    def reader_token(self) -> Tokens:
        """Return no token: Bob's would take the place of the oldest in the window."""
        token = self.inside.reader_token()
        return Tokens(token.keys[:0], token.values[:0])


def window_interference(
    window_tokens: int, earlier_tokens: int, query_norm: float, incoherence: float
) -> float:
    """Return kappa, a bound on the weight of all tokens but the one asked for, relative to it (see the module).

    Parameters
    ----------
    window_tokens, earlier_tokens : int
        W, at least 1, and m, at least 0.
    query_norm : float
        C, at least 0.
    incoherence : float
        eps in [0, 1] of the window's keys.
    """
    _check_sizes(window_tokens, earlier_tokens)
    check_norm("query_norm", query_norm)
    return (window_tokens - 1) * exp(-query_norm * (1 - incoherence)) + earlier_tokens * exp(-query_norm)


def required_window_norm(
    window_tokens: int, earlier_tokens: int, incoherence: float, eta: float = 0.0
) -> float:
    """Return the query norm above which every (1 +- eta)-approximation decodes (see the module).

    The sizes are those of `window_interference`; eps and eta lie in [0, 1).

    Returns
    -------
    float
        max(ln(2 rho (W-1))/(1-eps), ln(2 rho m)), the terms of an empty side left out; at least 0.

    Examples
    --------
    >>> round(required_window_norm(64, 1_000_000, 0.5), 3)  # the stream, not the window, decides
    14.509
    """
    _check_sizes(window_tokens, earlier_tokens)
    check_within("incoherence", incoherence, "[0, 1)")
    double_ratio = 2 * (1 + check_eta(eta)) / (1 - eta)
    inside = log(double_ratio * (window_tokens - 1)) / (1 - incoherence) if window_tokens > 1 else 0.0
    outside = log(double_ratio * earlier_tokens) if earlier_tokens else 0.0
    return max(inside, outside)


def window_guarantee(
    window_tokens: int,
    earlier_tokens: int,
    incoherence: float,
    eta: float = 0.0,
    failure_probability: float = 0.0,
) -> Guarantee | None:
    """Return the guarantee above `required_window_norm`, whose parameters these are; None if eps = 1."""
    if incoherence == 1:
        return None
    required = required_window_norm(window_tokens, earlier_tokens, incoherence, eta)
    return Guarantee.above(required, incoherence, eta, failure_probability)


def _check_sizes(window_tokens: int, earlier_tokens: int) -> None:
    """Raise ValueError unless there is a window, and no negative number of tokens before it."""
    check_count("window_tokens", window_tokens)
    check_count("earlier_tokens", earlier_tokens, 0)
