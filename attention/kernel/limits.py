"""What weights must keep to: how large and small they may be, how they round, what may be left out (theory 13)."""

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.checks import Matrix

__all__ = ["BIT", "FOLD", "Limits", "power", "rounding"]

_Doubles: TypeAlias = NDArray[np.float64]


def _vectorised(function: str) -> bool:
    """Say whether NumPy has a vectorised float32 loop of a function for this processor."""
    loops = np.lib.introspect.opt_func_info(func_name=f"^{function}$").get(function, {})
    return not loops.get("ff", {}).get("current", "baseline").startswith("baseline")


# Weights are powers of 2 where these are vectorised, twice as fast as powers of e; else powers of e, twice as
# fast as powers of 2 one by one. Scores are exponents of that base: FOLD times what they are in nats.
FOLD, power = (math.log2(math.e), np.exp2) if _vectorised("exp2") else (1.0, np.exp)
BIT = FOLD * math.log(2)
"""One bit, in scores."""

SHARE = 16  # of the rounding that is granted, one part in so many may be left out
MOST_LEFT_OUT = 2.0**-10  # of the sum of weights, however much scores round


def rounding(dim: int, unit: float, bounds: _Doubles | float) -> _Doubles | float:
    """Bound how far computed scores are from the true ones, in the units of the bound.

    The dot product errs by at most gamma_d B; folding a factor in, storing and subtracting a shift add at most
    4 u B, a query that is a multiple of a key to within 4 u another 4 u B.

    Parameters
    ----------
    dim : int
        Dimension d of the keys.
    unit : float
        u, the unit roundoff.
    bounds : float or ndarray
        B, an upper bound on |query| |key|.

    Returns
    -------
    float or ndarray
        (d + 8) u B.
    """
    return (dim + 8) * unit * bounds


@dataclass(frozen=True, slots=True)
class Limits:
    """What the weights of a computation must keep to.

    Parameters
    ----------
    unit : float
        The unit roundoff of its type.
    highest : float
        The largest exponent of a weight: as many as there are terms add up to a quarter of what overflows.
    smallest : float
        The exponent of the smallest weight, a normal number.
    terms : int
        The most weights in a sum.
    dim : int
        Dimension of the keys.
    run : int
        The most additions that one weight goes through.
    """

    unit: float
    highest: float
    smallest: float
    terms: int
    dim: int
    run: int

    @classmethod
    def of(cls, dtype: np.dtype[Any], terms: int, dim: int, run: int) -> "Limits":
        """Return the limits for a type."""
        numbers = np.finfo(dtype)
        highest, smallest = numbers.maxexp - 2 - math.log2(terms), numbers.minexp + 1
        return cls(float(numbers.eps) / 2, BIT * highest, BIT * smallest, terms, dim, run)

    def left_out(self, bounds: _Doubles) -> _Doubles:
        """Return the share of the sum of weights that may be left out: a part of the rounding that is granted."""
        granted = rounding(self.dim, self.unit, bounds / FOLD) + self.run * self.unit
        return np.minimum(granted / SHARE, MOST_LEFT_OUT)

    def cuts(self, largest: _Doubles, bounds: _Doubles) -> _Doubles:
        """Return above which scores weights are kept.

        Parameters
        ----------
        largest : ndarray, shape (m,)
            What each query's largest score is thought to be. Too much, and its sum turns out to be too small for
            what was left out; too little, and more is kept than need be.
        bounds : ndarray, shape (m,)
            What no score of a query exceeds in magnitude.

        Returns
        -------
        ndarray, shape (m,)
            -inf where nothing can be left out, or where the one bit that is left for rounding is not enough.
        """
        cuts = np.minimum(largest, bounds) - BIT * (
            1 + math.log2(self.terms) - np.log2(self.left_out(bounds))
        )
        exact = 2 * rounding(self.dim, self.unit, bounds) < BIT
        return _levelled(np.where((cuts > -bounds) & exact, cuts, -np.inf), lowest=True)

    def shifts(self, likely: _Doubles, bounds: _Doubles) -> _Doubles:
        """Return what to subtract from scores, so that sums of weights neither overflow nor vanish.

        Parameters
        ----------
        likely : ndarray, shape (m,)
            What each query's largest score is thought to be; -inf if nobody knows.
        bounds : ndarray, shape (m,)
            What no score of a query exceeds in magnitude.

        Returns
        -------
        ndarray, shape (m,)
            0 where plain scores do; else the likely largest score, or so little that nothing can overflow.
        """
        shifts = np.where(likely > -np.inf, np.minimum(likely, bounds), bounds - self.highest)
        return _levelled(np.where(bounds <= self.highest, 0.0, shifts), lowest=False)

    def clips(self, bounds: _Doubles, shifts: _Doubles) -> bool:
        """Say whether weights of such scores may be denormal or too large, so that they are clipped."""
        return bool((bounds + shifts > -self.smallest).any() or (bounds - shifts > self.highest).any())

    def uncertain(
        self, sums: _Doubles, bounds: _Doubles, shifts: _Doubles, cuts: _Doubles
    ) -> NDArray[np.intp]:
        """Return which sums of weights are too small for what was left out or raised, or so large as if clipped."""
        needed = self.terms * np.exp2((cuts - shifts) / BIT) / self.left_out(bounds)
        if self.clips(bounds, shifts):
            # All that is raised, the smallest weight as often as there are terms, is rounding error to larger sums.
            needed = needed + self.terms * 2.0 ** (self.smallest / BIT) / self.unit
        clipped = (bounds - shifts > self.highest) & (sums >= 2.0 ** (self.highest / BIT))
        return np.flatnonzero((sums < needed) | clipped)

    def weights(self, scores: Matrix, shifts: Matrix, clips: bool) -> Matrix:
        """Turn scores into weights, in place.

        Parameters
        ----------
        scores : ndarray
            Scores, which are overwritten.
        shifts : ndarray
            What to subtract; broadcasts to the scores.
        clips : bool
            Whether these may be too small or too large.

        Returns
        -------
        ndarray
            The weights.
        """
        if shifts.any():
            np.subtract(scores, shifts, out=scores)
        if clips:
            np.clip(scores, self.smallest, self.highest, out=scores)
        weights: Matrix = power(scores, out=scores)
        return weights


def _levelled(scores: _Doubles, *, lowest: bool) -> _Doubles:
    """Return scores that differ by no more than a bit as one: a number takes a third of the time of a column."""
    low, high = float(scores.min()), float(scores.max())
    return np.full_like(scores, low if lowest else high) if high - low <= BIT else scores
