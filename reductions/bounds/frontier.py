"""How rarely any cache of a given rate errs: the Shannon frontier and Fano's bound (theory 1)."""

from __future__ import annotations

from math import log, log2
from typing import overload

import numpy as np
from scipy.optimize import brentq
from scipy.special import entr

from kvfloor.reductions.bounds.balls import capacity_bits
from kvfloor.reductions.checks import Floats


@overload
def rate_distortion(distortion: float, alphabet: int = 2) -> float: ...
@overload
def rate_distortion(distortion: Floats, alphabet: int = 2) -> Floats: ...
def rate_distortion(distortion: float | Floats, alphabet: int = 2) -> float | Floats:
    """Return the Shannon frontier R(D): the bits per symbol below which no cache errs as rarely as D.

    Parameters
    ----------
    distortion : float or ndarray
        Fraction D of wrong symbols, in [0, 1].
    alphabet : int
        Size q of the alphabet, at least 2.

    Returns
    -------
    float or ndarray
        log2 q - H2(D) - D log2(q-1) for D <= 1 - 1/q, else 0; of the shape of `distortion`.

    References
    ----------
    T. Cover, J. Thomas. Elements of Information Theory, 10.3.
    """
    capacity = capacity_bits(1, alphabet)
    wrong = np.asarray(distortion, dtype=np.float64)
    if not np.all((wrong >= 0) & (wrong <= 1)):
        raise ValueError(f"distortion must be in [0, 1], got {distortion}")
    entropy_bits = (entr(wrong) + entr(1 - wrong)) / log(2)
    positive = np.maximum(capacity - entropy_bits - wrong * log2(alphabet - 1), 0.0)
    rate: Floats = np.where(wrong < 1 - 1 / alphabet, positive, 0.0)
    return rate if rate.ndim else float(rate)


def frontier_distortion(rate: float, alphabet: int = 2) -> float:
    """Return the least fraction of wrong symbols at a rate of bits per symbol: the inverse of `rate_distortion`.

    It lies in [0, 1 - 1/q], and is 0 from log2 q bits on.
    """
    capacity = capacity_bits(1, alphabet)
    if not rate >= 0:
        raise ValueError(f"rate must be at least 0, got {rate}")
    if rate == 0:
        return 1 - 1 / alphabet
    if rate >= capacity:
        return 0.0
    return brentq(lambda wrong: rate_distortion(wrong, alphabet) - rate, 0.0, 1 - 1 / alphabet, xtol=1e-300)


def frontier_accuracy(rate: float, alphabet: int = 2) -> float:
    """Return the highest fraction of right symbols at a rate: 1 - `frontier_distortion`, in [1/q, 1]."""
    return 1 - frontier_distortion(rate, alphabet)


def fano_bits(length: int, success: float, alphabet: int = 2) -> float:
    """Return the least expected information of a message, from its average success (Theorem A').

    Parameters
    ----------
    length, alphabet : int
        Number N of symbols, at least 1, and size q of the alphabet, at least 2.
    success : float
        Average probability p of decoding a position, in [0, 1].

    Returns
    -------
    float
        N (log2 q - H2(1-p) - (1-p) log2(q-1)) bits, and 0 where p <= 1/q: guessing needs no message.

    References
    ----------
    A. Nayak. Optimal lower bounds for quantum automata and random access codes. FOCS 1999.
    """
    capacity_bits(length, alphabet)
    return length * rate_distortion(1 - success, alphabet)
