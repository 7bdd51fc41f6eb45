"""What one play proves: Hamming balls, certificates, Fano's bound and the Shannon frontier (theory 1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, lgamma, log, log2
from typing import Any, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import entr

Reals: TypeAlias = NDArray[np.floating[Any]]

PREFIX_BITS = 64
"""What a self-delimiting length costs; without it the length of a message could carry information."""

_LN2 = log(2)
_CHUNK = 4096
_NEGLIGIBLE = 2.0**-60  # of the sum so far: below the precision of a double


@dataclass(frozen=True, slots=True)
class Certificate:
    """A cache carries more than `certified_bits`, wrong with probability at most 2^`significance_log2`.

    Parameters
    ----------
    length : int
        Number N of symbols of the instance.
    alphabet : int
        Size q of the alphabet.
    asked : int
        Number of positions that were asked; N for the one-shot certificate.
    observed_errors : int
        Wrong symbols among those asked.
    error_bound : int
        Wrong symbols among all N: counted, or an upper confidence bound.
    capacity_bits : float
        N log2 q.
    log2_ball : float
        Bits that many errors explain: log2 of the volume of their Hamming ball.
    certified_bits : float
        max(0, capacity_bits - log2_ball - t - 64).
    significance_log2 : float
        -t.
    """

    length: int
    alphabet: int
    asked: int
    observed_errors: int
    error_bound: int
    capacity_bits: float
    log2_ball: float
    certified_bits: float
    significance_log2: float

    def refutes(self, wire_bits: int) -> bool:
        """Return whether so small a message is impossible.

        Parameters
        ----------
        wire_bits : int
            Bits that crossed from Alice to Bob.

        Returns
        -------
        bool
            True if 0 < certified_bits and wire_bits <= certified_bits. A certificate of 0 bits says nothing:
            it does not refute an empty message.
        """
        return self.certified_bits > 0 and wire_bits <= self.certified_bits


def one_shot_certificate(
    length: int, errors: int, alphabet: int = 2, significance_bits: float = 40.0, decoders: int = 1
) -> Certificate:
    """Certify from one play in which every position was asked (Theorem A).

    x is uniform on the q^N strings and independent of the public coins. Nothing is assumed of the cache.
    If the errors are those of the best of r decoders, each of them is certified at t + log2 r.

    Parameters
    ----------
    length : int
        Number N of symbols, at least 1.
    errors : int
        Hamming distance between x and what Bob decoded, 0..N.
    alphabet : int
        Size q of the alphabet, at least 2.
    significance_bits : float
        t >= 0: the certificate is wrong with probability at most 2^-t.
    decoders : int
        Number r of decoders, fixed before the play, of which the best is reported; at least 1.

    Returns
    -------
    Certificate
        With `certified_bits` = max(0, N log2 q - log2 Vol_q(N, errors) - t - log2 r - 64).

    Raises
    ------
    ValueError
        If a number is out of its range.

    Examples
    --------
    >>> round(one_shot_certificate(16384, 1000).certified_bits) + 64
    10918
    """
    _check_significance(significance_bits)
    if decoders < 1:
        raise ValueError(f"decoders must be at least 1, got {decoders}")
    each = significance_bits + log2(decoders)
    return _certificate(length, length, errors, errors, alphabet, each, significance_bits)


def sampled_certificate(
    length: int, asked: int, observed_errors: int, alphabet: int = 2, significance_bits: float = 40.0
) -> Certificate:
    """Certify from one play in which a random sample of the positions was asked (theory 1, sampled form).

    The positions are drawn uniformly without replacement after the message is fixed. Half of the error
    probability 2^-t goes to the upper confidence bound on the errors in the whole string, half to Theorem A.

    It is assumed that each answer is a function of the message, the coins and its own position, so that
    there is one decoded string of which the sample is a part. A reader whose answer to one query depends on
    which others are asked with it has no such string; the one-shot certificate does not need this.

    Parameters
    ----------
    length : int
        Number N of symbols, at least 1.
    asked : int
        Number m of positions asked, 1..N.
    observed_errors : int
        Wrong symbols among them, 0..m.
    alphabet : int
        Size q of the alphabet, at least 2.
    significance_bits : float
        t >= 0: the certificate is wrong with probability at most 2^-t.

    Returns
    -------
    Certificate
        With `error_bound` from `hypergeometric_upper_bound`.

    Raises
    ------
    ValueError
        If a number is out of its range.
    """
    _check_significance(significance_bits)
    each = significance_bits + 1
    bound = hypergeometric_upper_bound(length, asked, observed_errors, each)
    return _certificate(length, asked, observed_errors, bound, alphabet, each, significance_bits)


def log2_hamming_ball(length: int, radius: int, alphabet: int = 2) -> float:
    """Return log2 of the number of strings within a Hamming distance, never below the truth.

    The sum of binom(N, k) (q-1)^k over k <= radius starts at its largest term and goes on, in ratios of
    neighbours, until what is left cannot change a double; a geometric series bounds what is left. The
    result is rounded up by `ball_error_bits`, so that it exceeds the truth by at most twice that, and is
    capped at N log2 q.

    Parameters
    ----------
    length : int
        Length N of the strings, at least 1. Time grows as sqrt(N).
    radius : int
        Largest distance, 0..N.
    alphabet : int
        Size q of the alphabet, at least 2.

    Returns
    -------
    float
        log2 Vol_q(N, radius), in [0, N log2 q].

    Raises
    ------
    ValueError
        If a number is out of its range.

    Examples
    --------
    >>> round(log2_hamming_ball(23, 3), 9)  # the Golay code is perfect: 2^12 balls of 2^11 strings
    11.0
    """
    capacity = _capacity_bits(length, alphabet)
    if not 0 <= radius <= length:
        raise ValueError(f"radius must be in 0..{length}, got {radius}")
    others = alphabet - 1
    mode = (length + 1) * others // alphabet
    top = min(radius, mode)

    def down(step: Reals) -> Reals:
        return (top - step) / ((length - top + step + 1) * others)

    def up(step: Reals) -> Reals:
        return (length - top - step) * others / (top + step + 1)

    terms = 1 + _product_sum(down, top) + _product_sum(up, radius - top)
    log2_terms = (_log_binomial(length, top) + top * log(others) + log(terms)) / _LN2
    return min(log2_terms + ball_error_bits(length, alphabet), capacity)


def ball_error_bits(length: int, alphabet: int) -> float:
    """Return a bound on the rounding error of the logarithm of a ball's volume.

    The terms that cancel in a log-binomial are at most ln N! <= N ln N each and k ln(q-1) is at most
    N ln q; three log-gammas of a few units in the last place and four roundings stay within 2^-48 of their
    sum (1.3e-5 bits at N = 2^27, q = 2). The sum of ratios adds less than 2^-36 relatively.

    Parameters
    ----------
    length : int
        Length N of the strings.
    alphabet : int
        Size q of the alphabet.

    Returns
    -------
    float
        Bits.
    """
    return 2.0**-48 * length * (log2(length) + log2(alphabet)) + 2.0**-34


def hypergeometric_upper_bound(length: int, asked: int, observed_errors: int, confidence_bits: float) -> int:
    """Return an upper confidence bound on the errors among all symbols, from a sample of them.

    The largest e for which a sample of m out of N shows at most s errors with probability above
    2^-confidence_bits; the true number exceeds it with at most that probability. The tail is summed in log
    space from its largest term, sound for any confidence, and rounding only moves the bound up.

    Parameters
    ----------
    length : int
        Number N of symbols, at least 1.
    asked : int
        Size m of a uniform sample without replacement, 1..N.
    observed_errors : int
        Errors s in the sample, 0..m.
    confidence_bits : float
        The bound fails with probability at most 2^-confidence_bits.

    Returns
    -------
    int
        Upper bound in s..N-m+s.

    Raises
    ------
    ValueError
        If a number is out of its range.
    """
    if length < 1:
        raise ValueError(f"length must be at least 1, got {length}")
    if not 1 <= asked <= length:
        raise ValueError(f"asked must be in 1..{length}, got {asked}")
    if not 0 <= observed_errors <= asked:
        raise ValueError(f"observed_errors must be in 0..{asked}, got {observed_errors}")
    _check_significance(confidence_bits)
    # Nine log-gammas make up a term, each within the error of one ball.
    slack = 3 * ball_error_bits(length, 2)
    low, high = observed_errors, length - asked + observed_errors
    while low < high:  # the tail falls as the errors grow, and at `low` it is 1
        middle = (low + high + 1) // 2
        if _log2_hypergeometric_tail(length, middle, asked, observed_errors) + slack > -confidence_bits:
            low = middle
        else:
            high = middle - 1
    return low


def fano_bits(length: int, success: float, alphabet: int = 2) -> float:
    """Return the least expected information of a message, from its average success (Theorem A').

    Parameters
    ----------
    length : int
        Number N of symbols, at least 1.
    success : float
        Average probability p of decoding a position, in [0, 1].
    alphabet : int
        Size q of the alphabet, at least 2.

    Returns
    -------
    float
        N (log2 q - H2(1-p) - (1-p) log2(q-1)) bits, and 0 where p <= 1/q: guessing needs no message.

    Raises
    ------
    ValueError
        If a number is out of its range.

    References
    ----------
    A. Nayak. Optimal lower bounds for quantum automata and random access codes. FOCS 1999.
    """
    _capacity_bits(length, alphabet)
    return length * rate_distortion(1 - success, alphabet)


@overload
def rate_distortion(distortion: float, alphabet: int = 2) -> float: ...
@overload
def rate_distortion(distortion: Reals, alphabet: int = 2) -> Reals: ...
def rate_distortion(distortion: float | Reals, alphabet: int = 2) -> float | Reals:
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

    Raises
    ------
    ValueError
        If a number is out of its range.

    References
    ----------
    T. Cover, J. Thomas. Elements of Information Theory, 10.3.
    """
    capacity = _capacity_bits(1, alphabet)
    wrong = np.asarray(distortion, dtype=np.float64)
    if not np.all((wrong >= 0) & (wrong <= 1)):
        raise ValueError(f"distortion must be in [0, 1], got {distortion}")
    entropy_bits = (entr(wrong) + entr(1 - wrong)) / _LN2
    positive = np.maximum(capacity - entropy_bits - wrong * log2(alphabet - 1), 0.0)
    rate: Reals = np.where(wrong < 1 - 1 / alphabet, positive, 0.0)
    return rate if rate.ndim else float(rate)


def frontier_distortion(rate: float, alphabet: int = 2) -> float:
    """Return the least fraction of wrong symbols at a rate: the inverse of `rate_distortion`.

    Parameters
    ----------
    rate : float
        Bits per symbol, at least 0.
    alphabet : int
        Size q of the alphabet, at least 2.

    Returns
    -------
    float
        D in [0, 1 - 1/q]; 0 from log2 q bits on.

    Raises
    ------
    ValueError
        If a number is out of its range.
    """
    capacity = _capacity_bits(1, alphabet)
    if not rate >= 0:
        raise ValueError(f"rate must be at least 0, got {rate}")
    if rate == 0:
        return 1 - 1 / alphabet
    if rate >= capacity:
        return 0.0
    return brentq(lambda wrong: rate_distortion(wrong, alphabet) - rate, 0.0, 1 - 1 / alphabet, xtol=1e-300)


def frontier_accuracy(rate: float, alphabet: int = 2) -> float:
    """Return the highest fraction of right symbols at a rate.

    Parameters
    ----------
    rate : float
        Bits per symbol, at least 0.
    alphabet : int
        Size q of the alphabet, at least 2.

    Returns
    -------
    float
        1 - `frontier_distortion`, in [1/q, 1].

    Raises
    ------
    ValueError
        If a number is out of its range.
    """
    return 1 - frontier_distortion(rate, alphabet)


def _certificate(
    length: int,
    asked: int,
    observed_errors: int,
    error_bound: int,
    alphabet: int,
    ball_bits: float,
    significance_bits: float,
) -> Certificate:
    """Apply Theorem A at significance 2^-ball_bits; the whole claim has significance 2^-significance_bits."""
    if not 0 <= error_bound <= length:
        raise ValueError(f"errors must be in 0..{length}, got {error_bound}")
    capacity = _capacity_bits(length, alphabet)
    ball = log2_hamming_ball(length, error_bound, alphabet)
    return Certificate(
        length=length,
        alphabet=alphabet,
        asked=asked,
        observed_errors=observed_errors,
        error_bound=error_bound,
        capacity_bits=capacity,
        log2_ball=ball,
        certified_bits=max(0.0, capacity - ball - ball_bits - PREFIX_BITS),
        significance_log2=-significance_bits,
    )


def _log2_hypergeometric_tail(length: int, errors: int, asked: int, observed: int) -> float:
    """Return log2 P(at most `observed` of the `errors` lie in the sample), before rounding errors."""
    least, most = max(0, asked - (length - errors)), min(observed, errors)
    mode = (asked + 1) * (errors + 1) // (length + 2)
    top = max(least, min(most, mode))
    rest = length - errors - asked

    def down(step: Reals) -> Reals:
        hits = top - step
        return hits / (errors - hits + 1) * ((rest + hits) / (asked - hits + 1))

    def up(step: Reals) -> Reals:
        hits = top + step
        return (errors - hits) / (hits + 1) * ((asked - hits) / (rest + hits + 1))

    log_top = (
        _log_binomial(errors, top)
        + _log_binomial(length - errors, asked - top)
        - _log_binomial(length, asked)
    )
    terms = 1 + _product_sum(down, top - least) + _product_sum(up, most - top)
    return (log_top + log(terms)) / _LN2


def _product_sum(ratio: Callable[[Reals], Reals], count: int) -> float:
    """Return r0 + r0 r1 + ... (`count` terms, ratios falling), from above, to the precision of a double."""
    total, last, step = 0.0, 1.0, 0
    while step < count:
        ratios = ratio(np.arange(step, min(step + _CHUNK, count), dtype=np.float64))
        products = last * np.cumprod(ratios)
        total += float(products.sum())
        step += len(ratios)
        last = float(products[-1])
        if ratios[-1] < 1 and last <= _NEGLIGIBLE * (1 + total):
            # Later ratios are smaller still: a geometric series bounds the terms left out.
            return total + last * float(ratios[-1] / (1 - ratios[-1]))
    return total


def _log_binomial(length: int, chosen: int) -> float:
    """Return ln binom(length, chosen)."""
    return lgamma(length + 1) - lgamma(chosen + 1) - lgamma(length - chosen + 1)


def _capacity_bits(length: int, alphabet: int) -> float:
    """Return N log2 q, or raise ValueError where there is no such set of strings."""
    if length < 1:
        raise ValueError(f"length must be at least 1, got {length}")
    if alphabet < 2:
        raise ValueError(f"alphabet must be at least 2, got {alphabet}")
    return length * log2(alphabet)


def _check_significance(bits: float) -> None:
    """Raise ValueError unless 2^-bits is a probability."""
    if not 0 <= bits < inf:
        raise ValueError(f"significance_bits must be at least 0 and finite, got {bits}")
