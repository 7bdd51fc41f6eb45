"""The Shannon frontier: its inverse, its shape, known codes, and the certificate that approaches it."""

from fractions import Fraction
from math import floor, log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvfloor.reductions.bounds.balls import ball_error_bits, log2_hamming_ball
from kvfloor.reductions.bounds.frontier import (
    fano_bits,
    frontier_accuracy,
    frontier_distortion,
    rate_distortion,
)


@given(st.sampled_from([2, 3, 4, 16, 1000]), st.floats(0, 1))
def test_frontier_and_its_inverse(alphabet, share):
    rate = share * log2(alphabet)
    wrong = frontier_distortion(rate, alphabet)
    assert 0 <= wrong <= 1 - 1 / alphabet
    # The slope of R is -log2((1-D)(q-1)/D): an error of 4e-16 D moves R by less than 1e-12.
    assert abs(rate_distortion(wrong, alphabet) - rate) < 1e-12
    assert frontier_accuracy(rate, alphabet) == 1 - wrong


@given(st.sampled_from([2, 3, 16]), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_frontier_is_convex_falling_and_below_time_sharing(alphabet, first, second, weight):
    rates = rate_distortion(np.array([first, second, weight * first + (1 - weight) * second]), alphabet)
    assert rates[2] <= weight * rates[0] + (1 - weight) * rates[1] + 1e-12
    assert (rates[0] - rates[1]) * (second - first) >= 0
    chance = 1 - 1 / alphabet
    assert rates[0] <= log2(alphabet) * max(0.0, 1 - first / chance) + 1e-12


def test_frontier_at_its_ends_and_at_known_codes():
    for alphabet in (2, 3, 10):
        assert rate_distortion(0.0, alphabet) == log2(alphabet)
        assert rate_distortion(1 - 1 / alphabet, alphabet) == pytest.approx(0, abs=1e-12)
        assert rate_distortion(1.0, alphabet) == 0
        assert frontier_distortion(0.0, alphabet) == 1 - 1 / alphabet
        assert frontier_distortion(log2(alphabet), alphabet) == 0
        assert frontier_distortion(log2(alphabet) + 1, alphabet) == 0
    # H2(1/4) = 2 - (3/4) log2 3, and perfect codes lie above the frontier.
    assert rate_distortion(0.25) == pytest.approx(0.75 * log2(3) - 1, abs=1e-12)
    golay = Fraction(0 + 23 + 2 * 253 + 3 * 1771, 2048 * 23)
    for rate, wrong in ((1 / 3, 0.25), (4 / 7, 0.125), (12 / 23, float(golay))):
        assert frontier_distortion(rate) < wrong


def test_fano_holds_for_the_best_one_bit_of_three_and_is_zero_for_guessing():
    """A majority bit answers each of three bits with probability 3/4; it carries 1 bit of information."""
    assert fano_bits(3, 0.75) <= 1
    assert fano_bits(3, 0.75) == pytest.approx(3 * rate_distortion(0.25))
    assert fano_bits(7, 1.0, 4) == 14
    assert fano_bits(100, 0.2, 4) == 0


@given(st.integers(100, 3000), st.sampled_from([2, 3, 8]), st.data())
def test_the_certificate_approaches_the_frontier(length, alphabet, data):
    """Sphere bound: N R(D) <= N log2 q - log2 Vol(N, N D) <= N R(D) + log2(N + 1) for D <= 1 - 1/q."""
    errors = data.draw(st.integers(0, floor(length * (1 - 1 / alphabet))))
    gap = length * log2(alphabet) - log2_hamming_ball(length, errors, alphabet)
    shannon = fano_bits(length, 1 - errors / length, alphabet)
    slack = 2 * ball_error_bits(length, alphabet) + 1e-9
    assert shannon - slack <= gap <= shannon + log2(length + 1) + slack


@pytest.mark.parametrize(
    "call",
    [
        lambda: rate_distortion(1.5),
        lambda: rate_distortion(np.array([0.1, -0.1])),
        lambda: rate_distortion(float("nan")),
        lambda: frontier_distortion(-1.0),
        lambda: frontier_distortion(float("nan")),
        lambda: fano_bits(0, 0.5),
        lambda: fano_bits(5, 1.5),
    ],
)
def test_wrong_input_is_refused(call):
    with pytest.raises(ValueError, match=r"must be"):
        call()
