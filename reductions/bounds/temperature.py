"""Bits forced by an additive accuracy at a temperature: which of the barriers binds (theory 15).

Orthonormal keys, values in [0, 1], answers within an additive eps, for queries whose scores lie in [-rho, rho] or whose
norm is at most rho. Each floor is bits per value channel, from the best number of at most n tokens.
"""

from __future__ import annotations

from math import ceil, e, exp, expm1, tanh

import numpy as np

from kvfloor.reductions.bounds.frontier import rate_distortion
from kvfloor.reductions.checks import Doubles, check_count, check_within

__all__ = ["additive_levels", "averages_floor", "differences_floor", "every_query_floor", "threshold_floor"]

BEST_SHARE = 0.1545
"""The share a of wrong bits at which a (1 - H2(a)) is largest, 0.0586."""

_ALL_COUNTS = 1 << 14


def additive_levels(eps: float, kappa: float = 0.0) -> int:
    """Return how many equally spaced levels of [0, 1] are told apart: ceil(1/(2 eps (1 + kappa) + kappa)).

    A level v has an exact output in [v/(1 + kappa), (v + kappa)/(1 + kappa)].

    Parameters
    ----------
    eps : float
        Additive accuracy of the answers, in (0, 1).
    kappa : float
        Weight of all tokens but the one asked for, relative to it; at least 0.

    Returns
    -------
    int
        L >= 1; 1 means that a value carries nothing.

    Raises
    ------
    ValueError
        If a number is out of its range.

    Examples
    --------
    >>> additive_levels(0.11), additive_levels(0.11, kappa=0.2)
    (5, 3)
    """
    check_within("eps", eps, "(0, 1)")
    check_within("kappa", kappa, "[0, inf)")
    return ceil(1 / (2 * eps * (1 + kappa) + kappa))


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
    8491
    """
    _check(tokens, largest_score, eps)
    slope = 4 * eps**2 / tanh(largest_score) ** 2
    count = min(float(tokens), BEST_SHARE / slope)
    return count * rate_distortion(slope * count)


def every_query_floor(tokens: int, query_norm: float, eps: float) -> float:
    """Return the floor of caches that are within eps for every query up to a norm at once (theory 15).

    The largest m (1 - H2(h/m)) over m <= n, h = max(rho^2, (2 eps m / (rho (1 - 2 (e - 1) eps)))^2): strings that
    differ in more than h places are told apart by the direction in which they differ, though by no reader that is
    fast. Orthonormal keys.

    Parameters
    ----------
    tokens : int
        Number n of orthonormal keys, at least 1.
    query_norm : float
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
    >>> [round(floor(10**6, 0.1, 0.0001)) for floor in (every_query_floor, differences_floor)]
    [14629, 262]
    """
    _check(tokens, query_norm, eps)
    counts, resolved = _counts(tokens), 1 - 2 * (e - 1) * eps
    if resolved <= 0:
        return 0.0
    differ = np.maximum(query_norm**2, (2 * eps * counts / (query_norm * resolved)) ** 2)
    return float((counts * rate_distortion(np.minimum(differ / counts, 1.0))).max())


def _counts(tokens: int) -> Doubles:
    """Return numbers of tokens up to n: all, or a fine geometric grid of them, n among them."""
    if tokens <= _ALL_COUNTS:
        return np.arange(1.0, tokens + 1)
    return np.append(np.floor(np.geomspace(1, tokens, _ALL_COUNTS)), float(tokens))


def _best(counts: Doubles, levels: Doubles) -> float:
    """Return the most bits that so many tokens with so many levels hold."""
    return float((counts * np.log2(np.maximum(levels, 1.0))).max())


def _check(tokens: int, largest_score: float, eps: float) -> None:
    """Raise ValueError unless the numbers are in range."""
    check_count("tokens", tokens)
    check_within("largest_score", largest_score, "(0, inf)")
    check_within("eps", eps, "(0, 1)")
