"""Levels, their thresholds, and what cannot stand for symbols."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvfloor.reductions.accuracy import Accuracy
from kvfloor.reductions.encodings.levels import BINARY, Levels, Reading


def test_the_named_levels_are_what_they_say():
    assert BINARY.values.tolist() == [0.0, 1.0]
    assert Levels.equal(5).values.tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert Levels.geometric(4, 1e-3).values.tolist() == pytest.approx([1e-3, 1e-2, 1e-1, 1.0])
    assert len(Levels.of([0.5, 2, 7])) == 3


@given(st.integers(2, 40), st.floats(0, 0.5), st.floats(0, 0.01), st.booleans())
def test_thresholds_part_the_worst_outputs_wherever_these_are_apart(alphabet, eta, kappa, geometric):
    levels = Levels.geometric(alphabet, 1e-3) if geometric else Levels.equal(alphabet)
    x = levels.values
    most, least = (1 + eta) * (x + kappa * x[-1]) / (1 + kappa), (1 - eta) * x / (1 + kappa)
    thresholds = levels.thresholds(Accuracy(eta), kappa)
    assert np.all(thresholds <= least[1:])
    apart = most[:-1] < least[1:]
    assert np.all(most[:-1][apart] <= thresholds[apart])
    # The resolution is the kappa at which the first pair meets.
    assert not apart.all() or kappa <= levels.resolution(eta) * (1 + 1e-9)
    assert apart.all() or kappa >= levels.resolution(eta) * (1 - 1e-9) - 1e-15


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Levels.of([1.0]), "at least 2 numbers"),
        (lambda: Levels.of([[0.0, 1.0]]), "must be a vector"),
        (lambda: Levels.of([0.0, 0.0]), "strictly ascending"),
        (lambda: Levels.of([-1.0, 1.0]), "non-negative"),
        (lambda: Levels.of([0.0, np.nan]), "finite"),
        (lambda: Levels.of([0.0, np.inf]), "finite"),
        (lambda: Levels.geometric(1), "alphabet must be 2 to 16777216 levels, got 1"),
        (lambda: Levels.geometric(2**24 + 1), "alphabet must be 2 to"),
        (lambda: Levels.equal(1), "alphabet must be 2 to"),
        (lambda: Levels.geometric(4, 0.0), r"lowest must be in \(0, 1\), got 0.0"),
        (lambda: Levels.geometric(4, 1.0), r"lowest must be in \(0, 1\), got 1.0"),
        (lambda: Reading(float("nan"), np.array([0.5])), "query_norm must be finite and at least 0, got nan"),
    ],
)
def test_wrong_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
