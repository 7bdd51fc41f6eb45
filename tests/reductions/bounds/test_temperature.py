"""Floors of additive accuracy: what they say is decoded, is; and the inequality behind the floor of all queries."""

from math import e, exp, expm1, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvfloor.reductions.bounds.temperature import (
    additive_levels,
    averages_floor,
    differences_floor,
    every_query_floor,
    threshold_floor,
)

FLOORS = (threshold_floor, differences_floor, averages_floor, every_query_floor)


@given(st.sampled_from(FLOORS), st.integers(1, 2000), st.floats(0.01, 30), st.floats(1e-4, 0.2))
def test_more_tokens_colder_queries_and_more_accuracy_force_more(floor, tokens, rho, eps):
    bits = floor(tokens, rho, eps)
    assert 0 <= bits <= tokens * np.log2(1 / (2 * eps) + 1) + 1e-9
    assert bits <= floor(2 * tokens, rho, eps) * 1.001 + 1e-9  # a grid stands for large numbers of tokens
    assert bits <= floor(tokens, rho, 0.9 * eps) + 1e-9
    if floor is not every_query_floor:  # whose proof gives h >= rho^2 away
        assert bits <= floor(tokens, 1.1 * rho, eps) + 1e-9


@given(st.integers(2, 60), st.floats(0.05, 12), st.floats(0.001, 0.3), st.integers(0, 2**32 - 1))
def test_differences_decode_as_many_levels_as_they_say(tokens, rho, eps, seed):
    """Single tokens, asked by rho k_i and by the zero query, at the worst answers within eps."""
    levels = int(np.ceil(1 / (2 * eps * (1 + 2 * tokens / expm1(rho)))))
    rng = np.random.default_rng(seed)
    x = rng.integers(0, max(levels, 1), tokens)
    values = x / max(levels - 1, 1)
    weights = 1 + expm1(rho) * np.eye(tokens)
    lone, flat = weights @ values / (exp(rho) + tokens - 1), values.mean()
    for sign in (-1, 1):
        lifted = (exp(rho) + tokens - 1) * (lone + sign * eps) - tokens * (flat - sign * eps)
        read = np.rint(lifted / expm1(rho) * max(levels - 1, 1))
        if levels > 1 and 2 * eps * (1 + 2 * tokens / expm1(rho)) * (levels - 1) < 1 - 1e-6:
            assert read.tolist() == x.tolist()
    if levels > 1:
        assert differences_floor(tokens, rho, eps) >= tokens * np.log2(levels) - 1e-9


@given(st.floats(0.002, 0.9), st.floats(0, 0.9))
def test_levels_are_told_apart_just_as_many_as_are_said(eps, kappa):
    """Widened intervals of exact outputs are disjoint at L levels, and overlap at L + 1."""
    levels = additive_levels(eps, kappa)

    def gap(count):
        values = np.linspace(0, 1, count)
        return ((values[1:] / (1 + kappa) - eps) - ((values[:-1] + kappa) / (1 + kappa) + eps)).min()

    assert levels < 2 or gap(levels) > -1e-9
    assert gap(levels + 1) <= 1e-9


def test_the_threshold_floor_is_its_formula():
    assert threshold_floor(50, 100.0, 0.2) == pytest.approx(50 * np.log2(3))
    for rho in (3.0, 5.0):
        best = max(
            m * np.log2(np.ceil(1 / (0.02 * (1 + m * exp(-rho)) + m * exp(-rho)))) for m in range(1, 51)
        )
        assert threshold_floor(50, rho, 0.01) == pytest.approx(best)


@given(
    st.integers(1, 12), st.integers(0, 12), st.integers(0, 12), st.floats(0.01, 4), st.integers(0, 2**32 - 1)
)
def test_strings_are_told_apart_by_the_direction_in_which_they_differ(same, more, fewer, rho, seed):
    """The inequality that proves the floor of all queries, on attention itself."""
    differ, tokens = more + fewer, same + more + fewer
    if not differ or rho > sqrt(differ):
        return
    x = np.random.default_rng(seed).integers(0, 2, tokens).astype(float)
    x[:more], x[more:differ] = 1, 0
    other = x.copy()
    other[:differ] = 1 - x[:differ]
    direction = (x - other) / sqrt(differ)
    apart = 0.0
    for query in (rho * direction, -rho * direction):
        weights = np.exp(query) / np.exp(query).sum()
        apart = max(apart, abs(weights @ (x - other)))
    assert apart >= rho * sqrt(differ) / (tokens + (e - 1) * rho * sqrt(differ)) - 1e-12


def test_which_floor_binds_where():
    few_bits = {floor: floor(10**6, 0.01, 0.01) for floor in FLOORS}
    assert max(few_bits.values()) < 10
    assert (
        averages_floor(10**6, 1.0, 1e-3)
        > differences_floor(10**6, 1.0, 1e-3)
        > 5 * threshold_floor(10**6, 1.0, 1e-3)
    )
    assert differences_floor(10**6, 10.0, 1e-2) > averages_floor(10**6, 10.0, 1e-2)
    assert every_query_floor(10**6, 0.1, 1e-4) > 50 * differences_floor(10**6, 0.1, 1e-4)


@pytest.mark.parametrize("floor", FLOORS)
def test_wrong_numbers_are_refused(floor):
    for arguments, sentence in (
        ((0, 1.0, 0.1), "tokens must be at least 1, got 0"),
        ((4, 0.0, 0.1), r"largest_score must be in \(0, inf\), got 0"),
        ((4, 1.0, 1.0), r"eps must be in \(0, 1\), got 1"),
    ):
        with pytest.raises(ValueError, match=sentence):
            floor(*arguments)
