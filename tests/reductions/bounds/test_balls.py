"""Ball volumes against integers, confidence bounds against rationals."""

from fractions import Fraction
from itertools import product
from math import comb, floor, isclose, log2
from time import perf_counter

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.stats import binom, hypergeom

from kvfloor.reductions.bounds.balls import ball_error_bits, hypergeometric_upper_bound, log2_hamming_ball


def volume(length, radius, alphabet):
    """The ball's volume as an integer."""
    return sum(comb(length, k) * (alphabet - 1) ** k for k in range(radius + 1))


def log2_of(number):
    """log2 of a positive integer of any size, to a few units in the last place."""
    shift = max(0, number.bit_length() - 64)
    return log2(number >> shift) + shift


def assert_tight(found, exact, length, alphabet):
    """Never below the truth, never further above than stated; the oracle itself rounds by 4 units."""
    rounding = 4 * np.spacing(max(exact, 1.0))
    assert found >= exact - rounding
    assert found <= exact + 2 * ball_error_bits(length, alphabet) + rounding


balls = st.integers(1, 600).flatmap(
    lambda n: st.tuples(st.just(n), st.integers(0, n), st.sampled_from([2, 3, 4, 5, 16, 257, 6908]))
)


@given(balls)
@example((1, 0, 2))
@example((1, 1, 2))
@example((2, 1, 2))
def test_ball_equals_the_sum_of_integers(ball):
    length, radius, alphabet = ball
    assert_tight(
        log2_hamming_ball(length, radius, alphabet),
        log2_of(volume(length, radius, alphabet)),
        length,
        alphabet,
    )


def test_ball_equals_the_sum_of_integers_exhaustively():
    for length, alphabet in product(range(1, 30), (2, 3, 7)):
        for radius in range(length + 1):
            exact = log2_of(volume(length, radius, alphabet))
            assert_tight(log2_hamming_ball(length, radius, alphabet), exact, length, alphabet)


@pytest.mark.parametrize("length", [10**5, 2**27, 2**27 - 1])
@pytest.mark.parametrize("alphabet", [2, 3, 256])
def test_large_balls_have_their_closed_forms(length, alphabet):
    capacity = length * log2(alphabet)
    assert log2_hamming_ball(length, length, alphabet) == capacity
    # All strings but those that differ from the centre everywhere.
    assert_tight(
        log2_hamming_ball(length, length - 1, alphabet),
        capacity + log2(1 - (1 - 1 / alphabet) ** length),
        length,
        alphabet,
    )
    assert_tight(log2_hamming_ball(length, 0, alphabet), 0.0, length, alphabet)
    assert_tight(log2_hamming_ball(length, 1, alphabet), log2(1 + length * (alphabet - 1)), length, alphabet)
    assert_tight(
        log2_hamming_ball(length, 300, alphabet), log2_of(volume(length, 300, alphabet)), length, alphabet
    )
    if alphabet == 2 and length % 2:  # half of all strings are nearer to 0 than to 1
        assert_tight(log2_hamming_ball(length, length // 2, 2), length - 1.0, length, 2)
    if alphabet == 2 and length % 2 == 0:  # Stirling: the middle layer holds sqrt(2/(pi N)) (1 + O(1/N))
        middle = log2((1 + np.sqrt(2 / (np.pi * length))) / 2)
        assert abs(log2_hamming_ball(length, length // 2, 2) - length - middle) <= 2 * ball_error_bits(
            length, 2
        )


@pytest.mark.parametrize("deviations", [-30, -8, -3, 3])
def test_balls_near_the_mode_are_a_binomial_law(deviations):
    """An oracle that shares no code: SciPy's incomplete beta function, good to 1e-10 relatively here."""
    length = 2**27
    radius = length // 2 + deviations * floor(np.sqrt(length) / 2)
    exact = length + float(binom.logcdf(radius, length, 0.5)) / np.log(2)
    assert 0 <= log2_hamming_ball(length, radius) - exact <= 2 * ball_error_bits(length, 2)


@given(st.integers(2, 2**27), st.integers(2, 1000), st.data())
def test_balls_grow_with_the_radius_up_to_the_capacity(length, alphabet, data):
    radius = data.draw(st.integers(0, length - 1))
    smaller, larger = (log2_hamming_ball(length, r, alphabet) for r in (radius, radius + 1))
    assert 0 <= smaller <= larger + 2 * ball_error_bits(length, alphabet)
    assert larger <= length * log2(alphabet)


def test_a_ball_of_2_to_27_symbols_takes_less_than_a_fifth_of_a_second():
    length = 2**27
    start = perf_counter()
    for radius in (0, 1, length // 1000, length // 2 - 20000, length // 2, length // 2 + 20000, length):
        log2_hamming_ball(length, radius)
    assert perf_counter() - start < 7 * 0.2


def exact_tail(length, errors, asked, observed):
    """P(at most `observed` errors in the sample) as a rational."""
    ways = sum(comb(errors, k) * comb(length - errors, asked - k) for k in range(observed + 1) if k <= asked)
    return Fraction(ways, comb(length, asked))


samples = st.integers(1, 60).flatmap(
    lambda n: st.integers(1, n).flatmap(lambda m: st.tuples(st.just(n), st.just(m), st.integers(0, m)))
)


@given(samples, st.sampled_from([0.0, 1.0, 5.0, 20.0, 41.0]))
def test_upper_bound_is_the_largest_number_of_errors_that_is_not_refuted(sample, bits):
    length, asked, observed = sample
    level = Fraction(1, 2 ** int(bits))
    bound = hypergeometric_upper_bound(length, asked, observed, bits)
    highest = length - asked + observed
    accepted = [e for e in range(observed, highest + 1) if exact_tail(length, e, asked, observed) > level]
    exact = max(accepted, default=observed)
    assert bound >= exact
    if bound > exact:  # only rounding at equality may move it up, and never by more than the slack
        assert isclose(exact_tail(length, bound, asked, observed), level, rel_tol=1e-7)


@given(samples, st.data())
def test_rounding_never_moves_the_upper_bound_down(sample, data):
    """A number of errors whose tail lies on the level, or a hair above, is never refuted."""
    length, asked, observed = sample
    errors = data.draw(st.integers(observed, length - asked + observed))
    bits = -log2(exact_tail(length, errors, asked, observed))
    assert hypergeometric_upper_bound(length, asked, observed, max(0.0, bits)) >= errors


@pytest.mark.parametrize(("length", "asked"), [(12, 5), (20, 12), (9, 9), (30, 1)])
@pytest.mark.parametrize("bits", [1, 3, 8])
def test_upper_bound_fails_rarely_whatever_the_number_of_errors(length, asked, bits):
    bounds = [hypergeometric_upper_bound(length, asked, s, bits) for s in range(asked + 1)]
    for errors in range(length + 1):
        ways = sum(
            comb(errors, s) * comb(length - errors, asked - s)
            for s in range(asked + 1)
            if s <= errors and bounds[s] < errors
        )
        assert Fraction(ways, comb(length, asked)) <= Fraction(1, 2**bits)


@pytest.mark.parametrize("observed", [0, 1, 40, 1500])
def test_upper_bound_at_an_audits_size_against_rationals(observed):
    """2^16 symbols, 3000 asked, 41 bits: the exact tail crosses 2^-41 exactly there."""
    length, asked = 2**16, 3000
    bound = hypergeometric_upper_bound(length, asked, observed, 41.0)
    assert exact_tail(length, bound, asked, observed) > Fraction(1, 2**41)
    assert exact_tail(length, bound + 1, asked, observed) <= Fraction(1, 2**41)


def test_upper_bound_agrees_with_scipy_where_scipy_is_accurate():
    length, asked = 10**6, 1000
    for observed in (0, 10, 500):
        bound = hypergeometric_upper_bound(length, asked, observed, 10.0)
        above, below = (hypergeom.cdf(observed, length, e, asked) for e in (bound + 1, bound))
        assert above <= 2.0**-10 * (1 + 1e-6)
        assert below >= 2.0**-10 * (1 - 1e-6)


@given(samples)
def test_asking_everything_leaves_no_doubt(sample):
    length, _, errors = sample
    assert hypergeometric_upper_bound(length, length, errors, 41.0) == errors


@given(st.integers(1, 2**27), st.data())
def test_upper_bound_moves_with_what_was_seen(length, data):
    asked = data.draw(st.integers(1, min(length, 5000)))
    observed = data.draw(st.integers(0, asked - 1))
    bounds = [hypergeometric_upper_bound(length, asked, s, 41.0) for s in (observed, observed + 1)]
    assert observed <= bounds[0] <= bounds[1] <= length
    assert hypergeometric_upper_bound(length, asked, observed, 10.0) <= bounds[0]


@pytest.mark.parametrize(
    "call",
    [
        lambda: log2_hamming_ball(0, 0),
        lambda: log2_hamming_ball(5, 6),
        lambda: log2_hamming_ball(5, -1),
        lambda: log2_hamming_ball(5, 1, 1),
        lambda: hypergeometric_upper_bound(0, 1, 0, 1.0),
    ],
)
def test_wrong_input_is_refused(call):
    with pytest.raises(ValueError, match=r"must be"):
        call()
