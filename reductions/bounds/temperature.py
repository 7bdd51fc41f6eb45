"""Bits forced by an additive accuracy at a temperature: which of three barriers binds (theory 15).

Orthonormal keys, values in [0, 1], answers within an additive eps, for queries whose scores lie in [-rho, rho].
Each floor is bits per value channel, from the best number of at most n tokens.
"""

from __future__ import annotations

from math import exp, expm1, inf, tanh

import numpy as np
from numpy.typing import NDArray

from kvfloor.reductions.bounds.frontier import rate_distortion

__all__ = ["averages_floor", "differences_floor", "threshold_floor"]

BEST_SHARE = 0.1545
"""The share a of wrong bits at which a (1 - H2(a)) is largest, 0.0586."""


def threshold_floor(tokens: int, largest_score: float, eps: float) -> float:
    """Return the floor of single tokens read by thresholds: additive precision (theory 15).

    The largest m log2 L over m <= n, L = ceil(1/(2 eps (1 + kappa) + kappa)) levels, kappa = m e^-rho.

    Parameters
    ----------
    tokens : int
        Number n of orthonormal keys, at least 1.
    largest_score : float
        rho, positive and finite.
    eps : float
        Additive accuracy, in (0, 1).

    Returns
    -------
    float
        Bits, at least 0.

    Raises
    ------
    ValueError
        If a number is out of its range.

    Examples
    --------
    >>> threshold_floor(100, 40.0, 0.13)  # four levels
    200.0
    """
    _check(tokens, largest_score, eps)
    counts = _counts(tokens)
    kappa = counts * exp(-largest_score)
    return _best(counts, np.ceil(1 / (2 * eps * (1 + kappa) + kappa)))


def differences_floor(tokens: int, largest_score: float, eps: float) -> float:
    """Return the floor of single tokens read by differences to the answer of the zero query (theory 15).

    The largest m log2 L over m <= n, L the integer that is next above (e^rho - 1)/(2 eps (e^rho + 2 m - 1)).

    Parameters
    ----------
    tokens : int
        Number n of orthonormal keys, at least 1.
    largest_score : float
        rho, positive and finite.
    eps : float
        Additive accuracy, in (0, 1).

    Returns
    -------
    float
        Bits, at least 0.

    Raises
    ------
    ValueError
        If a number is out of its range.

    Examples
    --------
    >>> differences_floor(100, 1.0, 0.004), threshold_floor(100, 1.0, 0.004)
    (100.0, 2.0)
    """
    _check(tokens, largest_score, eps)
    counts, lift = _counts(tokens), expm1(min(largest_score, 700.0))
    return _best(counts, np.ceil(1 / (2 * eps * (1 + 2 * counts / lift))))


def averages_floor(tokens: int, largest_score: float, eps: float) -> float:
    """Return the floor of averages, the instance of GAP-HAMMING (theory 15).

    The largest m (1 - H2(4 eps^2 m / tanh^2 rho)) over m <= n; at most 0.0146 tanh^2 rho / eps^2.

    Parameters
    ----------
    tokens : int
        Number n of orthonormal keys, at least 1.
    largest_score : float
        rho, positive and finite.
    eps : float
        Additive accuracy, in (0, 1).

    Returns
    -------
    float
        Bits, at least 0.

    Raises
    ------
    ValueError
        If a number is out of its range.

    Examples
    --------
    >>> round(averages_floor(10**6, 1.0, 0.001))
    8490
    """
    _check(tokens, largest_score, eps)
    slope = 4 * eps**2 / tanh(largest_score) ** 2
    count = min(float(tokens), BEST_SHARE / slope)
    return count * rate_distortion(slope * count)


def _counts(tokens: int) -> NDArray[np.float64]:
    """Return numbers of tokens up to n: all, or a fine geometric grid of them."""
    return np.unique(np.floor(np.geomspace(1, tokens, min(tokens, 4096))))


def _best(counts: NDArray[np.float64], levels: NDArray[np.float64]) -> float:
    """Return the most bits that so many tokens with so many levels hold."""
    return float((counts * np.log2(np.maximum(levels, 1.0))).max())


def _check(tokens: int, largest_score: float, eps: float) -> None:
    """Raise ValueError unless the numbers are in range."""
    if tokens < 1:
        raise ValueError(f"tokens must be at least 1, got {tokens}")
    if not 0 < largest_score < inf:
        raise ValueError(f"largest_score must be positive and finite, got {largest_score}")
    if not 0 < eps < 1:
        raise ValueError(f"eps must be in (0, 1), got {eps}")
