"""The certificates against the inequality that Coq has read (proofs/), in whole numbers."""

from fractions import Fraction
from itertools import combinations
from math import comb, floor

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kvfloor.reductions.bounds.balls import ball_error_bits
from kvfloor.reductions.bounds.certificates import one_shot_certificate, sampled_certificate

PREFIX = 64  # `prefix` of certificate.v: written out here, so that the package cannot choose it
STEP = Fraction(1, 8)  # of a bit: the inequality is raised to the 8th power


def vol(length, alphabet, errors):
    """`vol` of hamming.v."""
    return sum(comb(length, k) * (alphabet - 1) ** k for k in range(errors + 1))


def room(length, alphabet, readers, significance, errors):
    """2^(64 + t) r Vol_q(N, e), to the 8th power."""
    return (readers * vol(length, alphabet, errors)) ** 8 << int(8 * (PREFIX + significance))


def refuted(bits, length, alphabet, readers, significance, errors):
    """`refuted` of certificate.v. Bits and t may be eighths, for both sides are raised to the 8th power."""
    return room(length, alphabet, readers, significance, errors) << int(8 * bits) <= alphabet ** (8 * length)


def tail(length, asked, errors, seen):
    """`tail` of sampled.v."""
    return sum(comb(errors, k) * comb(length - errors, asked - k) for k in range(min(seen, asked) + 1))


def least_bound(length, asked, confidence, seen):
    """`least_bound` of sampled.v."""
    return max(
        e
        for e in range(length + 1)
        if e == 0 or comb(length, asked) < tail(length, asked, e, seen) << confidence
    )


def assert_proved(certified, play):
    """Nothing is certified that is not proved, and of what is proved no more than an eighth of a bit is lost."""
    bits = Fraction(certified)
    assert certified == 0 or refuted(floor(bits / STEP) * STEP, *play)
    # The ball is rounded up by its error bound, twice that at most; 2^-30 is far above the roundings of sums.
    lost = 2 * Fraction(ball_error_bits(play[0], play[1])) + Fraction(1, 2**30)
    assert not refuted((floor((bits + lost) / STEP) + 1) * STEP, *play)


def plays(lengths, readers, wrong):
    """Draw N, q, r, t in eighths, and errors of which at most a fraction of the symbols is wrong."""
    return lengths.flatmap(
        lambda n: st.tuples(
            st.just(n),
            st.sampled_from([2, 3, 4, 5, 16, 257]),
            readers,
            st.integers(0, 320).map(lambda eighths: eighths * STEP),
            st.integers(1 if wrong < 1 else 0, floor(n * wrong)),
        )
    )


any_play = plays(st.integers(1, 500), st.integers(1, 50), wrong=1)
telling_play = plays(st.integers(300, 500), st.integers(2, 50), wrong=1 / 8)
"""A ball round 300 bits whose radius is an eighth holds 2^(300 H2(1/8)) < 2^164 strings; 300 - 164 > 64 + 40 + log2 50."""


def certified_bits(length, alphabet, readers, significance, errors):
    """Return what one play certifies."""
    return one_shot_certificate(length, errors, alphabet, float(significance), readers).certified_bits


@given(any_play)
@example((16384, 2, 3, Fraction(40), 1000))
@example((1, 2, 1, Fraction(0), 0))
@example((65, 2, 1, Fraction(0), 0))
def test_the_certificate_is_the_proved_inequality(play):
    assert_proved(certified_bits(*play), play)


OFF_BY_ONE = {
    "a sphere too few": lambda n, q, r, t, e: (n, q, r, t, e - 1),
    "a sphere too many": lambda n, q, r, t, e: (n, q, r, t, e + 1),
    "a bit of t or of the prefix too few": lambda n, q, r, t, e: (n, q, r, t - 1, e),
    "a bit of t or of the prefix too many": lambda n, q, r, t, e: (n, q, r, t + 1, e),
    "a symbol too few": lambda n, q, r, t, e: (n - 1, q, r, t, e),
    "half of the readers unpaid": lambda n, q, r, t, e: (n, q, r // 2, t, e),
}


@pytest.mark.parametrize("mutation", OFF_BY_ONE)
@given(telling_play)
def test_an_inequality_that_is_off_by_one_does_not_fit_the_certificate(mutation, play):
    """At most N/8 symbols are wrong, so one sphere more at least doubles the ball."""
    certified = certified_bits(*play)
    assert certified > 0
    with pytest.raises(AssertionError):
        assert_proved(certified, OFF_BY_ONE[mutation](*play))


@given(any_play, st.integers(-2, 2))
def test_the_certificate_refutes_what_is_proved_impossible(play, offset):
    """In whole bits: never a message too long, and none too short but the longest, which may fall to rounding."""
    length, alphabet, readers, significance, errors = play
    longest = ((alphabet ** (8 * length) // room(*play)).bit_length() - 1) // 8  # -1 if there is none
    bits = max(0, longest + offset)
    assert refuted(bits, *play) == (bits <= longest)
    certificate = one_shot_certificate(length, errors, alphabet, float(significance), readers)
    if bits != longest:
        assert certificate.refutes(bits) == (bits < longest)


@given(st.integers(1, 300), st.sampled_from([2, 3, 16]), st.integers(0, 60), st.data())
def test_the_sampled_certificate_is_the_proved_one_at_t_plus_1(length, alphabet, significance, data):
    """`theorem_A_sampled`: the bound on the errors holds at t + 1, and the inequality with it, too."""
    asked = data.draw(st.integers(1, length))
    seen = data.draw(st.integers(0, asked))
    found = sampled_certificate(length, asked, seen, alphabet, significance)
    assert found.error_bound >= least_bound(length, asked, significance + 1, seen)
    assert_proved(found.certified_bits, (length, alphabet, 1, Fraction(significance + 1), found.error_bound))
    if found.certified_bits > 0:
        with pytest.raises(AssertionError):
            assert_proved(
                found.certified_bits, (length, alphabet, 1, Fraction(significance), found.error_bound)
            )


@pytest.mark.parametrize(("length", "asked", "confidence"), [(6, 3, 1), (8, 4, 2), (9, 2, 3), (10, 5, 4)])
def test_the_least_bound_misses_rarely_and_one_less_does_not(length, asked, confidence):
    """`upper_bound_misses`, over every sample: the first of the positions are wrong."""
    samples = list(combinations(range(length), asked))
    bounds = [least_bound(length, asked, confidence, seen) for seen in range(asked + 1)]

    def misses(errors, less):
        return sum(bounds[sum(i < errors for i in sample)] - less < errors for sample in samples)

    most = [max(misses(e, less) << confidence for e in range(length + 1)) for less in (0, 1)]
    assert most[0] <= len(samples) < most[1]
