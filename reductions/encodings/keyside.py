"""INDEX in the keys, and in keys and values at once: keys are incompressible too (theory 3).

Token l has the key [a_l ; y_l/sqrt(d2) ; 0]: its address, a unit a_l in R^{d1}, and its bits y_l in
{+-1}^{d2}. Bob's token has the key [0 ; 0 ; 1] and the value 0. Every other value lies in [beta, 1]. Two
kinds of query go to token i:

- a key bit, [C a_i ; C' sqrt(d2) e_j ; C]. Relative to e^C, token i weighs e^{C' y_ij}, Bob's token 1 and the
  n - 1 others together at most kappa = (n-1) e^{C' - C (1 - eps)}. Put u = e^{-C'} and w = u + kappa. If
  y_ij = +1, the output is at least beta/(1+u), for it grows with the weight of the others; if y_ij = -1, it
  is at most w/(1+w).
- a value bit, [C a_i ; 0 ; 0]. The scores are those of INDEX in the values, Bob's is 0; what
  `kvfloor.reductions.encodings.values.ValuesEncoding` says of levels {beta, 1} holds.

So no channel need be constant: a key bit is read through a value that may itself be either of two levels, at
the price of ln(1/beta) in C', and n tokens carry n (d2 + d_v) bits. Keys alone have beta = 1.

*Constants.* Let rho = (1+eta)/(1-eta). Key bits decode under (1 +- eta) iff w/(1+w) < A for
A = beta/(rho (1+u)), that is kappa < A/(1-A) - u, which is positive iff C' > ln(rho/beta). At
C' = ln(2 rho/beta) it is 2u/(1-u) - u >= u, so that C > (2 C' + ln n)/(1-eps) suffices. Value bits need
n e^{-C (1-eps)} < 1/rho - beta: with beta = 1/(2 rho) this C meets it with room to spare.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, inf, log, log1p, sqrt
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from kvfloor.reductions.encodings.protocol import Floats, Guarantee, Tokens, check_eta, check_outputs
from kvfloor.reductions.encodings.values import (
    MARGIN_NATS,
    guaranteed_thresholds,
    interference,
    known_incoherence,
    required_query_norm,
)
from kvfloor.reductions.keys.projections import PROJECTIONS, FloatType, check_unit_rows, incoherence_bound
from kvfloor.reductions.problems.index import Index
from kvfloor.reductions.problems.strings import Symbols


@dataclass(frozen=True, slots=True, eq=False)
class KeysEncoding:
    """INDEX on n d2 bits in the keys or, with `lowest` < 1, on n (d2 + d_v) bits in keys and values.

    Symbol i (d2 + d_v) + j, or i d2 + j for keys alone, is bit j of key i for j < d2 and else bit j - d2 of
    value i. The key dimension is d1 + d2 + 1. The module proves when decoding is right.

    Build one by `from_addresses` or `draw`.

    Parameters
    ----------
    addresses : ndarray, shape (n, d1)
        Unit keys that tell tokens apart.
    bit_dim : int
        Bits d2 in a key, at least 1.
    value_dim : int
        Value dimension d_v, at least 1.
    lowest : float
        The value beta in (0, 1] that stands for the value bit 0. At 1 values are constant and hold no bits.
    query_norm : float
        C, at least 0: length of a query's address.
    bit_norm : float
        C', at least 0: a key bit moves the score of its token by +-C'.
    bit_threshold : float
        Outputs from here on decode to the key bit 1.
    value_threshold : float
        Outputs from here on decode to the value bit 1.
    guarantee : Guarantee or None
        When decoding is proved at this `bit_norm`, or None where no finite C is.

    Raises
    ------
    ValueError
        If an argument is not as described.
    """

    addresses: Floats
    bit_dim: int
    value_dim: int
    lowest: float
    query_norm: float
    bit_norm: float
    bit_threshold: float
    value_threshold: float
    guarantee: Guarantee | None = None

    def __post_init__(self) -> None:
        check_unit_rows(self.addresses)
        if self.bit_dim < 1 or self.value_dim < 1:
            raise ValueError(
                f"bit_dim and value_dim must be at least 1, got {self.bit_dim} and {self.value_dim}"
            )
        _check_lowest(self.lowest)
        for name, norm in (("query_norm", self.query_norm), ("bit_norm", self.bit_norm)):
            if not 0 <= norm < inf:
                raise ValueError(f"{name} must be finite and at least 0, got {norm}")

    @classmethod
    def from_addresses(
        cls,
        addresses: Floats,
        bit_dim: int,
        value_dim: int = 1,
        *,
        both: bool = False,
        eta: float = 0.0,
        incoherence: float | None = None,
        failure_probability: float = 0.0,
        query_norm: float | None = None,
        bit_norm: float | None = None,
    ) -> Self:
        """Write bits beside the given addresses.

        Parameters
        ----------
        addresses : ndarray, shape (n, d1)
            Unit keys, float32 or float64; tokens and queries take their type.
        bit_dim : int
            Bits d2 in a key, at least 1.
        value_dim : int
            Value dimension d_v, at least 1.
        both : bool
            Whether the values hold bits too.
        eta : float
            Relative accuracy in [0, 1) of the attention that must be decoded.
        incoherence : float, optional
            A bound in [0, 1) on the inner products of the addresses; measured if not given.
        failure_probability : float
            Probability that the given bound does not hold.
        query_norm : float, optional
            C; by default the one that the guarantee asks for.
        bit_norm : float, optional
            C'; ln(2 rho/beta) by default, which makes C least but for lower-order terms.

        Returns
        -------
        KeysEncoding
            Alphabet 2.

        Raises
        ------
        ValueError
            If an argument is not as described, or if no C is sufficient and none is given.
        """
        incoherence = known_incoherence(addresses, incoherence)
        lowest = 1 / (2 * _accuracy_ratio(eta)) if both else 1.0
        if bit_norm is None:
            bit_norm = required_bit_norm(eta, lowest) + log(2)
        tokens = len(addresses)
        guarantee = keys_guarantee(tokens, incoherence, eta, bit_norm, lowest, failure_probability)
        if query_norm is None:
            if guarantee is None:
                raise ValueError(
                    f"no query norm decodes addresses of incoherence {incoherence} with bit_norm {bit_norm} "
                    f"at eta {eta}; give query_norm, other addresses or a larger bit_norm"
                )
            query_norm = guarantee.query_norm
        kappa = interference(tokens, query_norm, incoherence)
        return cls(
            addresses,
            bit_dim,
            value_dim,
            lowest,
            query_norm,
            bit_norm,
            _bit_threshold(tokens, query_norm * (1 - incoherence), eta, bit_norm, lowest),
            float(guaranteed_thresholds(np.array([lowest, 1.0]), kappa, eta)[0]),
            guarantee,
        )

    @classmethod
    def draw(
        cls,
        tokens: int,
        dim: int,
        value_dim: int,
        rng: np.random.Generator,
        *,
        address_dim: int | None = None,
        projection: str = "gaussian",
        dtype: FloatType = np.float64,
        both: bool = False,
        eta: float = 0.0,
        failure_probability: float | None = None,
        query_norm: float | None = None,
        bit_norm: float | None = None,
    ) -> Self:
        """Draw the addresses, too.

        Parameters
        ----------
        tokens : int
            Number n of tokens, at least 1.
        dim : int
            Key dimension d = d1 + d2 + 1, at least 3.
        value_dim : int
            Value dimension d_v, at least 1.
        rng : numpy.random.Generator
            Source of the addresses.
        address_dim : int, optional
            d1 in 1..d-2; by default half of d - 1, rounded up, so that half of the key is bits.
        projection : str
            A name in `kvfloor.reductions.keys.projections.PROJECTIONS`.
        dtype : {numpy.float64, numpy.float32}
            Precision of keys, values and queries.
        both : bool
            Whether the values hold bits too.
        eta : float
            Relative accuracy in [0, 1) of the attention that must be decoded.
        failure_probability : float, optional
            If given, the incoherence is bounded with this probability, not measured at n^2 d1 operations.
        query_norm : float, optional
            C; by default the one that the guarantee asks for.
        bit_norm : float, optional
            C'; chosen by default.

        Returns
        -------
        KeysEncoding
            Alphabet 2.

        Raises
        ------
        ValueError
            If an argument is not as described, or if no C is sufficient and none is given.
        """
        if dim < 3:
            raise ValueError(f"dim must be at least 3 (an address, a bit and Bob's coordinate), got {dim}")
        if address_dim is None:
            address_dim = dim // 2
        if not 1 <= address_dim <= dim - 2:
            raise ValueError(f"address_dim must be in 1..{dim - 2}, got {address_dim}")
        if projection not in PROJECTIONS:
            raise ValueError(f"projection must be one of {', '.join(PROJECTIONS)}, got {projection!r}")
        addresses = PROJECTIONS[projection](tokens, address_dim, rng, dtype)
        bound = None
        if failure_probability is not None and tokens > 1:
            bound = incoherence_bound(projection, tokens, address_dim, failure_probability)
        return cls.from_addresses(
            addresses,
            dim - 1 - address_dim,
            value_dim,
            both=both,
            eta=eta,
            incoherence=bound,
            failure_probability=0.0 if bound is None else failure_probability or 0.0,
            query_norm=query_norm,
            bit_norm=bit_norm,
        )

    @property
    def problem(self) -> Index:
        """INDEX on the bits of all tokens."""
        return Index(self.tokens * self.bits_per_token)

    @property
    def bits_per_token(self) -> int:
        """The d2 bits of a key, and the d_v of a value where values hold bits."""
        return self.bit_dim + (self.value_dim if self.lowest < 1 else 0)

    @property
    def tokens(self) -> int:
        """Number n of tokens Alice writes."""
        return len(self.addresses)

    @property
    def address_dim(self) -> int:
        """Dimension d1 of the addresses."""
        return int(self.addresses.shape[1])

    @property
    def dim(self) -> int:
        """Key dimension d = d1 + d2 + 1."""
        return self.address_dim + self.bit_dim + 1

    @property
    def public_keys(self) -> None:
        """None: the keys hold Alice's bits."""
        return

    def encode(self, x: Symbols) -> Tokens:
        """Return Alice's n tokens.

        Parameters
        ----------
        x : ndarray of int, shape (N,)
            Bits.

        Returns
        -------
        Tokens
            Keys of norm sqrt(2), values in [lowest, 1].

        Raises
        ------
        ValueError
            If `x` is not a string of the problem.
        """
        bits = self.problem.check_string(x).reshape(self.tokens, self.bits_per_token)
        dtype = self.addresses.dtype
        signs = np.array([-1, 1], dtype=dtype) / dtype.type(sqrt(self.bit_dim))
        levels = np.array([self.lowest, 1.0], dtype=dtype)
        keys = np.zeros((self.tokens, self.dim), dtype=dtype)
        keys[:, : self.address_dim] = self.addresses
        keys[:, self.address_dim : -1] = signs[bits[:, : self.bit_dim]]
        values = np.ones((self.tokens, self.value_dim), dtype=dtype)
        if self.lowest < 1:
            values = levels[bits[:, self.bit_dim :]]
        return Tokens(keys, values)

    def reader_token(self) -> Tokens:
        """Return Bob's token: key [0 ; 0 ; 1], value 0.

        Returns
        -------
        Tokens
            One token.
        """
        key = np.zeros((1, self.dim), dtype=self.addresses.dtype)
        key[0, -1] = 1
        return Tokens(key, np.zeros((1, self.value_dim), dtype=self.addresses.dtype))

    def queries(self, indices: Symbols) -> Floats:
        """Return one query for each key bit asked for and one for all bits of a value, by ascending symbol.

        Parameters
        ----------
        indices : ndarray of int, shape (k,)
            Positions in 0..N-1.

        Returns
        -------
        ndarray, shape (m, d)
            Pairwise different queries.

        Raises
        ------
        ValueError
            If `indices` is empty or leaves the range.
        """
        token, bit = np.divmod(np.unique(self._questions(indices)), self.bit_dim + 1)
        queries = np.zeros((len(token), self.dim), dtype=self.addresses.dtype)
        queries[:, : self.address_dim] = self.addresses[token]
        queries[:, : self.address_dim] *= self.query_norm
        in_key = np.flatnonzero(bit < self.bit_dim)
        queries[in_key, self.address_dim + bit[in_key]] = self.bit_norm * sqrt(self.bit_dim)
        queries[in_key, -1] = self.query_norm
        return queries

    def decode(self, outputs: Floats, indices: Symbols) -> Symbols:
        """Return the bits read from the outputs of `queries(indices)`.

        Parameters
        ----------
        outputs : ndarray, shape (m, d_v)
            One row per query; a key bit is read from channel 0.
        indices : ndarray of int, shape (k,)
            The positions asked for.

        Returns
        -------
        ndarray of uint8, shape (k,)
            Bits.

        Raises
        ------
        ValueError
            If a shape or an index does not fit.
        """
        asked, row = np.unique(self._questions(indices), return_inverse=True)
        place = np.asarray(indices) % self.bits_per_token
        outputs = check_outputs(outputs, len(asked), self.value_dim)
        read = outputs[row, np.maximum(place - self.bit_dim, 0)]
        return (read >= np.where(place < self.bit_dim, self.bit_threshold, self.value_threshold)).astype(
            np.uint8
        )

    def _questions(self, indices: Symbols) -> NDArray[np.int64]:
        """Return the number of each query: token i has d2 for its key bits, then one for its value."""
        token, place = np.divmod(self.problem.check_indices(indices), self.bits_per_token)
        return token * (self.bit_dim + 1) + np.minimum(place, self.bit_dim)


def required_bit_norm(eta: float = 0.0, lowest: float = 1.0) -> float:
    """Return the C' above which some C decodes key bits: ln(rho/beta).

    Parameters
    ----------
    eta : float
        Relative accuracy in [0, 1).
    lowest : float
        Least value beta of a token, in (0, 1].

    Returns
    -------
    float
        An infimum: any larger C' has a sufficient C.

    Raises
    ------
    ValueError
        If a number is out of its range.
    """
    _check_lowest(lowest)
    return log(_accuracy_ratio(eta) / lowest)


def required_address_norm(
    tokens: int, incoherence: float, eta: float, bit_norm: float, lowest: float = 1.0
) -> float:
    """Return the C above which key bits decode from every (1 +- eta)-approximation.

    Parameters
    ----------
    tokens : int
        Number n of tokens, at least 1.
    incoherence : float
        eps in [0, 1) of the addresses.
    eta : float
        Relative accuracy in [0, 1).
    bit_norm : float
        C', above `required_bit_norm`.
    lowest : float
        Least value beta of a token, in (0, 1].

    Returns
    -------
    float
        (C' + ln((n-1)/(A/(1-A) - u)))/(1-eps), at least 0, in the terms of the module.

    Raises
    ------
    ValueError
        If a number is out of its range.
    """
    if tokens < 1:
        raise ValueError(f"tokens must be at least 1, got {tokens}")
    if not 0 <= incoherence < 1:
        raise ValueError(f"incoherence must be in [0, 1), got {incoherence}")
    least = required_bit_norm(eta, lowest)
    if not least < bit_norm < inf:
        raise ValueError(f"bit_norm must be finite and above {least:.6g} at eta {eta}, got {bit_norm}")
    if tokens == 1:
        return 0.0
    # A/(1-A) - u = (beta - rho u)(1+u)/(rho (1+u) - beta), without the cancellation.
    rho, u = _accuracy_ratio(eta), exp(-bit_norm)
    kappa = (lowest - rho * u) * (1 + u) / (rho - lowest + rho * u)
    return max(0.0, bit_norm + log(tokens - 1) - log(kappa)) / (1 - incoherence)


def keys_guarantee(
    tokens: int,
    incoherence: float,
    eta: float,
    bit_norm: float,
    lowest: float = 1.0,
    failure_probability: float = 0.0,
) -> Guarantee | None:
    """Return the guarantee for key bits and, if `lowest` < 1, value bits; None if no finite C has one.

    Parameters
    ----------
    tokens : int
        Number n of tokens, at least 1.
    incoherence : float
        eps in [0, 1] of the addresses.
    eta : float
        Relative accuracy in [0, 1).
    bit_norm : float
        C', at least 0.
    lowest : float
        Least value beta of a token, in (0, 1].
    failure_probability : float
        Probability that the addresses are more coherent, in [0, 1).

    Returns
    -------
    Guarantee or None
        With the larger of the two required norms, plus the margin of `kvfloor.reductions.encodings.values`.

    Raises
    ------
    ValueError
        If a number is out of its range.
    """
    if not 0 <= failure_probability < 1:
        raise ValueError(f"failure_probability must be in [0, 1), got {failure_probability}")
    if incoherence == 1 or bit_norm <= required_bit_norm(eta, lowest):
        return None
    required = required_address_norm(tokens, incoherence, eta, bit_norm, lowest)
    if lowest < 1:
        required = max(required, required_query_norm(tokens, incoherence, eta, (lowest, 1.0)))
    return Guarantee(required + MARGIN_NATS / (1 - incoherence), incoherence, eta, failure_probability)


def _bit_threshold(tokens: int, gap: float, eta: float, bit_norm: float, lowest: float) -> float:
    """Return the middle between the worst outputs of the two key bits; `gap` is C (1 - eps)."""
    log_others = log(tokens - 1) + bit_norm - gap if tokens > 1 else -inf
    most_of_zero = (1 + eta) * float(expit(np.logaddexp(-bit_norm, log_others)))
    least_of_one = (1 - eta) * lowest * float(expit(bit_norm))
    return (most_of_zero + least_of_one) / 2


def _accuracy_ratio(eta: float) -> float:
    """Return rho = (1+eta)/(1-eta)."""
    return exp(log1p(check_eta(eta)) - log1p(-eta))


def _check_lowest(lowest: float) -> None:
    """Raise ValueError unless the number lies in (0, 1]."""
    if not 0 < lowest <= 1:
        raise ValueError(f"lowest must be in (0, 1], got {lowest}")
