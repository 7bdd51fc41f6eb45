"""Projections: unit rows of the stated entries, drawn in little memory."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from kvfloor.reductions.keys.incoherence import (
    check_unit_rows,
)
from kvfloor.reductions.keys.projections import PROJECTIONS, hadamard_keys, rademacher_keys, sparse_keys

kinds = st.sampled_from(sorted(PROJECTIONS))
dtypes = st.sampled_from([np.float32, np.float64])


@given(kinds, st.integers(1, 40), st.integers(1, 70), dtypes, st.integers(0, 2**32 - 1))
def test_projections_draw_unit_rows_and_repeat_with_the_seed(kind, tokens, dim, dtype, seed):
    draw = PROJECTIONS[kind]
    keys = draw(tokens, dim, np.random.default_rng(seed), dtype)
    assert keys.shape == (tokens, dim)
    assert keys.dtype == dtype
    assert check_unit_rows(keys) is keys
    assert np.array_equal(keys, draw(tokens, dim, np.random.default_rng(seed), dtype))


def test_signs_and_supports_are_those_of_the_projection():
    rng = np.random.default_rng(2)
    tokens, dim = 500, 64
    assert np.allclose(np.abs(rademacher_keys(tokens, dim, rng)), 1 / 8, rtol=1e-15)
    sparse = sparse_keys(tokens, dim, rng)
    for row in sparse:  # all nonzero entries of a row have one magnitude
        assert np.ptp(np.abs(row[row != 0])) == 0
    # Entries are nonzero with probability 1/3 and signs are fair: two-sided binomial tests at 1e-7 each.
    for hits, trials, chance in (
        (np.count_nonzero(sparse), sparse.size, 1 / 3),
        (np.count_nonzero(sparse > 0), np.count_nonzero(sparse), 1 / 2),
        (np.count_nonzero(rademacher_keys(tokens, dim, rng) > 0), tokens * dim, 1 / 2),
    ):
        assert binom.isf(1 - 5e-8, trials, chance) <= hits <= binom.isf(5e-8, trials, chance)


def test_sparse_rows_that_come_out_zero_are_drawn_again():
    keys = sparse_keys(2000, 1, np.random.default_rng(3))
    assert set(keys.ravel().tolist()) == {-1.0, 1.0}


@given(st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_full_hadamard_keys_are_orthogonal(order, seed):
    keys = hadamard_keys(2**order, 2**order, np.random.default_rng(seed))
    assert np.allclose(keys @ keys.T, np.eye(2**order), atol=1e-13)


def test_hadamard_keys_depend_on_the_xor_alone_up_to_sign():
    keys = hadamard_keys(64, 16, np.random.default_rng(4))
    gram = np.abs(keys @ keys.T)
    i, j = np.meshgrid(np.arange(64), np.arange(64), indexing="ij")
    assert np.allclose(gram, gram[0][i ^ j], atol=1e-13)
    assert len(np.unique(np.sign(keys[0, 0] * keys[:, 0]))) == 2
    assert np.linalg.matrix_rank(keys) == 16  # the rows drawn are distinct


def test_drawing_keys_takes_little_more_memory_than_they_do():
    tokens, dim = 2**18, 64
    for kind in sorted(PROJECTIONS):
        tracemalloc.start()
        keys = PROJECTIONS[kind](tokens, dim, np.random.default_rng(0), np.float32)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2.6 * keys.nbytes, kind


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: PROJECTIONS["gaussian"](0, 3, np.random.default_rng(0)), "at least 1, got 0 and 3"),
        (lambda: hadamard_keys(3, 0, np.random.default_rng(0)), "at least 1, got 3 and 0"),
        (lambda: sparse_keys(3, 3, np.random.default_rng(0), np.float16), "dtype must be float32 or float64"),
    ],
)
def test_wrong_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
