"""Exponents: fitted ones lie in the interval that bounds on the bits give them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvfloor.experiments.judging.scaling import exponent, exponent_interval

sizes = st.lists(st.integers(2, 10**6), min_size=2, max_size=6, unique=True)


@given(sizes, st.floats(0, 3), st.floats(1, 1e6))
def test_powers_have_their_exponent(sizes, power, factor):
    bits = [factor * size**power for size in sizes]
    assert exponent(sizes, bits) == pytest.approx(power, abs=1e-6)
    low, high = exponent_interval(sizes, bits, bits)
    assert low <= exponent(sizes, bits) <= high


@given(sizes, st.data())
def test_whatever_keeps_to_the_bounds_keeps_to_the_interval(sizes, data):
    bits = [data.draw(st.floats(1, 1e9)) for _ in sizes]
    low, high = exponent_interval(sizes, [b / 2 for b in bits], [3 * b for b in bits])
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    for _ in range(10):
        assert low <= exponent(sizes, [b * rng.uniform(0.5, 3) if b >= 2 else b for b in bits]) <= high


def test_another_exponent_is_outside():
    low, high = exponent_interval([8, 16, 32], [64 - 9, 256 - 9, 1024 - 9], [64, 256, 1024])
    assert low < 2 < high
    assert not low <= exponent([8, 16, 32], [80, 160, 320]) <= high
    assert not low <= exponent([8, 16, 32], [0, 0, 0]) <= high


@pytest.mark.parametrize("sizes", [[], [3], [3, 3]])
def test_one_size_has_no_exponent(sizes):
    with pytest.raises(ValueError, match="two different sizes"):
        exponent(sizes, [1.0] * len(sizes))


def test_bounds_must_be_in_order():
    with pytest.raises(ValueError, match="must not exceed"):
        exponent_interval([1, 2], [5, 5], [4, 4])
