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
from math import exp, inf, log, sqrt
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from kvfloor.reductions.accuracy import EXACT, Accuracy, Guarantee, accuracy_ratio
from kvfloor.reductions.checks import Floats, check_count, check_norm, check_outputs, check_within
from kvfloor.reductions.encodings.levels import ByReading, Levels, Reading, chosen_norm
from kvfloor.reductions.encodings.protocol import Tokens
from kvfloor.reductions.encodings.values import interference, required_query_norm
from kvfloor.reductions.keys.known import Keys
from kvfloor.reductions.problems.index import Index
from kvfloor.reductions.problems.strings import Symbols


@dataclass(frozen=True, slots=True)
class Layout:
    """What a token holds beside its address.

    Parameters
    ----------
    bit_dim : int
        Bits d2 in a key, at least 1.
    value_dim : int
        Value dimension d_v, at least 1.
    both : bool
        Whether the values hold bits, too; else they are 1.

    Raises
    ------
    ValueError
        If a number is below 1.

    Examples
    --------
    >>> Layout.of_half(128, value_dim=64, both=True).bits_per_token
    127
    """

    bit_dim: int
    value_dim: int = 1
    both: bool = False

    def __post_init__(self) -> None:
        if self.bit_dim < 1 or self.value_dim < 1:
            raise ValueError(
                f"bit_dim and value_dim must be at least 1, got {self.bit_dim} and {self.value_dim}"
            )

    @classmethod
    def of_half(cls, dim: int, value_dim: int = 1, both: bool = False) -> Self:
        """Return the layout of keys of d >= 3 dimensions whose addresses have floor(d/2) of them."""
        if dim < 3:
            raise ValueError(f"dim must be at least 3 (an address, a bit and Bob's coordinate), got {dim}")
        return cls(dim - 1 - dim // 2, value_dim, both)

    @property
    def bits_per_token(self) -> int:
        """The d2 bits of a key, and the d_v of a value where values hold bits."""
        return self.bit_dim + self.value_dim * self.both

    def lowest(self, eta: float) -> float:
        """Return the value beta that stands for the value bit 0 at that accuracy; 1 where values hold no bits."""
        return 1 / (2 * accuracy_ratio(eta)) if self.both else 1.0


@dataclass(frozen=True, slots=True, eq=False)
class KeysEncoding(ByReading):
    """INDEX on n d2 bits in the keys or, if both hold bits, on n (d2 + d_v) bits in keys and values.

    Symbol i (d2 + d_v) + j, or i d2 + j for keys alone, is bit j of key i for j < d2 and else bit j - d2 of
    value i. The key dimension is d1 + d2 + 1. The module proves when decoding is right.

    `build` chooses how it is read.

    Parameters
    ----------
    addresses : Keys
        n of d1 dimensions, that tell tokens apart.
    layout : Layout
        What a token holds beside its address.
    lowest : float
        The value beta in (0, 1] that stands for the value bit 0.
    bit_norm : float
        C', at least 0: a key bit moves the score of its token by +-C'.
    reading : Reading
        C is the length of a query's address. Outputs from the first threshold on decode to the key bit 1, from
        the second on to the value bit 1; proved at this `bit_norm`.

    Raises
    ------
    ValueError
        If an argument is not as described.
    """

    addresses: Keys
    layout: Layout
    lowest: float
    bit_norm: float
    reading: Reading

    def __post_init__(self) -> None:
        check_within("lowest", self.lowest, "(0, 1]")
        check_norm("bit_norm", self.bit_norm)

    @classmethod
    def build(
        cls,
        addresses: Keys,
        layout: Layout,
        accuracy: Accuracy = EXACT,
        query_norm: float | None = None,
        bit_norm: float | None = None,
    ) -> Self:
        """Write bits beside the given addresses.

        Parameters
        ----------
        addresses, layout
            Those of the class.
        accuracy : Accuracy
            The noise that decoding must survive, in the worst case: there is no typical decoder.
        query_norm : float, optional
            C; by default the one that the guarantee asks for.
        bit_norm : float, optional
            C'; `chosen_bit_norm` by default.

        Returns
        -------
        KeysEncoding
            Alphabet 2.

        Raises
        ------
        ValueError
            If an argument is not as described, or if no C is sufficient and none is given.
        """
        if accuracy.decoder != "guaranteed":
            raise ValueError(f"bits in keys have only the guaranteed decoder, got {accuracy.decoder!r}")
        eps, eta, tokens = addresses.incoherence(), accuracy.eta, len(addresses)
        lowest = layout.lowest(eta)
        bit_norm = chosen_bit_norm(eta, lowest) if bit_norm is None else bit_norm
        guarantee = keys_guarantee(tokens, eps, eta, bit_norm, lowest, addresses.failure_probability)
        norm = chosen_norm(
            query_norm,
            guarantee,
            f"decodes addresses of incoherence {eps} with bit_norm {bit_norm} at eta {eta}; "
            "give query_norm, other addresses or a larger bit_norm",
        )
        of_key = _bit_threshold(tokens, norm * (1 - eps), eta, bit_norm, lowest)
        of_value = 1.0
        if layout.both:
            kappa = interference(tokens, norm, eps)
            of_value = float(Levels.of([lowest, 1.0]).thresholds(accuracy, kappa)[0])
        return cls(
            addresses, layout, lowest, bit_norm, Reading(norm, np.array([of_key, of_value]), guarantee)
        )

    @property
    def problem(self) -> Index:
        """INDEX on the bits of all tokens."""
        return Index(self.tokens * self.layout.bits_per_token)

    @property
    def tokens(self) -> int:
        """Number n of tokens Alice writes."""
        return len(self.addresses)

    @property
    def dim(self) -> int:
        """Key dimension d = d1 + d2 + 1."""
        return self.addresses.dim + self.layout.bit_dim + 1

    @property
    def value_dim(self) -> int:
        """Value dimension d_v."""
        return self.layout.value_dim

    @property
    def public_keys(self) -> None:
        """None: the keys hold Alice's bits."""
        return

    def encode(self, x: Symbols) -> Tokens:
        """Return keys of norm sqrt(2) and values in [lowest, 1]; see `Encoding.encode`."""
        bits = self.problem.check_string(x).reshape(self.tokens, self.layout.bits_per_token)
        dtype, bit_dim = self.addresses.dtype, self.layout.bit_dim
        signs = np.array([-1, 1], dtype=dtype) / dtype.type(sqrt(bit_dim))
        keys = np.zeros((self.tokens, self.dim), dtype=dtype)
        keys[:, : self.addresses.dim] = self.addresses.rows
        keys[:, self.addresses.dim : -1] = signs[bits[:, :bit_dim]]
        values = np.ones((self.tokens, self.value_dim), dtype=dtype)
        if self.layout.both:
            values = np.array([self.lowest, 1.0], dtype=dtype)[bits[:, bit_dim:]]
        return Tokens(keys, values)

    def reader_token(self) -> Tokens:
        """Return Bob's token: key [0 ; 0 ; 1], value 0."""
        key = np.zeros((1, self.dim), dtype=self.addresses.dtype)
        key[0, -1] = 1
        return Tokens(key, np.zeros((1, self.value_dim), dtype=self.addresses.dtype))

    def queries(self, indices: Symbols) -> Floats:
        """Return one query for each key bit asked for and one for all bits of a value, by ascending symbol.

        See `Encoding.queries`.
        """
        bit_dim, address_dim = self.layout.bit_dim, self.addresses.dim
        token, bit = np.divmod(np.unique(self._questions(indices)), bit_dim + 1)
        queries = np.zeros((len(token), self.dim), dtype=self.addresses.dtype)
        queries[:, :address_dim] = self.addresses.rows[token]
        queries[:, :address_dim] *= self.query_norm
        in_key = np.flatnonzero(bit < bit_dim)
        queries[in_key, address_dim + bit[in_key]] = self.bit_norm * sqrt(bit_dim)
        queries[in_key, -1] = self.query_norm
        return queries

    def decode(self, outputs: Floats, indices: Symbols) -> Symbols:
        """Return the bits read from the outputs of `queries(indices)`, key bits from channel 0.

        See `Encoding.decode`.
        """
        asked, row = np.unique(self._questions(indices), return_inverse=True)
        place, bit_dim = np.asarray(indices) % self.layout.bits_per_token, self.layout.bit_dim
        outputs = check_outputs(outputs, len(asked), self.value_dim)
        read = outputs[row, np.maximum(place - bit_dim, 0)]
        of_key, of_value = self.reading.thresholds
        bits: Symbols = (read >= np.where(place < bit_dim, of_key, of_value)).astype(np.uint8)
        return bits

    def _questions(self, indices: Symbols) -> NDArray[np.int64]:
        """Return the number of each query: token i has d2 for its key bits, then one for its value."""
        token, place = np.divmod(self.problem.check_indices(indices), self.layout.bits_per_token)
        return token * (self.layout.bit_dim + 1) + np.minimum(place, self.layout.bit_dim)


def required_bit_norm(eta: float = 0.0, lowest: float = 1.0) -> float:
    """Return the C' above which some C decodes key bits: ln(rho/beta), for `eta` and `lowest` as below."""
    check_within("lowest", lowest, "(0, 1]")
    return log(accuracy_ratio(eta) / lowest)


def chosen_bit_norm(eta: float = 0.0, lowest: float = 1.0) -> float:
    """Return the C' that makes C least but for lower-order terms: `required_bit_norm` plus ln 2."""
    return required_bit_norm(eta, lowest) + log(2)


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
    check_count("tokens", tokens)
    check_within("incoherence", incoherence, "[0, 1)")
    least = required_bit_norm(eta, lowest)
    if not least < bit_norm < inf:
        raise ValueError(f"bit_norm must be finite and above {least:.6g} at eta {eta}, got {bit_norm}")
    if tokens == 1:
        return 0.0
    # A/(1-A) - u = (beta - rho u)(1+u)/(rho (1+u) - beta), without the cancellation.
    rho, u = accuracy_ratio(eta), exp(-bit_norm)
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
    """Return the guarantee for key bits and, if `lowest` < 1, value bits; None if eps = 1 or `bit_norm` is too small.

    Its norm lies above `required_address_norm`, whose parameters these are, and above what value bits need.
    """
    if incoherence == 1 or bit_norm <= required_bit_norm(eta, lowest):
        return None
    required = required_address_norm(tokens, incoherence, eta, bit_norm, lowest)
    if lowest < 1:
        required = max(required, required_query_norm(tokens, incoherence, eta, Levels.of([lowest, 1.0])))
    return Guarantee.above(required, incoherence, eta, failure_probability)


def _bit_threshold(tokens: int, gap: float, eta: float, bit_norm: float, lowest: float) -> float:
    """Return the middle between the worst outputs of the two key bits; `gap` is C (1 - eps)."""
    log_others = log(tokens - 1) + bit_norm - gap if tokens > 1 else -inf
    most_of_zero = (1 + eta) * float(expit(np.logaddexp(-bit_norm, log_others)))
    least_of_one = (1 - eta) * lowest * float(expit(bit_norm))
    return (most_of_zero + least_of_one) / 2
