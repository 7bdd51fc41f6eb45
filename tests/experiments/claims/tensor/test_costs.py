"""Counts of operations and bytes: what they are on a case counted by hand, and how they compare."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvfloor.experiments.claims.tensor.costs import DecodeCost, Sizes

sizes = st.integers(1, 5000)


def test_a_small_case_counted_by_hand():
    # n = 2, d = 3, d_v = 1: K1 diag(q) 6, scores 2*4*3, weights times V2 2*4*1, with V1 and summed 2*2, sum of weights 4.
    small = Sizes(2, 3, 1)
    assert small.four_caches() == DecodeCost(6 + 24 + 8 + 4 + 4, 4, 4 * 2 * 2 * 4, 0)
    # Rows: scores 2*4*3, values 2*4*1, sum of weights 4.
    assert small.two_caches() == DecodeCost(24 + 8 + 4, 4, 4 * 4 * 4, 0)
    assert small.rows_formed() == DecodeCost(36 + 16, 4, 64 + 64, 64)


@given(sizes, sizes, sizes)
def test_two_caches_read_half_n_times_as_much(tokens, dim, value_dim):
    all_sizes = Sizes(tokens, dim, value_dim)
    four, two, formed = all_sizes.four_caches(), all_sizes.two_caches(), all_sizes.rows_formed()
    assert 2 * two.bytes_read == tokens * four.bytes_read
    assert formed.operations - two.operations == tokens**2 * (dim + value_dim)
    assert four.operations - two.operations == tokens * (dim + 2 * value_dim)
    assert four.exponentials == two.exponentials == formed.exponentials == tokens**2


@pytest.mark.parametrize("wrong", [(0, 1, 1), (1, -1, 1), (1, 1, 1.5)])
def test_wrong_sizes_are_told(wrong):
    with pytest.raises(ValueError, match="expected an integer"):
        Sizes(*wrong)
