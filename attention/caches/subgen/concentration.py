"""How far sampled sums stray from their means: Bernstein's inequality, and the slots that SubGen needs by it."""

from math import ceil, expm1, log, sinh
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.checks import positive

__all__ = ["bernstein_tail", "subgen_slots"]

_Doubles = NDArray[np.floating[Any]]


@overload
def bernstein_tail(deviation: float, variance: float, largest: float) -> float: ...
@overload
def bernstein_tail(deviation: _Doubles, variance: _Doubles, largest: _Doubles) -> _Doubles: ...
def bernstein_tail(
    deviation: float | _Doubles, variance: float | _Doubles, largest: float | _Doubles
) -> float | _Doubles:
    """Bound the probability that a sum of independent random vectors strays from its mean.

    Parameters
    ----------
    deviation : float or ndarray
        x, at least 0, a Euclidean distance.
    variance : float or ndarray
        V, the sum over the summands of the expected squared distance from their means.
    largest : float or ndarray
        M, the largest distance of a summand from its mean.

    Returns
    -------
    float or ndarray
        2 exp(-x^2 / 2 / (V + M x / 3)), in any dimension; 0 where nothing is random and x > 0.

    References
    ----------
    I. Pinelis. Optimum bounds for the distributions of martingales in Banach spaces. Ann. Probab. 22 (1994),
    theorem 3.3 with the moments of bounded summands.
    """
    x, spread = np.asarray(deviation, np.float64), np.asarray(variance) + np.asarray(largest) * deviation / 3
    with np.errstate(divide="ignore", invalid="ignore"):
        exponent = np.where(x > 0, x * x / (2 * spread), 0.0)
    tail: _Doubles = 2 * np.exp(-exponent)
    return tail if tail.ndim else float(tail)


def subgen_slots(
    *, accuracy: float, failure: float, score_radius: float, stable_rank: float, peak: float
) -> tuple[int, int]:
    """Return how many slots let SubGen answer a query within eps |softmax|_2 |V|_op, up to a probability.

    Relative to tau the denominator's estimate strays by more than a = eps/(2 + eps) with probability at
    most p, and so does the numerator's relative to |x|_2 |V|_op, x_l = e^<q,k_l>; else the answer is within
    2a/(1-a) = eps (theory 4).

    Parameters
    ----------
    accuracy : float
        eps, positive.
    failure : float
        p, in (0, 1); the answer is further off with probability at most 2p.
    score_radius : float
        delta |query|, positive: how much scores in a cluster differ from the representative's.
    stable_rank : float
        |V|_F^2/|V|_op^2, at most the value dimension.
    peak : float
        A bound on max_l (x_l/|x|_2) (|V|_F^2/(|V|_op |v_l|)) + 1: how much of the numerator one slot can hold.

    Returns
    -------
    cluster_slots, value_slots : int
        t and s.

    Raises
    ------
    ValueError
        If a number is not positive, or the failure is not below 1.
    """
    eps = positive("accuracy", accuracy)
    if not 0 < failure < 1:
        raise ValueError(f"failure is {failure!r}, expected a number in (0, 1)")
    radius, rank = positive("score_radius", score_radius, 100.0), positive("stable_rank", stable_rank)
    a = eps / (2 + eps)
    scale = 2 * log(2 / failure) / a**2
    spread = sinh(radius) ** 2 + expm1(2 * radius) * a / 3
    return ceil(scale * spread), ceil(scale * (rank + positive("peak", peak) * a / 3))
