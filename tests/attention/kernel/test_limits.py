"""What weights must keep to: nothing overflows or vanishes, and what is left out is a share of the rounding granted."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvfloor.attention.kernel.limits import BIT, FOLD, SHARE, Limits, power, rounding


def limits(dtype, terms=4096):
    return Limits.of(np.dtype(dtype), terms, 64, 700)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("terms", [1, 4096, 1 << 40])
def test_as_many_of_the_largest_weights_as_there_are_terms_do_not_overflow(dtype, terms):
    kept = limits(dtype, terms)
    largest = float(power(dtype(kept.highest)))
    most = float(np.finfo(dtype).max)
    assert largest * terms < most / 2
    assert largest * terms > most / 16  # and hardly more would do
    smallest = power(dtype(kept.smallest))
    assert smallest >= np.finfo(dtype).tiny
    assert smallest < 4 * np.finfo(dtype).tiny


@given(st.floats(-50, 50), st.floats(0, 1e4), st.sampled_from([np.float32, np.float64]))
def test_all_weights_at_the_cut_are_together_a_share_of_the_rounding(largest, beyond, dtype):
    kept, bounds = limits(dtype), np.array([abs(largest) + beyond])
    (cut,) = kept.cuts(np.array([largest]), bounds)
    granted = rounding(64, np.finfo(dtype).eps / 2, bounds[0] / FOLD) + 700 * np.finfo(dtype).eps / 2
    if cut == -np.inf:  # all scores lie above it, or scores round by more than the bit that is left
        lowest = largest - BIT * (1 + math.log2(4096 * SHARE / min(granted, SHARE / 1024)))
        assert lowest <= -bounds[0] + 1e-6 or 2 * rounding(64, np.finfo(dtype).eps / 2, bounds[0]) >= BIT
        return
    left_out = 4096 * 2 ** ((cut - largest) / BIT)
    assert left_out == pytest.approx(min(granted / SHARE, 2**-10) / 2)


def test_sums_that_are_too_small_or_clipped_are_uncertain():
    kept = limits(np.float32)
    bounds, shifts = np.full(6, 60.0 * BIT), np.zeros(6)
    cuts = kept.cuts(np.full(6, 50.0 * BIT), bounds)
    enough = 4096 * 2.0 ** (cuts[0] / BIT) / kept.left_out(bounds)[0]
    sums = enough * np.array([0.0, 0.5, 0.999, 1.001, 2.0, 1e9])
    assert kept.uncertain(sums, bounds, shifts, cuts).tolist() == [0, 1, 2]
    nothing_left_out = np.full(6, -np.inf)
    assert kept.uncertain(sums[1:], bounds[1:], shifts[1:], nothing_left_out[1:]).tolist() == []
    # Shifted by so little that a score near its bound would be clipped: a sum as large as if one were.
    far = np.full(2, 2 * kept.highest)
    sums = np.array([1.0, 2.0 ** (kept.highest / BIT)])
    assert kept.uncertain(sums, far, np.full(2, 0.5 * kept.highest), np.full(2, -np.inf)).tolist() == [1]


@given(st.floats(0, 1e5), st.floats(-1, 1), st.sampled_from([np.float32, np.float64]))
def test_scores_are_shifted_only_where_weights_could_leave_their_range(bound, part, dtype):
    kept, bounds = limits(dtype), np.array([bound])
    (unknown,) = kept.shifts(np.array([-np.inf]), bounds)
    (known,) = kept.shifts(np.array([part * bound]), bounds)
    if bound <= kept.highest:
        assert (unknown, known) == (0.0, 0.0)
    else:
        assert unknown == pytest.approx(bound - kept.highest)
        assert known == part * bound
