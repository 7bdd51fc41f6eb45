"""INDEX in both values of tensor attention: 2 n d_v bits for four caches (theory 7).

Addresses k_0..k_n in R^{d/2}, of incoherence eps, are public coins. On either side token l holds d_v bits in
its value; its keys are [k_l ; 1] on the first side and [1 ; k_l] on the second, so that

    <C [k_i ; k_j], k1_a o k2_b> = C (<k_i, k_a> + <k_j, k_b>):

a query C [k_i ; k_j] picks the pair (i, j). Bob's token is the sentinel n, whose values are all ones: the
pair (i, n) reads V1_i and the pair (n, j) reads V2_j. Without it, only products of values can be read.

*Constants.* Scores add up, so weights multiply and the output is the product of two ordinary attention
outputs, one a side. With w = n e^{-C (1 - eps)}, the n other tokens of a side weigh at most w relative to the
one picked. Let bit x of V1_i be read. Its side's factor is at least 1/(1+w) if x = 1 and at most w/(1+w) if
x = 0; the sentinel's factor lies in [1/(1+w), 1]. Hence the exact output

    x = 1:  is at least 1/(1+w)^2,        x = 0:  is at most w/(1+w).

With equiangular addresses the second is attained where all other values are one, the first up to a factor
1 + w/n where they are zero (the sentinel's own value adds it). Every (1 +- eta)-approximation decodes if (1+eta) w/(1+w) < (1-eta)/(1+w)^2, that is w (1+w) < r for
r = (1-eta)/(1+eta), that is

    C > ln(n / w*)/(1 - eps),      w* = (sqrt(1 + 4 r) - 1)/2.

*Longer streams.* Written m > 1 times, with the sentinel at the end of every round, the token picked weighs
m e^C and all others of a side, Bob's sentinel among them, at most (m n + 1) e^{C eps} <= m (n + 1) e^{C eps};
if the sentinel is picked the others weigh at most m n e^{C eps}. So n + 1 in the place of n suffices,
whatever m: in few dimensions, where n + 1 is a packing number, C stays bounded as the stream grows.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, log, sqrt
from typing import Self

import numpy as np
from numpy.typing import NDArray

from kvfloor.reductions.encodings.protocol import Floats, Guarantee, TensorTokens, check_eta, check_outputs
from kvfloor.reductions.encodings.values import MARGIN_NATS, Decoder, interference, known_incoherence
from kvfloor.reductions.keys.projections import check_unit_rows
from kvfloor.reductions.problems.index import Index
from kvfloor.reductions.problems.strings import Symbols


@dataclass(frozen=True, slots=True, eq=False)
class TensorEncoding:
    """INDEX on 2 n d_v bits: n d_v in the values of either side.

    Symbol i d_v + j is entry j of V1_i, and symbol n d_v + i d_v + j is entry j of V2_i. The module proves
    when decoding is right. Build one by `binary`.

    Parameters
    ----------
    addresses : ndarray, shape (n + 1, d/2)
        Unit keys, public coins; the last is the sentinel's.
    value_dim : int
        Value dimension d_v, at least 1.
    query_norm : float
        C, at least 0: length of either half of a query.
    threshold : float
        Outputs from here on decode to 1.
    guarantee : Guarantee or None
        When decoding is proved, or None where no finite C is.
    sentinel : bool
        Whether Bob's token is the sentinel; else its values are zero, and nothing is proved.
    rounds : int
        How often Alice writes the n tokens; beyond 1 the sentinel ends each of her rounds, too.

    Raises
    ------
    ValueError
        If an argument is not as described.
    """

    addresses: Floats
    value_dim: int
    query_norm: float
    threshold: float
    guarantee: Guarantee | None = None
    sentinel: bool = True
    rounds: int = 1

    def __post_init__(self) -> None:
        check_unit_rows(self.addresses)
        if self.rounds < 1:
            raise ValueError(f"rounds must be at least 1, got {self.rounds}")
        if self.value_dim < 1:
            raise ValueError(f"value_dim must be at least 1, got {self.value_dim}")
        if not 0 <= self.query_norm < inf:
            raise ValueError(f"query_norm must be finite and at least 0, got {self.query_norm}")

    @classmethod
    def binary(
        cls,
        addresses: Floats,
        value_dim: int,
        *,
        eta: float = 0.0,
        incoherence: float | None = None,
        failure_probability: float = 0.0,
        query_norm: float | None = None,
        decoder: Decoder = "guaranteed",
        sentinel: bool = True,
        rounds: int = 1,
    ) -> Self:
        """Write bits as values 0 and 1.

        Parameters
        ----------
        addresses : ndarray, shape (n + 1, d/2)
            Unit keys, float32 or float64; tokens and queries take their type.
        value_dim : int
            Value dimension d_v, at least 1.
        eta : float
            Relative accuracy in [0, 1) of the attention that must be decoded.
        incoherence : float, optional
            A bound in [0, 1) on the inner products of the addresses; measured if not given.
        failure_probability : float
            Probability that the given bound does not hold.
        query_norm : float, optional
            C; by default the one that the guarantee asks for.
        decoder : {"guaranteed", "typical"}
            Threshold in the middle between the worst outputs of the two bits, or 1/2.
        sentinel : bool
            Whether Bob's token is the sentinel.
        rounds : int
            How often Alice writes the tokens.

        Returns
        -------
        TensorEncoding
            Alphabet 2.

        Raises
        ------
        ValueError
            If an argument is not as described, or if two addresses coincide and C is to be chosen.
        """
        tokens = len(addresses) - 1
        if tokens < 1:
            raise ValueError(
                f"addresses must be at least 2, of a token and the sentinel; got {len(addresses)}"
            )
        incoherence = known_incoherence(addresses, incoherence)
        rivals = tokens if rounds == 1 else tokens + 1
        guarantee = None
        if incoherence < 1:
            required = required_tensor_norm(rivals, incoherence, eta) + MARGIN_NATS / (1 - incoherence)
            guarantee = Guarantee(required, incoherence, eta, failure_probability)
        if query_norm is None:
            if guarantee is None:
                raise ValueError(
                    f"no query norm tells addresses of incoherence {incoherence} apart; give query_norm or "
                    "other addresses"
                )
            query_norm = guarantee.query_norm
        others = interference(rivals, query_norm, incoherence)
        least_of_one, most_of_zero = (1 - eta) / (1 + others) ** 2, (1 + eta) * others / (1 + others)
        threshold = min((least_of_one + most_of_zero) / 2, least_of_one)
        if decoder == "typical":
            threshold = 0.5
        return cls(addresses, value_dim, query_norm, threshold, guarantee, sentinel, rounds)

    @property
    def problem(self) -> Index:
        """INDEX on 2 n d_v bits."""
        return Index(2 * self.addressed * self.value_dim)

    @property
    def addressed(self) -> int:
        """Number n of tokens that hold bits."""
        return len(self.addresses) - 1

    @property
    def tokens(self) -> int:
        """Number of tokens Alice writes: n, or rounds (n + 1) where there are several rounds."""
        return self.addressed if self.rounds == 1 else self.rounds * (self.addressed + 1)

    @property
    def dim(self) -> int:
        """Key dimension d, twice that of the addresses."""
        return 2 * int(self.addresses.shape[1])

    @property
    def public_keys(self) -> Floats:
        """The keys of Alice's tokens on both sides, shape (n, 2 d): public coins."""
        return np.hstack(self._keys(self._in_rounds(self.addresses)))

    def encode(self, x: Symbols) -> TensorTokens:
        """Return Alice's n tokens.

        Parameters
        ----------
        x : ndarray of int, shape (2 n d_v,)
            Bits.

        Returns
        -------
        TensorTokens
            Keys [k_l ; 1] and [1 ; k_l], and the bits as values of either side.

        Raises
        ------
        ValueError
            If `x` is not a string of the problem.
        """
        bits = self.problem.check_string(x).reshape(2, self.addressed, self.value_dim)
        last = np.full((1, self.value_dim), self.sentinel)
        first, second = (
            self._in_rounds(np.vstack([side, last])) for side in bits.astype(self.addresses.dtype)
        )
        keys1, keys2 = self._keys(self._in_rounds(self.addresses))
        return TensorTokens(keys1, first, keys2, second)

    def reader_token(self) -> TensorTokens:
        """Return Bob's token: the sentinel, whose values are all ones.

        Returns
        -------
        TensorTokens
            One token.
        """
        keys1, keys2 = self._keys(self.addresses[-1:])
        values = np.full((1, self.value_dim), float(self.sentinel), self.addresses.dtype)
        return TensorTokens(keys1, values, keys2, values)

    def queries(self, indices: Symbols) -> Floats:
        """Return C [k_i ; k_n] for tokens asked for on the first side, then C [k_n ; k_j] on the second.

        Parameters
        ----------
        indices : ndarray of int, shape (k,)
            Positions in 0..2 n d_v - 1.

        Returns
        -------
        ndarray, shape (m, d)
            One query per side and token.

        Raises
        ------
        ValueError
            If `indices` is empty or leaves the range.
        """
        second, token = np.divmod(np.unique(self._questions(indices)), self.addressed)
        last = self.addressed
        picked = np.where(second == 0, token, last), np.where(second == 1, token, last)
        halves = np.hstack([self.addresses[places] for places in picked])
        return halves * self.addresses.dtype.type(self.query_norm)

    def decode(self, outputs: Floats, indices: Symbols) -> Symbols:
        """Return the bits read from the outputs of `queries(indices)`.

        Parameters
        ----------
        outputs : ndarray, shape (m, d_v)
            One row per query.
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
        read = check_outputs(outputs, len(asked), self.value_dim)[row, np.asarray(indices) % self.value_dim]
        return (read >= self.threshold).astype(np.uint8)

    def _questions(self, indices: Symbols) -> NDArray[np.int64]:
        """Return the number of each query: i for V1_i, n + j for V2_j."""
        return self.problem.check_indices(indices) // self.value_dim

    def _in_rounds(self, rows: Floats) -> Floats:
        """Return rows of the tokens and the sentinel as Alice writes them."""
        return rows[:-1] if self.rounds == 1 else np.tile(rows, (self.rounds, 1))

    def _keys(self, addresses: Floats) -> tuple[Floats, Floats]:
        """Return keys of both sides: each address in its own half, ones in the other."""
        ones = np.ones_like(addresses)
        return np.hstack([addresses, ones]), np.hstack([ones, addresses])


def address_dim(dim: int) -> int:
    """Return the dimension d/2 of the addresses in keys of dimension d.

    Parameters
    ----------
    dim : int
        d, even and at least 2.

    Returns
    -------
    int
        Half of it.

    Raises
    ------
    ValueError
        If it cannot be halved.
    """
    if dim < 2 or dim % 2:
        raise ValueError(f"dim must be even, since either side addresses tokens in one half, got {dim}")
    return dim // 2


def required_tensor_norm(tokens: int, incoherence: float, eta: float = 0.0) -> float:
    """Return the query norm above which every (1 +- eta)-approximation decodes both sides.

    Parameters
    ----------
    tokens : int
        Number n of Alice's tokens, at least 1.
    incoherence : float
        eps in [0, 1) of the n + 1 addresses.
    eta : float
        Relative accuracy in [0, 1).

    Returns
    -------
    float
        ln(n / w*)/(1 - eps), in the terms of the module: any larger C suffices.

    Raises
    ------
    ValueError
        If a number is out of its range.

    Examples
    --------
    >>> round(required_tensor_norm(1024, 0.5), 3)
    14.825
    """
    if tokens < 1:
        raise ValueError(f"tokens must be at least 1, got {tokens}")
    if not 0 <= incoherence < 1:
        raise ValueError(f"incoherence must be in [0, 1), got {incoherence}")
    ratio = (1 - check_eta(eta)) / (1 + eta)
    most = 2 * ratio / (sqrt(1 + 4 * ratio) + 1)  # (sqrt(1 + 4 r) - 1)/2 without the cancellation
    return log(tokens / most) / (1 - incoherence)
