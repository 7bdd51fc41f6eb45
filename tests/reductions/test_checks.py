"""Checks return what is right and say in one sentence what is wrong."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvfloor.reductions.checks import check_count, check_norm, check_outputs, check_within


@given(
    st.integers(-5, 5), st.integers(-5, 5), st.integers(-6, 6), st.sampled_from("[("), st.sampled_from("])")
)
def test_an_interval_holds_what_its_brackets_say(low, high, number, opens, closes):
    inside = (low <= number if opens == "[" else low < number) and (
        number <= high if closes == "]" else number < high
    )
    interval = f"{opens}{low}, {high}{closes}"
    if inside:
        assert check_within("x", number, interval) == number
        return
    with pytest.raises(ValueError) as told:  # noqa: PT011
        check_within("x", number, interval)
    assert str(told.value) == f"x must be in {interval}, got {number}"


def test_nan_lies_nowhere():
    for call in (lambda: check_within("x", math.nan, "[-inf, inf]"), lambda: check_norm("x", math.nan)):
        with pytest.raises(ValueError, match="got nan"):
            call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: check_count("tokens", 0), "tokens must be at least 1, got 0"),
        (lambda: check_count("alphabet", 1, 2), "alphabet must be at least 2, got 1"),
        (lambda: check_norm("query_norm", math.inf), "query_norm must be finite and at least 0, got inf"),
        (lambda: check_norm("query_norm", -0.1), "query_norm must be finite and at least 0, got -0.1"),
        (lambda: check_outputs(np.ones((2, 3)), 3, 2), r"outputs must have shape \(3, 2\), got \(2, 3\)"),
    ],
)
def test_wrong_input_is_one_sentence(call, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        call()


def test_what_is_right_comes_back():
    outputs = np.ones((2, 3))
    assert check_outputs(outputs, 2, 3) is outputs
    assert (check_count("n", 1), check_norm("c", 0.0)) == (1, 0.0)
