"""INDEX: what is drawn, what is right, what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from kvfloor.reductions.problems.index import Index


@given(st.integers(1, 200), st.sampled_from([2, 3, 256, 257, 65536, 65537]), st.integers(0, 2**32 - 1))
def test_strings_are_of_the_problem_and_answers_are_their_entries(length, alphabet, seed):
    problem = Index(length, alphabet)
    rng = np.random.default_rng(seed)
    x = problem.sample(rng)
    assert x.shape == (length,)
    assert x.dtype == problem.dtype
    assert np.iinfo(x.dtype).max >= alphabet - 1
    assert x.dtype.itemsize == 1 or alphabet > 2 ** (4 * x.dtype.itemsize)  # no smaller type would do
    assert problem.check_string(x) is x
    indices = rng.integers(0, length, 50)
    assert problem.answer(x, indices).tolist() == [int(x[i]) for i in indices]
    assert problem.capacity_bits == length * np.log2(alphabet)


@pytest.mark.parametrize("alphabet", [2, 3, 13, 256])
def test_symbols_are_uniform(alphabet):
    """Chi-square at a false-alarm rate of 1e-9."""
    length = 100_000
    counts = np.bincount(Index(length, alphabet).sample(np.random.default_rng(1)), minlength=alphabet)
    statistic = ((counts - length / alphabet) ** 2).sum() / (length / alphabet)
    assert len(counts) == alphabet
    assert statistic < chi2.isf(1e-9, alphabet - 1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Index(0), "length must be at least 1, got 0"),
        (lambda: Index(3, 1), "alphabet must be at least 2, got 1"),
        (lambda: Index(3).check_string(np.zeros(4, int)), "must hold 3 integers"),
        (lambda: Index(3).check_string(np.zeros(3)), "must hold 3 integers"),
        (lambda: Index(3).check_string(np.array([0, 1, 2])), r"symbols must lie in 0\.\.1"),
        (lambda: Index(3).check_string(np.array([0, 1, -1])), r"symbols must lie in 0\.\.1"),
        (lambda: Index(3).check_indices(np.array([0, 3])), r"indices must lie in 0\.\.2"),
        (lambda: Index(3).check_indices(np.array([-1])), r"indices must lie in 0\.\.2"),
        (lambda: Index(3).check_indices(np.array([], int)), "non-empty integer vector"),
        (lambda: Index(3).check_indices(np.array([[0]])), "non-empty integer vector"),
        (lambda: Index(3).check_indices(np.array([0.0])), "non-empty integer vector"),
    ],
)
def test_wrong_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
