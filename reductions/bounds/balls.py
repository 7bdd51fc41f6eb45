"""Sizes of Hamming balls and tails of samples, never below the truth: what the certificates count with (theory 1)."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, lgamma, log, log2

import numpy as np

from kvfloor.reductions.checks import Doubles, check_count

_LN2 = log(2)
_CHUNK = 4096
_NEGLIGIBLE = 2.0**-60  # of the sum so far: below the precision of a double


def capacity_bits(length: int, alphabet: int) -> float:
    """Return N log2 q for N >= 1 symbols of q >= 2, or raise ValueError where there is no such set of strings."""
    return check_count("length", length) * log2(check_count("alphabet", alphabet, 2))


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

    Examples
    --------
    >>> round(log2_hamming_ball(23, 3), 9)  # the Golay code is perfect: 2^12 balls of 2^11 strings
    11.0
    """
    capacity = capacity_bits(length, alphabet)
    if not 0 <= radius <= length:
        raise ValueError(f"radius must be in 0..{length}, got {radius}")
    others = alphabet - 1
    mode = (length + 1) * others // alphabet
    top = min(radius, mode)

    def down(step: Doubles) -> Doubles:
        return (top - step) / ((length - top + step + 1) * others)

    def up(step: Doubles) -> Doubles:
        return (length - top - step) * others / (top + step + 1)

    terms = 1 + _product_sum(down, top) + _product_sum(up, radius - top)
    log2_terms = (_log_binomial(length, top) + top * log(others) + log(terms)) / _LN2
    return min(log2_terms + ball_error_bits(length, alphabet), capacity)


def ball_error_bits(length: int, alphabet: int) -> float:
    """Return a bound on the rounding error of the logarithm of a ball's volume.

    The terms that cancel in a log-binomial are at most ln N! <= N ln N each and k ln(q-1) is at most
    N ln q; three log-gammas of a few units in the last place and four roundings stay within 2^-48 of their
    sum (1.3e-5 bits at N = 2^27, q = 2). The sum of ratios adds less than 2^-36 relatively.

    Length and alphabet are those of `log2_hamming_ball`.
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
    """
    check_count("length", length)
    if not 1 <= asked <= length:
        raise ValueError(f"asked must be in 1..{length}, got {asked}")
    if not 0 <= observed_errors <= asked:
        raise ValueError(f"observed_errors must be in 0..{asked}, got {observed_errors}")
    check_significance(confidence_bits)
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


def check_significance(bits: float) -> float:
    """Return t if 2^-t is a probability, else raise ValueError."""
    if not 0 <= bits < inf:
        raise ValueError(f"significance_bits must be at least 0 and finite, got {bits}")
    return bits


def _log2_hypergeometric_tail(length: int, errors: int, asked: int, observed: int) -> float:
    """Return log2 P(at most `observed` of the `errors` lie in the sample), before rounding errors."""
    least, most = max(0, asked - (length - errors)), min(observed, errors)
    mode = (asked + 1) * (errors + 1) // (length + 2)
    top = max(least, min(most, mode))
    rest = length - errors - asked

    def down(step: Doubles) -> Doubles:
        hits = top - step
        return hits / (errors - hits + 1) * ((rest + hits) / (asked - hits + 1))

    def up(step: Doubles) -> Doubles:
        hits = top + step
        return (errors - hits) / (hits + 1) * ((asked - hits) / (rest + hits + 1))

    log_top = (
        _log_binomial(errors, top)
        + _log_binomial(length - errors, asked - top)
        - _log_binomial(length, asked)
    )
    terms = 1 + _product_sum(down, top - least) + _product_sum(up, most - top)
    return (log_top + log(terms)) / _LN2


def _product_sum(ratio: Callable[[Doubles], Doubles], count: int) -> float:
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
