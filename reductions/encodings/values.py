"""INDEX in the values: the barrier of Theorem B and its price in precision (theory 3)."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, exp, log, log1p
from typing import Self

import numpy as np

from kvfloor.reductions.accuracy import EXACT, Accuracy, Guarantee
from kvfloor.reductions.checks import (
    Floats,
    check_count,
    check_eta,
    check_norm,
    check_outputs,
    check_within,
)
from kvfloor.reductions.encodings.levels import BINARY, ByReading, Levels, Reading, chosen_norm
from kvfloor.reductions.encodings.protocol import PublicKeys, Tokens, zero_tokens
from kvfloor.reductions.keys.known import Keys
from kvfloor.reductions.problems.index import Index
from kvfloor.reductions.problems.strings import Symbols

_FINEST_NATS = 2.0**-40  # closer levels drown in the rounding of float64 attention, C 2^-53


@dataclass(frozen=True, slots=True, eq=False)
class ValuesEncoding(PublicKeys, ByReading):
    """INDEX on n d_v symbols: token l has the public key k_l and, in its value, row l of the string.

    Bob's token is (0, 0); the query C k_i reads all d_v symbols of token i. Symbol i d_v + j is entry j of
    value i. With kappa = n e^{-C (1 - eps)}, which bounds the weight of all other tokens, Bob's among them,
    relative to the token asked for (n - 1 + r in the place of n if Bob appends r such tokens), and values up
    to x_max, a symbol of value x has an exact output in

        [x / (1 + kappa), (x + kappa x_max) / (1 + kappa)].

    Decoding is proved where these intervals, widened by (1 +- eta), are disjoint.

    `build` chooses how it is read.

    Parameters
    ----------
    keys : Keys
        n of d dimensions: public coins, independent of the string.
    value_dim : int
        Value dimension d_v, at least 1.
    levels : Levels
        The value of each of the q symbols.
    reading : Reading
        Symbol s is decoded from outputs in [thresholds[s-1], thresholds[s]): q - 1 thresholds, ascending.
    reader_tokens : int
        Tokens (0, 0) that Bob appends, at least 1.

    Raises
    ------
    ValueError
        If an argument is not as described.
    """

    keys: Keys
    value_dim: int
    levels: Levels
    reading: Reading
    reader_tokens: int = 1

    def __post_init__(self) -> None:
        check_count("reader_tokens", self.reader_tokens)
        check_count("value_dim", self.value_dim)
        thresholds = self.reading.thresholds
        if thresholds.shape != (len(self.levels) - 1,) or not np.all(np.diff(thresholds) >= 0):
            raise ValueError(f"thresholds must be {len(self.levels) - 1} ascending numbers")

    @classmethod
    def build(
        cls,
        keys: Keys,
        value_dim: int,
        levels: Levels = BINARY,
        accuracy: Accuracy = EXACT,
        query_norm: float | None = None,
        reader_tokens: int = 1,
    ) -> Self:
        """Write symbols as levels, to be read from every answer of that accuracy (Theorem B).

        Parameters
        ----------
        keys, value_dim, levels, reader_tokens
            Those of the class.
        accuracy : Accuracy
            The noise that decoding must survive.
        query_norm : float, optional
            C; by default the one that the guarantee asks for.

        Returns
        -------
        ValuesEncoding
            Alphabet q.

        Raises
        ------
        ValueError
            If an argument is not as described, or if C is to be chosen where none tells all symbols apart.
        """
        rivals = len(keys) - 1 + check_count("reader_tokens", reader_tokens)
        reading = values_reading(keys, rivals, levels, accuracy, query_norm)
        return cls(keys, value_dim, levels, reading, reader_tokens)

    @property
    def problem(self) -> Index:
        """INDEX on n d_v symbols."""
        return Index(self.tokens * self.value_dim, len(self.levels))

    def encode(self, x: Symbols) -> Tokens:
        """Return the keys, and the levels of the symbols as values; see `Encoding.encode`."""
        rows = self.problem.check_string(x).reshape(self.tokens, self.value_dim)
        return Tokens(self.keys.rows, self.levels.values.astype(self.keys.dtype)[rows])

    def reader_token(self) -> Tokens:
        """Return Bob's tokens: zero keys, zero values."""
        return zero_tokens(self.keys, self.value_dim, self.reader_tokens)

    def queries(self, indices: Symbols) -> Floats:
        """Return C k_i for every token i that holds a symbol asked for, by ascending i; see `Encoding.queries`."""
        asked = np.unique(self.problem.check_indices(indices) // self.value_dim)
        return self.keys.rows[asked] * self.keys.dtype.type(self.query_norm)

    def decode(self, outputs: Floats, indices: Symbols) -> Symbols:
        """Return the symbols read from the outputs of `queries(indices)`; see `Encoding.decode`."""
        token, channel = np.divmod(self.problem.check_indices(indices), self.value_dim)
        asked, row = np.unique(token, return_inverse=True)
        read = check_outputs(outputs, len(asked), self.value_dim)[row, channel]
        symbols = np.searchsorted(self.reading.thresholds, read, side="right")
        return symbols.astype(self.problem.dtype)


def values_reading(
    keys: Keys,
    rivals: int,
    levels: Levels = BINARY,
    accuracy: Accuracy = EXACT,
    query_norm: float | None = None,
) -> Reading:
    """Choose the query norm and the thresholds for keys, levels and accuracy.

    The incoherence is measured only where it is needed: not for a typical decoder at a given norm.

    Parameters
    ----------
    keys : Keys
        The public keys.
    rivals : int
        The guarantee allows all tokens but the one asked for, Bob's among them, a weight of so many keys at the
        incoherence: what Alice's n tokens and Bob's can come to, n where he appends one.
    levels : Levels
        The value of each symbol.
    accuracy : Accuracy
        The noise that decoding must survive.
    query_norm : float, optional
        C; by default the one that the guarantee asks for.

    Returns
    -------
    Reading
        One threshold for each pair of neighbours.

    Raises
    ------
    ValueError
        If a number is out of its range, or if C is to be chosen where none tells all symbols apart.
    """
    eta, guaranteed = accuracy.eta, accuracy.decoder == "guaranteed"
    eps, guarantee = None, None
    if guaranteed or query_norm is None or keys.bound is not None:
        eps = keys.incoherence()
        guarantee = values_guarantee(rivals, eps, eta, levels, keys.failure_probability)
    norm = chosen_norm(
        query_norm,
        guarantee,
        f"tells keys of incoherence {eps} apart at eta {eta}; give query_norm, other keys or fewer levels",
    )
    kappa = interference(rivals, norm, eps) if guaranteed and eps is not None else 0.0
    return Reading(norm, levels.thresholds(accuracy, kappa), guarantee)


def required_query_norm(tokens: int, incoherence: float, eta: float = 0.0, levels: Levels = BINARY) -> float:
    """Return the query norm above which every (1 +- eta)-approximation decodes (Theorem B).

    Neighbours x < y are told apart iff (1 + eta) (x + kappa x_max) < (1 - eta) y. So kappa must stay below

        min over neighbours of (y (1 - eta)/(1 + eta) - x) / x_max,

    and kappa = n e^{-C (1 - eps)} gives C. For bits this is ln(n (1+eta)/(1-eta)) / (1-eps).

    Parameters
    ----------
    tokens : int
        Number n of tokens, at least 1.
    incoherence : float
        eps in [0, 1).
    eta : float
        Relative accuracy in [0, 1).
    levels : Levels
        The value of each symbol.

    Returns
    -------
    float
        The infimum of the C that suffice: any larger one does.

    Raises
    ------
    ValueError
        If a number is out of its range or the levels are too close for this `eta`.

    Examples
    --------
    >>> round(required_query_norm(1024, 0.5), 3)
    13.863
    """
    check_count("tokens", tokens)
    check_within("incoherence", incoherence, "[0, 1)")
    resolution = levels.resolution(eta)
    if resolution <= 0:
        raise ValueError(f"eta {eta} is too coarse for these levels: no query norm tells all of them apart")
    return log(tokens / resolution) / (1 - incoherence)


def values_guarantee(
    tokens: int,
    incoherence: float,
    eta: float,
    levels: Levels = BINARY,
    failure_probability: float = 0.0,
) -> Guarantee | None:
    """Return the guarantee above `required_query_norm`, whose parameters these are.

    It is None if eps = 1 or the levels are too close for `eta`.
    """
    if incoherence == 1 or levels.resolution(eta) <= 0:
        return None
    required = required_query_norm(tokens, incoherence, eta, levels)
    return Guarantee.above(required, incoherence, eta, failure_probability)


def interference(tokens: int, query_norm: float, incoherence: float) -> float:
    """Return kappa = n e^{-C (1 - eps)}, a bound on the weight of all tokens but the one asked for, relative to it.

    `tokens` are n - 1 others and Bob's, at least 1; C is at least 0 and eps in [0, 1].
    """
    check_count("tokens", tokens)
    return tokens * exp(-check_norm("query_norm", query_norm) * (1 - incoherence))


def level_count(eta: float, query_norm: float, tokens: int, incoherence: float, lowest: float = 1e-6) -> int:
    """Return how many geometric levels a value can carry (theory 3, precision).

    The most L with lowest r^(L-1) <= 1 for a ratio r above (1+eta)/(1-eta) (1+kappa) (1+kappa/lowest).

    Parameters
    ----------
    eta, query_norm, tokens, incoherence
        Those of `required_query_norm` and `interference`.
    lowest : float
        The least level, in (0, 1).

    Returns
    -------
    int
        L >= 1; 1 means that a value carries nothing, and log2 L is the floor in bits per stored value.

    Examples
    --------
    >>> from math import log2
    >>> round(log2(level_count(0.01, 80.0, 1024, 0.55)), 2)
    9.43
    """
    check_eta(eta)
    check_within("lowest", lowest, "(0, 1)")
    check_within("incoherence", incoherence, "[0, 1)")
    kappa = interference(tokens, query_norm, incoherence)
    log_ratio = log1p(eta) - log1p(-eta) + log1p(kappa) + log1p(kappa / lowest)
    return ceil(-log(lowest) / (log_ratio + _FINEST_NATS))
