"""Intervals that may be looked at after every value: they hold the mean at all times at once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from kvfloor.experiments.engine.confidence import CANDIDATES, intervals, stops_at

ERROR, PATHS, LOOKS = 0.1, 300, 120
FALSE_ALARM = 1e-6
DRAWS = {
    "coin": (0.9, lambda rng: rng.random(LOOKS) < 0.9),
    "play": (0.75, lambda rng: rng.beta(75, 25, LOOKS)),
    "rare": (0.96, lambda rng: 0.96 + 0.04 * np.where(rng.random(LOOKS) < 0.04, -24.0, 1.0)),
}
allowed = int(
    stats.binom.isf(FALSE_ALARM, PATHS, ERROR)
)  # of the paths, if each misses with probability ERROR


def misses(draw, mean, looked_at):
    """Return how many paths have a look at which their interval does not hold the mean."""
    missed = 0
    for seed in range(PATHS):
        values = draw(np.random.default_rng(seed)).astype(float)
        missed += any(not low <= mean <= high for low, high in looked_at(values))
    return missed


@pytest.mark.parametrize("name", DRAWS)
def test_the_mean_is_held_at_all_looks_at_once(name):
    mean, draw = DRAWS[name]
    assert misses(draw, mean, lambda values: ((i.low, i.high) for i in intervals(values, ERROR))) <= allowed


def test_an_interval_for_one_look_does_not_stand_many():
    def textbook(values):
        for count in range(10, LOOKS + 1):
            seen = values[:count]
            half = stats.norm.isf(ERROR / 2) * seen.std(ddof=1) / count**0.5
            yield seen.mean() - half, seen.mean() + half

    assert misses(DRAWS["coin"][1], 0.9, textbook) > allowed


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.floats(0.001, 0.5))
def test_intervals_lie_in_each_other_and_in_the_unit_interval(values, error):
    found = intervals(values, error)
    assert len(found) == len(values)
    for before, after in zip([found[0], *found], found, strict=False):
        assert 0 <= before.low <= after.low <= after.high <= before.high <= 1


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_a_mean_and_its_mirror_image_have_mirrored_intervals(values):
    mirrored = intervals([1 - value for value in values], ERROR)
    for one, other in zip(intervals(values, ERROR), mirrored, strict=True):
        assert abs(one.low - (1 - other.high)) <= 1.5 / CANDIDATES  # rounding may tip one candidate
        assert abs(one.high - (1 - other.low)) <= 1.5 / CANDIDATES


def test_wealth_is_what_the_definition_says():
    values, error, mean = [0.2, 0.9, 0.4, *[0.8] * 12], 0.5, 0.3
    up = down = 1.0
    estimate, variance = 0.5, 0.25
    held = []
    for number, value in enumerate(values, 1):
        stake = (2 * np.log(2 / error) / (variance * number * np.log(1 + number))) ** 0.5
        up *= 1 + min(stake, 0.75 / mean) * (value - mean)
        down *= 1 - min(stake, 0.75 / (1 - mean)) * (value - mean)
        held.append(max(up, down) < 2 / error)
        estimate = (0.5 + sum(values[:number])) / (number + 1)
        variance = variance * number / (number + 1) + (value - estimate) ** 2 / (number + 1)
    assert held == sorted(held, reverse=True)  # so that no interval before speaks
    assert {True, False} == set(held)
    assert held == [i.low <= mean <= i.high for i in intervals(values, error)]


def test_one_stops_at_the_first_interval_that_is_narrow_enough():
    values = [0.75] * 400
    widths = [interval.width for interval in intervals(values, 0.05)]
    stop = stops_at(values, 0.05, 0.1)
    assert widths[stop - 1] <= 0.1 < widths[stop - 2]
    assert stops_at(values[: stop - 1], 0.05, 0.1) is None
    assert stops_at(values[:stop], 0.05, 0.1) == stop  # what comes after does not count


@pytest.mark.parametrize(("values", "error", "sentence"), [
    ([0.5], 0.0, r"error must lie in \(0, 1\), got 0.0"),
    ([0.5], 1.0, r"error must lie in \(0, 1\), got 1.0"),
    ([1.5], 0.1, r"a value must lie in \[0, 1\], got 1.5"),
    ([float("nan")], 0.1, "got nan"),
])  # fmt: skip
def test_wrong_input_is_told(values, error, sentence):
    with pytest.raises(ValueError, match=sentence):
        intervals(values, error)
