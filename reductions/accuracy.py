"""The noise that decoding must survive, and when it provably does (theory 3)."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log1p
from typing import Literal, Self, TypeAlias

from kvfloor.reductions.checks import check_eta

Decoder: TypeAlias = Literal["guaranteed", "typical"]

MARGIN_NATS = 0.01
"""What a chosen query norm adds to the logarithm of the gap between two symbols.

At exactly the required norm the worst output of a symbol meets that of its neighbour. This margin puts
them apart by far more than float32 attention rounds (about C 2^-24, so 1e-5 at C = 100), for 0.01/(1-eps)
more of query norm.
"""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """The noise that decoding must survive, in the worst case or in the typical one.

    Parameters
    ----------
    eta : float
        In [0, 1): answers are entrywise (1 +- eta)-approximations of the exact outputs.
    decoder : {"guaranteed", "typical"}
        Thresholds stand in the middle between the worst outputs of neighbouring symbols; or between their
        values, as is right when the token asked for holds nearly all the weight.

    Raises
    ------
    ValueError
        If `eta` is out of its range or the decoder is another word.
    """

    eta: float = 0.0
    decoder: Decoder = "guaranteed"

    def __post_init__(self) -> None:
        check_eta(self.eta)
        if self.decoder not in ("guaranteed", "typical"):
            raise ValueError(f"decoder must be 'guaranteed' or 'typical', got {self.decoder!r}")


EXACT = Accuracy()
"""No noise, read by the guaranteed decoder."""

TYPICAL = Accuracy(decoder="typical")
"""No noise, read by the typical decoder."""


def accuracy_ratio(eta: float) -> float:
    """Return rho = (1+eta)/(1-eta) >= 1, by which noise may part two equal outputs, for eta in [0, 1)."""
    return exp(log1p(check_eta(eta)) - log1p(-eta))


@dataclass(frozen=True, slots=True)
class Guarantee:
    """When decoding is proved to be free of error.

    If the keys have the stated incoherence and the query norm is at least `query_norm`, every entrywise
    (1 +- eta)-approximation of the attention output decodes to the right symbol.

    Parameters
    ----------
    query_norm : float
        A query norm C that suffices, dimensionless.
    incoherence : float
        eps in [0, 1): no two keys have a larger inner product.
    eta : float
        Relative accuracy in [0, 1).
    failure_probability : float
        Probability, over the draw of the keys, that their incoherence is larger; 0 when it was measured.
    """

    query_norm: float
    incoherence: float
    eta: float
    failure_probability: float = 0.0

    @classmethod
    def above(cls, required: float, incoherence: float, eta: float, failure_probability: float = 0.0) -> Self:
        """Return the guarantee at the infimum of the norms that suffice, plus `MARGIN_NATS`/(1 - eps)."""
        return cls(required + MARGIN_NATS / (1 - incoherence), incoherence, eta, failure_probability)
