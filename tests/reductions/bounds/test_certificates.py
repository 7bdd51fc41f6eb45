"""Ball volumes against integers, Theorem A by exhaustion, confidence bounds against rationals."""

from fractions import Fraction
from itertools import product
from math import comb, floor, isclose, log2
from time import perf_counter

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import binom, hypergeom

from kvfloor.reductions.bounds.certificates import (
    PREFIX_BITS,
    Certificate,
    ball_error_bits,
    fano_bits,
    frontier_accuracy,
    frontier_distortion,
    hypergeometric_upper_bound,
    log2_hamming_ball,
    one_shot_certificate,
    rate_distortion,
    sampled_certificate,
)


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
        lambda: log2_hamming_ball(0, 0),
        lambda: log2_hamming_ball(5, 6),
        lambda: log2_hamming_ball(5, -1),
        lambda: log2_hamming_ball(5, 1, 1),
        lambda: one_shot_certificate(5, 6),
        lambda: one_shot_certificate(5, 1, significance_bits=-1),
        lambda: one_shot_certificate(5, 1, significance_bits=float("nan")),
        lambda: sampled_certificate(5, 6, 1),
        lambda: sampled_certificate(5, 0, 0),
        lambda: sampled_certificate(5, 3, 4),
        lambda: sampled_certificate(5, 3, -1),
        lambda: hypergeometric_upper_bound(0, 1, 0, 1.0),
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
