"""The noise that decoding must survive, when it provably does, and what is chosen for it (theory 3)."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log1p
from typing import Literal, Self, TypeAlias

import numpy as np

from kvfloor.reductions.checks import Doubles, check_eta, check_norm

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
    """Return rho = (1+eta)/(1-eta), by which noise may part two equal outputs.

    Parameters
    ----------
    eta : float
        Relative accuracy in [0, 1).

    Returns
    -------
    float
        At least 1.

    Raises
    ------
    ValueError
        If `eta` is out of its range.
    """
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


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """How symbols are asked for and read: what is chosen when keys, levels and accuracy are known.

    Parameters
    ----------
    query_norm : float
        C, finite and at least 0.
    thresholds : ndarray
        Where one symbol ends and the next begins, in outputs; which is which, the encoding says.
    guarantee : Guarantee or None
        When decoding with the guaranteed thresholds is proved, or None where no finite C is, or where the
        incoherence was not needed and so not measured.

    Raises
    ------
    ValueError
        If the norm is out of its range.
    """

    query_norm: float
    thresholds: Doubles
    guarantee: Guarantee | None = None

    def __post_init__(self) -> None:
        check_norm("query_norm", self.query_norm)


def chosen_norm(query_norm: float | None, guarantee: Guarantee | None, hopeless: str) -> float:
    """Return the query norm that was given, or else the one that the guarantee asks for.

    Parameters
    ----------
    query_norm : float, optional
        C of the caller's choice.
    guarantee : Guarantee or None
        What is proved.
    hopeless : str
        What no query norm does, and what to give instead.

    Returns
    -------
    float
        C.

    Raises
    ------
    ValueError
        If neither is there.
    """
    if query_norm is not None:
        return query_norm
    if guarantee is None:
        raise ValueError(f"no query norm {hopeless}")
    return guarantee.query_norm


def between(most_of_lower: Doubles, least_of_upper: Doubles) -> Doubles:
    """Return the middle between the worst outputs of neighbours, or the upper end where they overlap.

    Theory 3 takes the upper end, (1 - eta)/(1 + kappa) for bits. The middle proves the same and keeps
    rounding away from either end. Where the worst outputs overlap, so that nothing is proved, the upper
    symbol is still read rightly.

    Parameters
    ----------
    most_of_lower, least_of_upper : ndarray, shape (q - 1,)
        The largest noisy output of the lower symbol of each pair, and the least of the upper.

    Returns
    -------
    ndarray, shape (q - 1,)
        Thresholds.
    """
    middle: Doubles = (least_of_upper + most_of_lower) / 2
    return np.minimum(middle, least_of_upper)
