"""INDEX in the values: the barrier of Theorem B and its price in precision (theory 3)."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, exp, inf, isfinite, log, log1p, log2
from typing import Literal, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kvfloor.reductions.encodings.protocol import Floats, Guarantee, Tokens, check_eta, check_outputs
from kvfloor.reductions.keys.projections import check_unit_rows, incoherence
from kvfloor.reductions.problems.index import Index
from kvfloor.reductions.problems.strings import Symbols

Levels: TypeAlias = NDArray[np.float64]
Decoder: TypeAlias = Literal["guaranteed", "typical"]

MARGIN_NATS = 0.01
"""What a chosen query norm adds to the logarithm of the gap between two symbols.

At exactly the required norm the worst output of a symbol meets that of its neighbour. This margin puts
them apart by far more than float32 attention rounds (about C 2^-24, so 1e-5 at C = 100), for 0.01/(1-eps)
more of query norm.
"""

BINARY_LEVELS = (0.0, 1.0)

_FINEST_NATS = 2.0**-40  # closer levels drown in the rounding of float64 attention, C 2^-53
_MOST_LEVELS = 2**24


@dataclass(frozen=True, slots=True, eq=False)
class ValuesEncoding:
    """INDEX on n d_v symbols: token l has the public key k_l and, in its value, row l of the string.

    Bob's token is (0, 0); the query C k_i reads all d_v symbols of token i. Symbol i d_v + j is entry j of
    value i. With kappa = n e^{-C (1 - eps)}, which bounds the weight of all other tokens, Bob's among them,
    relative to the token asked for (n - 1 + r in the place of n if Bob appends r such tokens), and values up
    to x_max, a symbol of value x has an exact output in

        [x / (1 + kappa), (x + kappa x_max) / (1 + kappa)].

    Decoding is proved where these intervals, widened by (1 +- eta), are disjoint.

    Build one by `binary`, `geometric` or `from_levels`.

    Parameters
    ----------
    keys : ndarray, shape (n, d)
        Unit keys: public coins, independent of the string.
    value_dim : int
        Value dimension d_v, at least 1.
    levels : ndarray, shape (q,)
        The value of each symbol: non-negative, ascending.
    thresholds : ndarray, shape (q - 1,)
        Symbol s is decoded from outputs in [thresholds[s-1], thresholds[s]); ascending.
    query_norm : float
        C, at least 0.
    guarantee : Guarantee or None
        When decoding with the guaranteed thresholds is proved, or None where no finite C is, or where the
        incoherence was not needed and so not measured.
    reader_tokens : int
        Tokens (0, 0) that Bob appends, at least 1.

    Raises
    ------
    ValueError
        If an argument is not as described.
    """

    keys: Floats
    value_dim: int
    levels: Levels
    thresholds: Levels
    query_norm: float
    guarantee: Guarantee | None = None
    reader_tokens: int = 1

    def __post_init__(self) -> None:
        check_unit_rows(self.keys)
        _check_reader_tokens(self.reader_tokens)
        if self.value_dim < 1:
            raise ValueError(f"value_dim must be at least 1, got {self.value_dim}")
        check_levels(self.levels)
        if self.thresholds.shape != (len(self.levels) - 1,) or not np.all(np.diff(self.thresholds) >= 0):
            raise ValueError(f"thresholds must be {len(self.levels) - 1} ascending numbers")
        if not 0 <= self.query_norm < inf:
            raise ValueError(f"query_norm must be finite and at least 0, got {self.query_norm}")

    @classmethod
    def binary(
        cls,
        keys: Floats,
        value_dim: int,
        *,
        eta: float = 0.0,
        incoherence: float | None = None,
        failure_probability: float = 0.0,
        query_norm: float | None = None,
        decoder: Decoder = "guaranteed",
        reader_tokens: int = 1,
    ) -> Self:
        """Write bits as values 0 and 1 (Theorem B).

        Parameters
        ----------
        keys : ndarray, shape (n, d)
            Unit keys, float32 or float64; tokens and queries take their type.
        value_dim : int
            Value dimension d_v, at least 1.
        eta : float
            Relative accuracy in [0, 1) of the attention that must be decoded.
        incoherence : float, optional
            A bound in [0, 1) on the inner products of the keys; measured if not given, at n^2 d operations.
        failure_probability : float
            Probability that the given bound does not hold.
        query_norm : float, optional
            C; by default the one that the guarantee asks for.
        decoder : {"guaranteed", "typical"}
            Threshold in the middle between the worst outputs of the two symbols, or 1/2.
        reader_tokens : int
            Tokens (0, 0) that Bob appends, at least 1.

        Returns
        -------
        ValuesEncoding
            Alphabet 2.

        Raises
        ------
        ValueError
            If an argument is not as described, or if two keys coincide and C is to be chosen.
        """
        return cls.from_levels(
            keys,
            value_dim,
            BINARY_LEVELS,
            eta=eta,
            incoherence=incoherence,
            failure_probability=failure_probability,
            query_norm=query_norm,
            decoder=decoder,
            reader_tokens=reader_tokens,
        )

    @classmethod
    def geometric(
        cls,
        keys: Floats,
        value_dim: int,
        *,
        alphabet: int | None = None,
        lowest: float = 1e-6,
        eta: float = 0.0,
        incoherence: float | None = None,
        failure_probability: float = 0.0,
        query_norm: float | None = None,
        decoder: Decoder = "guaranteed",
        reader_tokens: int = 1,
    ) -> Self:
        """Write symbols as geometric levels from `lowest` to 1 (theory 3, precision).

        At least one of `alphabet` and `query_norm` is given: either decides the other. Where levels are
        less than about 1e-3 apart relatively, keys must be float64 for attention to resolve them.

        Parameters
        ----------
        keys : ndarray, shape (n, d)
            Unit keys, float32 or float64.
        value_dim : int
            Value dimension d_v, at least 1.
        alphabet : int, optional
            Number q of levels, 2 to 2^24; by default all that `level_count` allows at `query_norm`.
        lowest : float
            The least level, in (0, 1).
        eta : float
            Relative accuracy in [0, 1).
        incoherence : float, optional
            A bound in [0, 1) on the inner products of the keys; measured if not given.
        failure_probability : float
            Probability that the given bound does not hold.
        query_norm : float, optional
            C; by default the one that the guarantee asks for.
        decoder : {"guaranteed", "typical"}
            Threshold in the middle between the worst outputs of neighbours, or their geometric mean.
        reader_tokens : int
            Tokens (0, 0) that Bob appends, at least 1.

        Returns
        -------
        ValuesEncoding
            Alphabet q.

        Raises
        ------
        ValueError
            If an argument is not as described, or so many levels cannot be told apart at this `eta`.
        """
        _check_lowest(lowest)
        if alphabet is None:
            if query_norm is None:
                raise ValueError("give alphabet or query_norm: each decides the other")
            incoherence = known_incoherence(keys, incoherence)
            alphabet = level_count(eta, query_norm, len(keys), incoherence, lowest)
        if not 2 <= alphabet <= _MOST_LEVELS:
            raise ValueError(f"alphabet must be 2 to {_MOST_LEVELS} levels, got {alphabet}")
        return cls.from_levels(
            keys,
            value_dim,
            np.geomspace(lowest, 1.0, alphabet),
            eta=eta,
            incoherence=incoherence,
            failure_probability=failure_probability,
            query_norm=query_norm,
            decoder=decoder,
            reader_tokens=reader_tokens,
        )

    @classmethod
    def from_levels(
        cls,
        keys: Floats,
        value_dim: int,
        levels: ArrayLike,
        *,
        eta: float = 0.0,
        incoherence: float | None = None,
        failure_probability: float = 0.0,
        query_norm: float | None = None,
        decoder: Decoder = "guaranteed",
        rivals: int | None = None,
        reader_tokens: int = 1,
    ) -> Self:
        """Write symbols as any ascending values.

        Parameters
        ----------
        keys : ndarray, shape (n, d)
            Unit keys, float32 or float64.
        value_dim : int
            Value dimension d_v, at least 1.
        levels : array_like, shape (q,)
            The value of each symbol: non-negative, ascending, q >= 2.
        eta : float
            Relative accuracy in [0, 1).
        incoherence : float, optional
            A bound in [0, 1) on the inner products of the keys; measured if not given.
        failure_probability : float
            Probability that the given bound does not hold.
        query_norm : float, optional
            C; by default the one that the guarantee asks for.
        decoder : {"guaranteed", "typical"}
            Threshold in the middle between the worst outputs of neighbours, or between their values.
        rivals : int, optional
            The guarantee allows all tokens but the one asked for, Bob's among them, a weight of so many keys
            with product `incoherence`; by default what Alice's n tokens and Bob's can come to, n where he appends one.
        reader_tokens : int
            Tokens (0, 0) that Bob appends, at least 1.

        Returns
        -------
        ValuesEncoding
            Alphabet q.

        Raises
        ------
        ValueError
            If an argument is not as described, or so many levels cannot be told apart at this `eta`.
        """
        check_eta(eta)
        levels = check_levels(np.array(levels, dtype=np.float64))
        if decoder not in ("guaranteed", "typical"):
            raise ValueError(f"decoder must be 'guaranteed' or 'typical', got {decoder!r}")
        _check_reader_tokens(reader_tokens)
        rivals = len(keys) - 1 + reader_tokens if rivals is None else rivals
        guarantee = None
        if decoder == "guaranteed" or query_norm is None or incoherence is not None:
            incoherence = known_incoherence(keys, incoherence)
            guarantee = values_guarantee(rivals, incoherence, eta, levels, failure_probability)
        if query_norm is None:
            if guarantee is None:
                raise ValueError(
                    f"no query norm tells keys of incoherence {incoherence} apart at eta {eta}; "
                    "give query_norm, other keys or fewer levels"
                )
            query_norm = guarantee.query_norm
        if decoder == "guaranteed":
            assert incoherence is not None
            thresholds = guaranteed_thresholds(levels, interference(rivals, query_norm, incoherence), eta)
        else:
            thresholds = typical_thresholds(levels)
        return cls(keys, value_dim, levels, thresholds, query_norm, guarantee, reader_tokens)

    @property
    def problem(self) -> Index:
        """INDEX on n d_v symbols."""
        return Index(self.tokens * self.value_dim, len(self.levels))

    @property
    def tokens(self) -> int:
        """Number n of tokens Alice writes."""
        return len(self.keys)

    @property
    def dim(self) -> int:
        """Key dimension d."""
        return int(self.keys.shape[1])

    @property
    def public_keys(self) -> Floats:
        """The keys, shape (n, d): public coins."""
        return self.keys

    def encode(self, x: Symbols) -> Tokens:
        """Return Alice's n tokens.

        Parameters
        ----------
        x : ndarray of int, shape (n d_v,)
            Symbols in 0..q-1.

        Returns
        -------
        Tokens
            The keys, and levels[x] as values.

        Raises
        ------
        ValueError
            If `x` is not a string of the problem.
        """
        rows = self.problem.check_string(x).reshape(self.tokens, self.value_dim)
        return Tokens(self.keys, self.levels.astype(self.keys.dtype)[rows])

    def reader_token(self) -> Tokens:
        """Return Bob's tokens: zero keys, zero values.

        Returns
        -------
        Tokens
            `reader_tokens` of them.
        """
        zeros = np.zeros((self.reader_tokens, self.dim + self.value_dim), self.keys.dtype)
        return Tokens(zeros[:, : self.dim], zeros[:, self.dim :])

    def queries(self, indices: Symbols) -> Floats:
        """Return C k_i for every token i that holds a symbol asked for, by ascending i.

        Parameters
        ----------
        indices : ndarray of int, shape (k,)
            Positions in 0..n d_v - 1.

        Returns
        -------
        ndarray, shape (m, d)
            One query per token.

        Raises
        ------
        ValueError
            If `indices` is empty or leaves the range.
        """
        asked = np.unique(self.problem.check_indices(indices) // self.value_dim)
        return self.keys[asked] * self.keys.dtype.type(self.query_norm)

    def decode(self, outputs: Floats, indices: Symbols) -> Symbols:
        """Return the symbols read from the outputs of `queries(indices)`.

        Parameters
        ----------
        outputs : ndarray, shape (m, d_v)
            One row per query.
        indices : ndarray of int, shape (k,)
            The positions asked for.

        Returns
        -------
        ndarray of int, shape (k,)
            Symbols in 0..q-1.

        Raises
        ------
        ValueError
            If a shape or an index does not fit.
        """
        token, channel = np.divmod(self.problem.check_indices(indices), self.value_dim)
        asked, row = np.unique(token, return_inverse=True)
        read = check_outputs(outputs, len(asked), self.value_dim)[row, channel]
        return np.searchsorted(self.thresholds, read, side="right").astype(self.problem.dtype)


def required_query_norm(
    tokens: int, incoherence: float, eta: float = 0.0, levels: ArrayLike = BINARY_LEVELS
) -> float:
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
    levels : array_like, shape (q,)
        The value of each symbol: non-negative, ascending, q >= 2.

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
    if tokens < 1:
        raise ValueError(f"tokens must be at least 1, got {tokens}")
    _check_incoherence(incoherence)
    resolution = _resolution(check_levels(np.array(levels, dtype=np.float64)), eta)
    if resolution <= 0:
        raise ValueError(f"eta {eta} is too coarse for these levels: no query norm tells all of them apart")
    return log(tokens / resolution) / (1 - incoherence)


def values_guarantee(
    tokens: int,
    incoherence: float,
    eta: float,
    levels: ArrayLike = BINARY_LEVELS,
    failure_probability: float = 0.0,
) -> Guarantee | None:
    """Return the guarantee at the required query norm plus `MARGIN_NATS`, or None if no finite norm has one.

    Parameters
    ----------
    tokens : int
        Number n of tokens, at least 1.
    incoherence : float
        eps in [0, 1].
    eta : float
        Relative accuracy in [0, 1).
    levels : array_like, shape (q,)
        The value of each symbol: non-negative, ascending, q >= 2.
    failure_probability : float
        Probability that the keys are more coherent, in [0, 1).

    Returns
    -------
    Guarantee or None
        None if eps = 1 or the levels are too close for `eta`.

    Raises
    ------
    ValueError
        If a number is out of its range.
    """
    if not 0 <= failure_probability < 1:
        raise ValueError(f"failure_probability must be in [0, 1), got {failure_probability}")
    if incoherence == 1 or _resolution(check_levels(np.array(levels, dtype=np.float64)), eta) <= 0:
        return None
    required = required_query_norm(tokens, incoherence, eta, levels)
    return Guarantee(required + MARGIN_NATS / (1 - incoherence), incoherence, eta, failure_probability)


def level_count(eta: float, query_norm: float, tokens: int, incoherence: float, lowest: float = 1e-6) -> int:
    """Return how many geometric levels a value can carry (theory 3, precision).

    The most L with lowest r^(L-1) <= 1 for a ratio r above (1+eta)/(1-eta) (1+kappa) (1+kappa/lowest).

    Parameters
    ----------
    eta : float
        Relative accuracy in [0, 1).
    query_norm : float
        C, at least 0.
    tokens : int
        Number n of tokens, at least 1.
    incoherence : float
        eps in [0, 1).
    lowest : float
        The least level, in (0, 1).

    Returns
    -------
    int
        L >= 1; 1 means that a value carries nothing.

    Raises
    ------
    ValueError
        If a number is out of its range.
    """
    check_eta(eta)
    _check_lowest(lowest)
    _check_incoherence(incoherence)
    kappa = interference(tokens, query_norm, incoherence)
    log_ratio = log1p(eta) - log1p(-eta) + log1p(kappa) + log1p(kappa / lowest)
    return ceil(-log(lowest) / (log_ratio + _FINEST_NATS))


def bits_per_value(
    eta: float, query_norm: float, tokens: int, incoherence: float, lowest: float = 1e-6
) -> float:
    """Return the floor log2 L in bits per stored value, for the L of `level_count`.

    Parameters
    ----------
    eta : float
        Relative accuracy in [0, 1).
    query_norm : float
        C, at least 0.
    tokens : int
        Number n of tokens, at least 1.
    incoherence : float
        eps in [0, 1).
    lowest : float
        The least level, in (0, 1).

    Returns
    -------
    float
        Bits, at least 0.

    Raises
    ------
    ValueError
        If a number is out of its range.

    Examples
    --------
    >>> round(bits_per_value(0.01, 80.0, 1024, 0.55), 2)
    9.43
    """
    return log2(level_count(eta, query_norm, tokens, incoherence, lowest))


def interference(tokens: int, query_norm: float, incoherence: float) -> float:
    """Return kappa = n e^{-C (1 - eps)}, a bound on the weight of all tokens but the one asked for.

    Parameters
    ----------
    tokens : int
        Number n of Alice's tokens: n - 1 others and Bob's, at least 1.
    query_norm : float
        C, at least 0.
    incoherence : float
        eps in [0, 1].

    Returns
    -------
    float
        Relative to the weight of the token asked for.

    Raises
    ------
    ValueError
        If `tokens` or `query_norm` is out of its range.
    """
    if tokens < 1:
        raise ValueError(f"tokens must be at least 1, got {tokens}")
    if not 0 <= query_norm < inf:
        raise ValueError(f"query_norm must be finite and at least 0, got {query_norm}")
    return tokens * exp(-query_norm * (1 - incoherence))


def guaranteed_thresholds(levels: Levels, kappa: float, eta: float) -> Levels:
    """Return the middle between the worst outputs of each pair of neighbours (see `ValuesEncoding`).

    Theory 3 takes the upper end, (1 - eta)/(1 + kappa) for bits. The middle proves the same and keeps
    rounding away from either end. Where the worst outputs overlap, so that nothing is proved, it is the upper
    end again: the upper symbol is then still read rightly.

    Parameters
    ----------
    levels : ndarray, shape (q,)
        Ascending values.
    kappa : float
        The `interference`.
    eta : float
        Relative accuracy in [0, 1).

    Returns
    -------
    ndarray, shape (q - 1,)
        Ascending.
    """
    least_of_upper = (1 - eta) * levels[1:] / (1 + kappa)
    most_of_lower = (1 + eta) * (levels[:-1] + kappa * levels[-1]) / (1 + kappa)
    middle: Levels = (least_of_upper + most_of_lower) / 2
    return np.minimum(middle, least_of_upper)


def typical_thresholds(levels: Levels) -> Levels:
    """Return the geometric mean of each pair of neighbours, and half of the upper one where the lower is 0.

    Right when the token asked for holds nearly all the weight; 1/2 for bits.

    Parameters
    ----------
    levels : ndarray, shape (q,)
        Ascending values.

    Returns
    -------
    ndarray, shape (q - 1,)
        Ascending.
    """
    lower, upper = levels[:-1], levels[1:]
    return np.where(lower == 0, upper / 2, np.sqrt(lower * upper))


def known_incoherence(keys: Floats, given: float | None) -> float:
    """Return the incoherence that was given, or else the measured one, at least 0.

    Scores of Bob's token are 0, so that a negative incoherence of the keys gives nothing (theory 3).

    Parameters
    ----------
    keys : ndarray, shape (n, d)
        Unit keys.
    given : float, optional
        A bound in [0, 1) that the caller answers for.

    Returns
    -------
    float
        eps in [0, 1]; 0 for a single key.

    Raises
    ------
    ValueError
        If the given number is out of its range or the keys are not unit vectors.
    """
    if given is not None:
        return _check_incoherence(given)
    return max(0.0, incoherence(keys)) if len(keys) > 1 else 0.0


def check_levels(levels: Levels) -> Levels:
    """Return `levels` if they can stand for symbols, else raise ValueError.

    Parameters
    ----------
    levels : ndarray of float64
        Candidate values.

    Returns
    -------
    ndarray, shape (q,)
        The same array.

    Raises
    ------
    ValueError
        If they are not at least two finite, non-negative, strictly ascending numbers.
    """
    if levels.ndim != 1 or levels.size < 2:
        raise ValueError(f"levels must be a vector of at least 2 numbers, got shape {levels.shape}")
    if not (levels[0] >= 0 and np.all(np.diff(levels) > 0) and isfinite(levels[-1])):
        raise ValueError("levels must be finite, non-negative and strictly ascending")
    return levels


def _resolution(levels: Levels, eta: float) -> float:
    """Return the kappa below which all neighbours are told apart (see `required_query_norm`)."""
    shrink = (1 - check_eta(eta)) / (1 + eta)
    return float(np.min(shrink * levels[1:] - levels[:-1]) / levels[-1])


def _check_incoherence(value: float) -> float:
    """Return the number if it lies in [0, 1), else raise ValueError."""
    if not 0 <= value < 1:
        raise ValueError(f"incoherence must be in [0, 1), got {value}")
    return value


def _check_reader_tokens(reader_tokens: int) -> int:
    """Return the number if it is at least 1, else raise ValueError."""
    if reader_tokens < 1:
        raise ValueError(f"reader_tokens must be at least 1, got {reader_tokens}")
    return reader_tokens


def _check_lowest(lowest: float) -> None:
    """Raise ValueError unless the number lies in (0, 1)."""
    if not 0 < lowest < 1:
        raise ValueError(f"lowest must be in (0, 1), got {lowest}")
