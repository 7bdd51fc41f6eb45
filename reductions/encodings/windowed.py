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
from math import exp, inf, log
from typing import Self

import numpy as np

from kvfloor.reductions.encodings.protocol import Floats, Guarantee, Tokens, check_eta
from kvfloor.reductions.encodings.values import (
    BINARY_LEVELS,
    MARGIN_NATS,
    ValuesEncoding,
    guaranteed_thresholds,
    known_incoherence,
)
from kvfloor.reductions.problems.index import Index
from kvfloor.reductions.problems.strings import Symbols

__all__ = ["WindowEncoding", "required_window_norm", "window_interference"]


@dataclass(frozen=True, slots=True, eq=False)
class WindowEncoding:
    """INDEX on the W d_v bits of the last W tokens, after any stream (see the module).

    Build one by `binary`.

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
        shapes = self.earlier.keys.shape[1], self.earlier.values.shape[1]
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
    def binary(
        cls,
        keys: Floats,
        value_dim: int,
        earlier: Tokens,
        *,
        eta: float = 0.0,
        incoherence: float | None = None,
        query_norm: float | None = None,
    ) -> Self:
        """Write bits as values 0 and 1 into the window.

        Parameters
        ----------
        keys : ndarray, shape (W, d)
            Unit keys of the window, float32 or float64; tokens and queries take their type.
        value_dim : int
            Value dimension d_v, at least 1.
        earlier : Tokens
            The m >= 0 tokens before the window, values in [0, 1].
        eta : float
            Relative accuracy in [0, 1) of the attention that must be decoded.
        incoherence : float, optional
            A bound in [0, 1) on the inner products of the window's keys; measured if not given.
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
        eps = known_incoherence(keys, incoherence)
        required = required_window_norm(len(keys), len(earlier), eps, eta) if eps < 1 else inf
        guarantee = None if required == inf else Guarantee(required + MARGIN_NATS / (1 - eps), eps, eta)
        if query_norm is None:
            if guarantee is None:
                raise ValueError("two keys of the window coincide: no query norm tells them apart")
            query_norm = guarantee.query_norm
        kappa = window_interference(len(keys), len(earlier), query_norm, eps)
        levels = np.array(BINARY_LEVELS)
        thresholds = guaranteed_thresholds(levels, kappa, eta)
        return cls(ValuesEncoding(keys, value_dim, levels, thresholds, query_norm, guarantee), earlier)

    @property
    def problem(self) -> Index:
        """INDEX on W d_v bits."""
        return self.inside.problem

    @property
    def window_tokens(self) -> int:
        """Number W of tokens that hold bits."""
        return self.inside.tokens

    @property
    def tokens(self) -> int:
        """Number n = m + W of tokens Alice writes."""
        return len(self.earlier) + self.inside.tokens

    @property
    def dim(self) -> int:
        """Key dimension d."""
        return self.inside.dim

    @property
    def value_dim(self) -> int:
        """Value dimension d_v."""
        return self.inside.value_dim

    @property
    def query_norm(self) -> float:
        """The query norm C."""
        return self.inside.query_norm

    @property
    def guarantee(self) -> Guarantee | None:
        """When decoding is proved, or None where no finite C is."""
        return self.inside.guarantee

    @property
    def public_keys(self) -> Floats:
        """The keys of all n tokens, shape (n, d)."""
        return np.vstack([self.earlier.keys, self.inside.keys])

    def encode(self, x: Symbols) -> Tokens:
        """Return Alice's n tokens.

        Parameters
        ----------
        x : ndarray of int, shape (W d_v,)
            Bits.

        Returns
        -------
        Tokens
            The earlier tokens, then those of the window.

        Raises
        ------
        ValueError
            If `x` is not a string of the problem.
        """
        window = self.inside.encode(x)
        values = np.vstack([self.earlier.values, window.values]).astype(window.values.dtype)
        return Tokens(self.public_keys, values)

    def reader_token(self) -> Tokens:
        """Return no token: Bob's would take the place of the oldest in the window.

        Returns
        -------
        Tokens
            Of length 0.
        """
        token = self.inside.reader_token()
        return Tokens(token.keys[:0], token.values[:0])

    def queries(self, indices: Symbols) -> Floats:
        """Return C k_i for every token i that holds a symbol asked for; see `ValuesEncoding.queries`."""
        return self.inside.queries(indices)

    def decode(self, outputs: Floats, indices: Symbols) -> Symbols:
        """Return the bits read from the outputs of `queries(indices)`; see `ValuesEncoding.decode`."""
        return self.inside.decode(outputs, indices)


def window_interference(
    window_tokens: int, earlier_tokens: int, query_norm: float, incoherence: float
) -> float:
    """Return kappa, a bound on the weight of all tokens but the one asked for (see the module).

    Parameters
    ----------
    window_tokens, earlier_tokens : int
        W, at least 1, and m, at least 0.
    query_norm : float
        C, at least 0.
    incoherence : float
        eps in [0, 1] of the window's keys.

    Returns
    -------
    float
        Relative to the weight of the token asked for.

    Raises
    ------
    ValueError
        If a number is out of its range.
    """
    _check_sizes(window_tokens, earlier_tokens)
    if not 0 <= query_norm < inf:
        raise ValueError(f"query_norm must be finite and at least 0, got {query_norm}")
    return (window_tokens - 1) * exp(-query_norm * (1 - incoherence)) + earlier_tokens * exp(-query_norm)


def required_window_norm(
    window_tokens: int, earlier_tokens: int, incoherence: float, eta: float = 0.0
) -> float:
    """Return the query norm above which every (1 +- eta)-approximation decodes (see the module).

    Parameters
    ----------
    window_tokens, earlier_tokens : int
        W, at least 1, and m, at least 0.
    incoherence : float
        eps in [0, 1) of the window's keys.
    eta : float
        Relative accuracy in [0, 1).

    Returns
    -------
    float
        max(ln(2 rho (W-1))/(1-eps), ln(2 rho m)), the terms of an empty side left out; at least 0.

    Raises
    ------
    ValueError
        If a number is out of its range.

    Examples
    --------
    >>> round(required_window_norm(64, 1_000_000, 0.5), 3)  # the stream, not the window, decides
    14.509
    """
    _check_sizes(window_tokens, earlier_tokens)
    if not 0 <= incoherence < 1:
        raise ValueError(f"incoherence must be in [0, 1), got {incoherence}")
    double_ratio = 2 * (1 + check_eta(eta)) / (1 - eta)
    inside = log(double_ratio * (window_tokens - 1)) / (1 - incoherence) if window_tokens > 1 else 0.0
    outside = log(double_ratio * earlier_tokens) if earlier_tokens else 0.0
    return max(inside, outside)


def _check_sizes(window_tokens: int, earlier_tokens: int) -> None:
    """Raise ValueError unless there is a window, and no negative number of tokens before it."""
    if window_tokens < 1:
        raise ValueError(f"window_tokens must be at least 1, got {window_tokens}")
    if earlier_tokens < 0:
        raise ValueError(f"earlier_tokens must be at least 0, got {earlier_tokens}")
