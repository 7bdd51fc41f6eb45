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
from math import log, sqrt
from typing import Self

import numpy as np
from numpy.typing import NDArray

from kvfloor.reductions.accuracy import EXACT, Accuracy, Guarantee
from kvfloor.reductions.checks import Floats, check_count, check_eta, check_outputs, check_within
from kvfloor.reductions.encodings.levels import BINARY, ByReading, Reading, between, chosen_norm
from kvfloor.reductions.encodings.protocol import TensorTokens
from kvfloor.reductions.encodings.values import interference
from kvfloor.reductions.keys.known import Keys
from kvfloor.reductions.problems.index import Index
from kvfloor.reductions.problems.strings import Symbols


@dataclass(frozen=True, slots=True, eq=False)
class TensorEncoding(ByReading):
    """INDEX on 2 n d_v bits: n d_v in the values of either side.

    Symbol i d_v + j is entry j of V1_i, and symbol n d_v + i d_v + j is entry j of V2_i. The module proves
    when decoding is right. `build` chooses how it is read.

    Parameters
    ----------
    addresses : Keys
        n + 1 of d/2 dimensions, public coins; the last is the sentinel's.
    value_dim : int
        Value dimension d_v, at least 1.
    reading : Reading
        C is the length of either half of a query; outputs from the one threshold on decode to 1.
    sentinel : bool
        Whether Bob's token is the sentinel; else its values are zero, and nothing is proved.
    rounds : int
        How often Alice writes the n tokens; beyond 1 the sentinel ends each of her rounds, too.

    Raises
    ------
    ValueError
        If an argument is not as described.
    """

    addresses: Keys
    value_dim: int
    reading: Reading
    sentinel: bool = True
    rounds: int = 1

    def __post_init__(self) -> None:
        check_count("addresses, of the tokens and the sentinel,", len(self.addresses), 2)
        check_count("rounds", self.rounds)
        check_count("value_dim", self.value_dim)

    @classmethod
    def build(
        cls,
        addresses: Keys,
        value_dim: int,
        accuracy: Accuracy = EXACT,
        query_norm: float | None = None,
        sentinel: bool = True,
        rounds: int = 1,
    ) -> Self:
        """Write bits as values 0 and 1.

        Parameters
        ----------
        addresses, value_dim, sentinel, rounds
            Those of the class.
        accuracy : Accuracy
            The noise that decoding must survive.
        query_norm : float, optional
            C; by default the one that the guarantee asks for.

        Returns
        -------
        TensorEncoding
            Alphabet 2.

        Raises
        ------
        ValueError
            If an argument is not as described, or if two addresses coincide and C is to be chosen.
        """
        check_count("addresses, of the tokens and the sentinel,", len(addresses), 2)
        eps, eta = addresses.incoherence(), accuracy.eta
        rivals = len(addresses) - (rounds == 1)
        guarantee = tensor_guarantee(rivals, eps, eta, addresses.failure_probability)
        hopeless = f"tells addresses of incoherence {eps} apart; give query_norm or other addresses"
        norm = chosen_norm(query_norm, guarantee, hopeless)
        others = interference(rivals, norm, eps)
        most_of_zero, least_of_one = (1 + eta) * others / (1 + others), (1 - eta) / (1 + others) ** 2
        thresholds = between(np.array([most_of_zero]), np.array([least_of_one]))
        if accuracy.decoder == "typical":
            thresholds = BINARY.thresholds(accuracy)
        return cls(addresses, value_dim, Reading(norm, thresholds, guarantee), sentinel, rounds)

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
        return 2 * self.addresses.dim

    @property
    def public_keys(self) -> Floats:
        """The keys of Alice's tokens on both sides, shape (n, 2 d): public coins."""
        return np.hstack(_sides(self._in_rounds(self.addresses.rows)))

    def encode(self, x: Symbols) -> TensorTokens:
        """Return keys [k_l ; 1] and [1 ; k_l], and the bits as values of either side; see `Encoding.encode`."""
        bits = self.problem.check_string(x).reshape(2, self.addressed, self.value_dim)
        last = np.full((1, self.value_dim), self.sentinel)
        first, second = (
            self._in_rounds(np.vstack([side, last])) for side in bits.astype(self.addresses.dtype)
        )
        keys1, keys2 = _sides(self._in_rounds(self.addresses.rows))
        return TensorTokens(keys1, first, keys2, second)

    def reader_token(self) -> TensorTokens:
        """Return Bob's token: the sentinel, whose values are all ones."""
        keys1, keys2 = _sides(self.addresses.rows[-1:])
        values = np.full((1, self.value_dim), float(self.sentinel), self.addresses.dtype)
        return TensorTokens(keys1, values, keys2, values)

    def queries(self, indices: Symbols) -> Floats:
        """Return C [k_i ; k_n] for tokens asked for on the first side, then C [k_n ; k_j] on the second.

        See `Encoding.queries`.
        """
        second, token = np.divmod(np.unique(self._questions(indices)), self.addressed)
        last = self.addressed
        picked = np.where(second == 0, token, last), np.where(second == 1, token, last)
        halves = np.hstack([self.addresses.rows[places] for places in picked])
        return halves * self.addresses.dtype.type(self.query_norm)

    def decode(self, outputs: Floats, indices: Symbols) -> Symbols:
        """Return the bits read from the outputs of `queries(indices)`; see `Encoding.decode`."""
        asked, row = np.unique(self._questions(indices), return_inverse=True)
        read = check_outputs(outputs, len(asked), self.value_dim)[row, np.asarray(indices) % self.value_dim]
        return (read >= self.reading.thresholds).astype(np.uint8)

    def _questions(self, indices: Symbols) -> NDArray[np.int64]:
        """Return the number of each query: i for V1_i, n + j for V2_j."""
        return self.problem.check_indices(indices) // self.value_dim

    def _in_rounds(self, rows: Floats) -> Floats:
        """Return rows of the tokens and the sentinel as Alice writes them."""
        return rows[:-1] if self.rounds == 1 else np.tile(rows, (self.rounds, 1))


def _sides(addresses: Floats) -> tuple[Floats, Floats]:
    """Return keys of both sides: each address in its own half, ones in the other."""
    ones = np.ones_like(addresses)
    return np.hstack([addresses, ones]), np.hstack([ones, addresses])


def address_dim(dim: int) -> int:
    """Return the dimension d/2 of the addresses in keys of dimension d, even and at least 2."""
    if dim < 2 or dim % 2:
        raise ValueError(f"dim must be even, since either side addresses tokens in one half, got {dim}")
    return dim // 2


def required_tensor_norm(tokens: int, incoherence: float, eta: float = 0.0) -> float:
    """Return the query norm above which every (1 +- eta)-approximation decodes both sides: ln(n / w*)/(1 - eps).

    It is that of n >= 1 tokens and n + 1 addresses, for eps and eta in [0, 1).

    Examples
    --------
    >>> round(required_tensor_norm(1024, 0.5), 3)
    14.825
    """
    check_count("tokens", tokens)
    check_within("incoherence", incoherence, "[0, 1)")
    ratio = (1 - check_eta(eta)) / (1 + eta)
    most = 2 * ratio / (sqrt(1 + 4 * ratio) + 1)  # (sqrt(1 + 4 r) - 1)/2 without the cancellation
    return log(tokens / most) / (1 - incoherence)


def tensor_guarantee(
    tokens: int, incoherence: float, eta: float = 0.0, failure_probability: float = 0.0
) -> Guarantee | None:
    """Return the guarantee above `required_tensor_norm`, whose parameters these are; None if eps = 1."""
    if incoherence == 1:
        return None
    return Guarantee.above(
        required_tensor_norm(tokens, incoherence, eta), incoherence, eta, failure_probability
    )
