"""How bits grow with a size: the fitted exponent, and where it must lie."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["exponent", "exponent_interval", "fitted_exponent"]


def exponent(sizes: Sequence[float], bits: Sequence[float]) -> float:
    """Return the slope of a straight line through log bits over log size, by least squares.

    Parameters
    ----------
    sizes : sequence of float
        At least two different positive sizes.
    bits : sequence of float
        Bits at each; less than 1 counts as 1.

    Returns
    -------
    float
        The exponent.

    Raises
    ------
    ValueError
        If there are fewer than two different sizes.

    Examples
    --------
    >>> round(exponent([1, 2, 4], [3, 12, 48]), 12)
    2.0
    """
    return float(_weights(sizes) @ np.log(np.maximum(bits, 1.0)))


def exponent_interval(
    sizes: Sequence[float], least: Sequence[float], most: Sequence[float]
) -> tuple[float, float]:
    """Return the least and the largest exponent that bits between two bounds can have.

    The exponent is linear in the logarithms, so that either end takes one of the bounds at each size.

    Parameters
    ----------
    sizes : sequence of float
        At least two different positive sizes.
    least, most : sequence of float
        Bounds on the bits at each size; less than 1 counts as 1.

    Returns
    -------
    low, high : float
        The ends.

    Raises
    ------
    ValueError
        If there are fewer than two different sizes, or a least bound is above its most.
    """
    low, high = np.log(np.maximum(least, 1.0)), np.log(np.maximum(most, 1.0))
    if np.any(low > high):
        raise ValueError(f"least bounds {list(least)} must not exceed {list(most)}")
    weights = _weights(sizes)
    rounding = 1e-12 * float(np.abs(weights) @ high)
    ends = [float(np.where(weights > 0, *pair) @ weights) for pair in ((low, high), (high, low))]
    return ends[0] - rounding, ends[1] + rounding


def fitted_exponent(
    sizes: Sequence[float], numbers: Sequence[float], false_alarm: float
) -> tuple[float, float, float]:
    """Return the slope of log numbers over log sizes with its confidence interval (Student).

    Parameters
    ----------
    sizes, numbers : sequence of float
        At least three pairs of positive numbers, which err independently.
    false_alarm : float
        Probability that the interval misses the true slope.

    Returns
    -------
    slope, low, high : float
        The fit by least squares, and the ends.
    """
    from scipy import stats

    fit = stats.linregress(np.log(sizes), np.log(numbers))
    half = float(stats.t.isf(false_alarm / 2, len(sizes) - 2)) * float(fit.stderr)
    return float(fit.slope), float(fit.slope) - half, float(fit.slope) + half


def _weights(sizes: Sequence[float]) -> NDArray[np.float64]:
    """Return what each logarithm counts in the slope."""
    if len(set(sizes)) < 2:
        raise ValueError(f"an exponent needs at least two different sizes, got {list(sizes)}")
    logs = np.log(sizes)
    centred: NDArray[np.float64] = logs - logs.mean()
    return centred / (centred @ centred)
