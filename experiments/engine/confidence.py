"""Intervals for a mean that stay valid however often one looks: they tell when repeating may stop.

The hedged betting sequence of Waudby-Smith and Ramdas (Estimating means of bounded random variables by
betting, JRSS B 86, 2024, arXiv:2010.09686). Against every candidate mean m two gamblers bet on independent
values in [0, 1], one that they are larger and one that they are smaller, never staking more than they have:

    K+(m) = prod_i (1 + a_i (x_i - m)),  K-(m) = prod_i (1 - b_i (x_i - m)),  0 <= a_i < 1/m,  0 <= b_i < 1/(1 - m).

If m is the mean, each factor has expectation 1 given the past, as its stake depends on earlier values alone:
(K+ + K-)/2 is a martingale that starts at 1 and is never negative, and it ever reaches 1/alpha with
probability at most alpha (Ville). So the m with max(K+, K-)/2 < 1/alpha hold the mean *at all times at once*
with probability 1 - alpha. Both gamblers stake the same for every m up to the caps, so those m are an interval.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Interval", "intervals", "stops_at"]

CANDIDATES = 1000  # means that are tried; the interval is widened to the next one on either side
CAP = 0.75  # of what a gambler has, at stake at most


@dataclass(frozen=True, slots=True)
class Interval:
    """Where a mean lies.

    Parameters
    ----------
    low, high : float
        The ends, in [0, 1].
    """

    low: float
    high: float

    @property
    def width(self) -> float:
        """How far apart the ends are."""
        return self.high - self.low


def intervals(values: Sequence[float], error: float) -> list[Interval]:
    """Return an interval for the mean after each value; all of them hold it except with probability `error`.

    Parameters
    ----------
    values : sequence of float
        Independent values in [0, 1] of one mean, in an order fixed before they were known.
    error : float
        In (0, 1).

    Returns
    -------
    list of Interval
        Each within the one before.

    Raises
    ------
    ValueError
        If a value or `error` is out of range.

    Examples
    --------
    >>> last = intervals([0.75] * 200, 0.05)[-1]
    >>> 0.73 < last.low < 0.75 < last.high < 0.77
    True
    """
    if not 0 < error < 1:
        raise ValueError(f"error must lie in (0, 1), got {error}")
    candidates = np.linspace(0, 1, CANDIDATES + 1)
    with np.errstate(divide="ignore"):
        most_up, most_down = CAP / candidates, CAP / (1 - candidates)
    up, down = np.zeros_like(candidates), np.zeros_like(candidates)  # logarithms of K+ and K-
    bar = np.log(2 / error)
    mean, variance, found = 0.5, 0.25, [Interval(0.0, 1.0)]
    for number, value in enumerate(values, 1):
        if not 0 <= value <= 1:
            raise ValueError(f"a value must lie in [0, 1], got {value}")
        stake = np.sqrt(2 * bar / (variance * number * np.log1p(number)))
        up += np.log1p(np.minimum(stake, most_up) * (value - candidates))
        down += np.log1p(-np.minimum(stake, most_down) * (value - candidates))
        kept = np.flatnonzero(np.maximum(up, down) < bar)
        last = found[-1]
        if kept.size:  # otherwise it is narrower than the candidates are apart
            low, high = max(kept[0] - 1, 0), min(kept[-1] + 1, CANDIDATES)
            narrower = Interval(
                max(last.low, float(candidates[low])), min(last.high, float(candidates[high]))
            )
            last = narrower if narrower.low <= narrower.high else last
        found.append(last)
        # The next stake follows from what is known by now, with a first guess that counts as one value.
        mean = (mean * number + value) / (number + 1)
        variance = (variance * number + (value - mean) ** 2) / (number + 1)
    return found[1:]


def stops_at(values: Sequence[float], error: float, width: float) -> int | None:
    """Return after how many values the mean is known to a width, or None if it is not yet.

    Parameters
    ----------
    values : sequence of float
        As for `intervals`.
    error : float
        As for `intervals`: the probability that the interval at which one stops misses the mean.
    width : float
        At most how far the ends of the interval may be apart.

    Returns
    -------
    int or None
        Values that count; more that are there do not.
    """
    found = (number for number, each in enumerate(intervals(values, error), 1) if each.width <= width)
    return next(found, None)
