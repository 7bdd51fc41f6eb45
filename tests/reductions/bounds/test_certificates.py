"""Certificates: their formula, and Theorem A by exhaustion."""

from fractions import Fraction
from itertools import product
from math import comb, log2

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvfloor.reductions.bounds.balls import hypergeometric_upper_bound, log2_hamming_ball
from kvfloor.reductions.bounds.certificates import (
    PREFIX_BITS,
    Certificate,
    one_shot_certificate,
    sampled_certificate,
)


def volume(length, radius, alphabet):
    """The ball's volume as an integer."""
    return sum(comb(length, k) * (alphabet - 1) ** k for k in range(radius + 1))


def test_one_shot_certificates_of_theory_1():
    for errors, bits in ((0, 16344), (100, 15469), (1000, 10918), (4096, 3059)):
        assert round(one_shot_certificate(16384, errors).certified_bits + PREFIX_BITS) == bits


@given(st.integers(1, 5000), st.integers(2, 50), st.floats(0, 100), st.data())
def test_one_shot_certificate_is_its_formula(length, alphabet, significance, data):
    errors = data.draw(st.integers(0, length))
    certificate = one_shot_certificate(length, errors, alphabet, significance)
    capacity, ball = length * log2(alphabet), log2_hamming_ball(length, errors, alphabet)
    assert certificate == Certificate(
        length=length,
        alphabet=alphabet,
        asked=length,
        observed_errors=errors,
        error_bound=errors,
        capacity_bits=capacity,
        log2_ball=ball,
        certified_bits=max(0.0, capacity - ball - significance - 64),
        significance_log2=-significance,
    )


def violating_significance(length, alphabet, errors, message_bits):
    """The t up to which a message of known length violates N log2 q - log2 Vol - t >= |M|, as an exact ratio.

    The prefix of 64 bits pays for messages of all lengths at once; with the length known it is not needed.
    Returns 2^t = q^N / (Vol 2^|M|).
    """
    return Fraction(alphabet**length, volume(length, errors, alphabet) * 2**message_bits)


def assert_theorem_a(length, alphabet, message_bits, distances):
    """For every t the fraction of the q^N equally likely strings that violate it is at most 2^-t."""
    ratios = sorted(
        (violating_significance(length, alphabet, int(e), message_bits) for e in distances), reverse=True
    )
    for rank, ratio in enumerate(ratios, start=1):  # at t = log2 ratio, `rank` strings violate
        assert Fraction(rank, len(ratios)) <= 1 / ratio, (length, alphabet, message_bits, rank)


def all_strings(length, alphabet):
    return np.array(list(product(range(alphabet), repeat=length)))


@pytest.mark.parametrize(("length", "alphabet", "message_bits"), [(2, 2, 1), (3, 2, 1), (2, 3, 1), (2, 2, 0)])
def test_theorem_a_for_every_decoder(length, alphabet, message_bits):
    """Every set of decoded strings; the encoder that picks the nearest is the worst one for the theorem."""
    strings = all_strings(length, alphabet)
    distance = (strings[:, None] != strings[None]).sum(axis=2)
    for decoded in product(range(len(strings)), repeat=2**message_bits):
        assert_theorem_a(length, alphabet, message_bits, distance[:, decoded].min(axis=1))


def test_theorem_a_for_every_encoder_and_decoder_of_one_bit_on_two():
    strings = all_strings(2, 2)
    distance = (strings[:, None] != strings[None]).sum(axis=2)
    for message in product(range(2), repeat=4):
        for decoded in product(range(4), repeat=2):
            assert_theorem_a(2, 2, 1, [distance[x, decoded[message[x]]] for x in range(4)])


@settings(max_examples=40)
@given(
    st.sampled_from([(8, 2), (10, 2), (5, 3), (4, 4)]),
    st.integers(0, 6),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_theorem_a_for_random_protocols(shape, message_bits, nearest, seed):
    length, alphabet = shape
    rng = np.random.default_rng(seed)
    strings = all_strings(length, alphabet)
    decoded = strings[rng.integers(len(strings), size=2**message_bits)]
    distance = (strings[:, None] != decoded[None]).sum(axis=2)
    message = distance.argmin(axis=1) if nearest else rng.integers(2**message_bits, size=len(strings))
    assert_theorem_a(length, alphabet, message_bits, distance[np.arange(len(strings)), message])


def test_theorem_a_is_tight_for_the_hamming_code():
    """7 bits, 4-bit messages, at most 1 error: all 128 strings meet the theorem with equality at t = 0."""
    strings = all_strings(7, 2)
    checks = np.array([[1, 0, 1, 0, 1, 0, 1], [0, 1, 1, 0, 0, 1, 1], [0, 0, 0, 1, 1, 1, 1]])
    codewords = strings[~(strings @ checks.T % 2).any(axis=1)]
    assert len(codewords) == 16
    distances = (strings[:, None] != codewords[None]).sum(axis=2).min(axis=1)
    assert_theorem_a(7, 2, 4, distances)
    assert violating_significance(7, 2, 1, 4) == 1
    with pytest.raises(AssertionError):  # a 3-bit count of the same messages is a lie that the check sees
        assert_theorem_a(7, 2, 3, distances)


def test_certificate_refutes_from_its_bits_down_but_never_on_nothing():
    certificate = one_shot_certificate(1000, 0)
    assert round(certificate.certified_bits) == 1000 - 40 - 64
    assert certificate.refutes(1000 - 40 - 65)
    assert not certificate.refutes(1000 - 40 - 63)
    nothing = one_shot_certificate(1000, 500)
    assert nothing.certified_bits == 0
    assert not nothing.refutes(0)


def test_certificate_of_a_cache_that_keeps_some_bits_and_guesses_the_rest():
    """Honest caches are never refuted: the certificate exceeds |M| with probability at most 2^-40."""
    rng = np.random.default_rng(5)
    length = 2000
    for kept in range(0, length + 1, 50):
        errors = int((rng.integers(0, 2, length - kept)).sum())
        assert not one_shot_certificate(length, errors).refutes(kept)


def test_sampled_certificate_splits_its_significance():
    certificate = sampled_certificate(2**20, 4096, 7, 4, significance_bits=40)
    assert certificate.significance_log2 == -40
    assert certificate.error_bound == hypergeometric_upper_bound(2**20, 4096, 7, 41)
    assert certificate.observed_errors == 7
    assert certificate.asked == 4096
    ball = log2_hamming_ball(2**20, certificate.error_bound, 4)
    assert certificate.certified_bits == 2.0**21 - ball - 41 - 64
    everything = sampled_certificate(1000, 1000, 3)
    assert everything.certified_bits == pytest.approx(one_shot_certificate(1000, 3).certified_bits - 1)


@pytest.mark.parametrize(
    "call",
    [
        lambda: one_shot_certificate(5, 6),
        lambda: one_shot_certificate(5, 1, significance_bits=-1),
        lambda: one_shot_certificate(5, 1, significance_bits=float("nan")),
        lambda: sampled_certificate(5, 6, 1),
        lambda: sampled_certificate(5, 0, 0),
        lambda: sampled_certificate(5, 3, 4),
        lambda: sampled_certificate(5, 3, -1),
    ],
)
def test_wrong_input_is_refused(call):
    with pytest.raises(ValueError, match=r"must be"):
        call()
