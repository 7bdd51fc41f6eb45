"""What one play proves: certificates, from errors and a length (theory 1)."""

from __future__ import annotations

from dataclasses import dataclass
from math import log2

from kvfloor.reductions.bounds.balls import (
    capacity_bits,
    check_significance,
    hypergeometric_upper_bound,
    log2_hamming_ball,
)
from kvfloor.reductions.checks import check_count

PREFIX_BITS = 64
"""What a self-delimiting length costs; without it the length of a message could carry information."""


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
    check_significance(significance_bits)
    paid = log2(check_count("decoders", decoders))
    return _certificate((length, length, errors, errors), alphabet, significance_bits, paid)


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
    length, alphabet, significance_bits
        Those of `one_shot_certificate`.
    asked : int
        Number m of positions asked, 1..N.
    observed_errors : int
        Wrong symbols among them, 0..m.

    Returns
    -------
    Certificate
        With `error_bound` from `hypergeometric_upper_bound`.
    """
    check_significance(significance_bits)
    bound = hypergeometric_upper_bound(length, asked, observed_errors, significance_bits + 1)
    return _certificate((length, asked, observed_errors, bound), alphabet, significance_bits, 1)


def _certificate(
    counts: tuple[int, int, int, int], alphabet: int, significance_bits: float, paid_bits: float
) -> Certificate:
    """Apply Theorem A at t + `paid_bits`, as the first fields of the certificate count."""
    length, asked, observed_errors, error_bound = counts
    if not 0 <= error_bound <= length:
        raise ValueError(f"errors must be in 0..{length}, got {error_bound}")
    capacity = capacity_bits(length, alphabet)
    ball = log2_hamming_ball(length, error_bound, alphabet)
    return Certificate(
        length=length,
        alphabet=alphabet,
        asked=asked,
        observed_errors=observed_errors,
        error_bound=error_bound,
        capacity_bits=capacity,
        log2_ball=ball,
        certified_bits=max(0.0, capacity - ball - (significance_bits + paid_bits) - PREFIX_BITS),
        significance_log2=-significance_bits,
    )
