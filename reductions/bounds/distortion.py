"""Theorem A for numbers: how many bits a message carries that gives a point of a sphere back (theory 18)."""

from __future__ import annotations

from math import log2

from scipy.special import betaln

from kvfloor.reductions.bounds.certificates import PREFIX_BITS
from kvfloor.reductions.checks import check_count, check_within

__all__ = ["distortion_bits", "log2_cap"]

_LN2 = 0.6931471805599453


def log2_cap(numbers: int, distortion: float) -> float:
    """Return log2 of the share of a sphere that lies within a distance of one point, never below the truth.

    Points of the sphere of radius sqrt(N) within sqrt(N D) of any point lie in a cap of angular radius arcsin sqrt(D). Its
    share is I_D((N-1)/2, 1/2)/2, and I_x(a, 1/2) <= x^a / (a B(a, 1/2) sqrt(1 - x)).

    Parameters
    ----------
    numbers : int
        Dimension N of the space, at least 2.
    distortion : float
        D, at least 0: squared distance over N.

    Returns
    -------
    float
        At most 0; minus infinity for D = 0.

    Raises
    ------
    ValueError
        If a number is out of its range.

    Examples
    --------
    >>> round(log2_cap(3, 0.75), 3)  # a cap of 60 degrees, which is 1/4, is at most 3/8
    -1.415
    """
    check_count("numbers", numbers, 2)
    check_within("distortion", distortion, "[0, inf)")
    if distortion == 0:
        return float("-inf")
    if distortion >= 1:
        return 0.0
    half = (numbers - 1) / 2
    edge = half * log2(distortion) - log2(half) - 0.5 * log2(1 - distortion) - float(betaln(half, 0.5)) / _LN2
    return min(edge - 1, 0.0)


def distortion_bits(numbers: int, distortion: float, significance_bits: float = 40.0) -> float:
    """Certify from one play how many bits a message carries: Theorem A with caps in the place of balls.

    x is uniform on the sphere of radius sqrt(N) and independent of the public coins; Y is any function of the message and
    the coins, D = |x - Y|^2/N. Then |M| + 64 > -log2 cap(D) - t, wrong with probability at most 2^-t.

    Parameters
    ----------
    numbers : int
        N, at least 2.
    distortion : float
        D, at least 0; 2^-1000 in the place of less.
    significance_bits : float
        t, at least 0.

    Returns
    -------
    float
        max(0, -log2 cap(D) - t - 64); close to (N/2) log2(1/D), Shannon's bound.

    Raises
    ------
    ValueError
        If a number is out of its range.

    Examples
    --------
    >>> round(distortion_bits(4096, 2.0**-8)) - 4 * 4096
    -101
    """
    check_within("significance_bits", significance_bits, "[0, inf)")
    return max(0.0, -log2_cap(numbers, max(distortion, 2.0**-1000)) - significance_bits - PREFIX_BITS)
