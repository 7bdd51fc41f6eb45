"""Arguments are checked once, and errors say what was given and what is allowed."""

import numpy as np
import pytest

from kvfloor.attention import checks


@pytest.mark.parametrize(
    ("given", "dtype"),
    [
        (np.ones((2, 3), np.float16), np.float32),
        (np.ones((2, 3), np.float32), np.float32),
        (np.ones((2, 3)), np.float64),
        (np.ones((2, 3), np.int8), np.float64),
        (np.ones((2, 3), np.bool_), np.float64),
        ([[1, 2, 3]], np.float64),
    ],
)
def test_matrix_is_float(given, dtype):
    assert checks.matrix("keys", given, 3).dtype == dtype


def test_matrix_is_not_copied_needlessly():
    given = np.ones((2, 3), np.float32)
    assert checks.matrix("keys", given) is given
    assert checks.matrix("keys", given[:, ::2]).flags.c_contiguous


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.ones(3), r"keys have shape \(3,\), expected \(rows, 3\)"),
        (np.ones((2, 4)), r"keys have shape \(2, 4\), expected \(rows, 3\)"),
        (np.ones((0, 3)), r"keys have shape \(0, 3\)"),
        (np.ones((1, 2, 3)), r"keys have shape \(1, 2, 3\)"),
        (np.full((2, 3), np.nan), "finite"),
        (np.array([[0, 0, np.inf]], np.float32), "finite"),
        (np.array([[0, 0, -np.inf]]), "finite"),
        (np.array([[0, 0, 1e101]]), "finite ones within"),
        (np.ones((2, 3), complex), "complex128"),
        (np.array([["a", "b", "c"]]), "<U1"),
        (np.array([[None, None, None]]), "object"),
    ],
)
def test_matrix_rejects(given, message):
    with pytest.raises(ValueError, match=message):
        checks.matrix("keys", given, 3)


def test_token_block_rejects_rows_that_differ():
    with pytest.raises(ValueError, match=r"keys \(2, 3\) and values \(1, 1\)"):
        checks.token_block(np.ones((2, 3)), np.ones((1, 1)), 3, 1)


@pytest.mark.parametrize("given", [0, 9, True, 2.0, "2", None, pytest.param(10**5000, id="huge")])
def test_integer_rejects(given):
    with pytest.raises(ValueError, match="expected an integer from 1 to 8"):
        checks.integer("bits", given, 1, 8)


@pytest.mark.parametrize("given", [0, -1.0, float("nan"), float("inf"), True, "2", None])
def test_positive_rejects(given):
    with pytest.raises(ValueError, match="expected a positive number"):
        checks.positive("factor", given)


def test_scalars_become_plain_numbers():
    assert type(checks.integer("bits", np.int64(3), 1, 8)) is int
    assert type(checks.positive("factor", 3)) is float


@pytest.mark.parametrize("given", ["row", 3, None])
def test_one_of_rejects(given):
    with pytest.raises(ValueError, match="expected one of channel, token"):
        checks.one_of("axis", given, ("channel", "token"))
