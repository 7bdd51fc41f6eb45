"""Tail bounds, against exact binomial tails; and the slots that follow from them."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from kvfloor.attention.caches.subgen.concentration import bernstein_tail, subgen_slots


@given(st.integers(1, 5000), st.floats(1e-3, 0.999), st.floats(0.01, 1))
@settings(max_examples=200, deadline=None)
def test_no_binomial_exceeds_the_tail(draws, chance, share):
    """A sum of draws in {0, 1}: variance n p (1-p), none further from its mean than max(p, 1-p)."""
    mean, deviation = draws * chance, share * draws * max(chance, 1 - chance)
    exact = stats.binom.cdf(mean - deviation, draws, chance) + stats.binom.sf(
        math.ceil(mean + deviation) - 1, draws, chance
    )
    bound = bernstein_tail(deviation, draws * chance * (1 - chance), max(chance, 1 - chance))
    assert exact <= bound * (1 + 1e-9)


def test_the_tail_is_not_far_above_the_truth():
    """Half the variance would put it below a normal tail: nothing in it can be given away."""
    deviation, variance = 6.0, 1.0
    normal = 2 * stats.norm.sf(deviation)
    assert normal < bernstein_tail(deviation, variance, 1e-3) < 100 * normal
    assert bernstein_tail(deviation, variance / 2, 1e-3) < normal


def test_tails_of_nothing_and_of_arrays():
    assert bernstein_tail(1.0, 0.0, 0.0) == 0
    assert bernstein_tail(0.0, 0.0, 0.0) == 2
    tails = bernstein_tail(np.array([1.0, 2.0]), np.array([1.0, 1.0]), np.array([1.0, 0.0]))
    assert tails.tolist() == [bernstein_tail(1.0, 1.0, 1.0), bernstein_tail(2.0, 1.0, 0.0)]


@pytest.mark.parametrize("accuracy", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("failure", [1e-3, 1e-10])
@pytest.mark.parametrize("radius", [0.1, 0.75, 2.0])
def test_slots_are_the_least_that_the_tails_allow(accuracy, failure, radius):
    a = accuracy / (2 + accuracy)
    assert 2 * a / (1 - a) == pytest.approx(accuracy)
    t, s = subgen_slots(accuracy=accuracy, failure=failure, score_radius=radius, stable_rank=3, peak=20)

    def tails(t, s):
        return (
            bernstein_tail(a, math.sinh(radius) ** 2 / t, math.expm1(2 * radius) / t),
            bernstein_tail(a, 3 / s, 20 / s),
        )

    assert max(tails(t, s)) <= failure * (1 + 1e-9)
    assert min(tails(t - 1, s - 1)) > failure * (1 - 1e-9)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=20), st.floats(0.01, 3))
@settings(max_examples=100, deadline=None)
def test_the_spread_of_a_cluster(scores, radius):
    """Weights e^s, |s| <= r: relative variance at most sinh^2 r, none further from the mean than e^2r - 1 of it."""
    weights = np.exp(radius * np.array(scores))
    assert weights.var() <= math.sinh(radius) ** 2 * weights.mean() ** 2 * (1 + 1e-9)
    assert np.abs(weights - weights.mean()).max() <= math.expm1(2 * radius) * weights.mean() * (1 + 1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"accuracy": 0.0}, "accuracy is 0.0, expected a positive number"),
        ({"failure": 0.0}, r"failure is 0.0, expected a number in \(0, 1\)"),
        ({"failure": 1.0}, r"failure is 1.0, expected a number in \(0, 1\)"),
        ({"score_radius": -1.0}, "score_radius is -1.0"),
        ({"score_radius": 1e3}, "score_radius is 1000.0, expected a positive number up to 100"),
        ({"stable_rank": 0.0}, "stable_rank is 0.0"),
        ({"peak": math.nan}, "peak is nan"),
    ],
)
def test_wrong_numbers(change, message):
    numbers = {"accuracy": 0.5, "failure": 1e-6, "score_radius": 1.0, "stable_rank": 2.0, "peak": 5.0}
    with pytest.raises(ValueError, match=message):
        subgen_slots(**{**numbers, **change})
