"""GAP-HAMMING: its answers, and how much of the string they give back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import hadamard as sylvester

from kvfloor.reductions.problems.gap_hamming import GapHamming, hadamard


@given(st.integers(0, 6), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_answers_count_agreements(log, rounds, seed):
    rng = np.random.default_rng(seed)
    problem = GapHamming(2**log, rounds, seed)
    x = problem.sample(rng)
    questions = problem.reconstruction(np.arange(1))
    assert questions.shape == (rounds * 2**log, 2**log)
    agree = [int(((row > 0) == (x > 0)).sum()) for row in questions]
    assert problem.answer(x, questions).tolist() == [int(2 * count > len(x)) for count in agree]
    assert problem.overlaps(x, questions).tolist() == [2 * count - len(x) for count in agree]


@given(st.integers(0, 6), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_overlaps_give_the_whole_string_back(log, rounds, seed):
    problem = GapHamming(2**log, rounds, seed)
    x = problem.sample(np.random.default_rng(seed))
    overlaps = problem.overlaps(x, problem.reconstruction(np.arange(1)))
    signs = problem.votes(overlaps.astype(float)) / (rounds * 2**log)
    assert signs.tolist() == (2.0 * x - 1).tolist()


def test_yes_and_no_give_most_of_it_back_and_more_rounds_more():
    wrong = []
    for rounds in (1, 16):
        problem = GapHamming(1024, rounds, 3)
        x = problem.sample(np.random.default_rng(4))
        indices = np.arange(1023, -1, -2)
        answers = problem.answer(x, problem.reconstruction(indices))
        wrong.append((problem.reconstruct(answers, indices) != x[indices]).mean())
    # Theory 15: at most 1 - 2/pi by correlation after one round, and (1 - c)/(1 + 15 c), c = 2/pi, after 16.
    assert wrong[0] < 0.37
    assert wrong[1] < 0.035
    assert wrong[1] < wrong[0]


@pytest.mark.parametrize("log", range(6))
def test_the_transform_is_sylvesters_matrix(log):
    rows = np.random.default_rng(log).standard_normal((3, 2**log))
    assert hadamard(rows) == pytest.approx(rows @ sylvester(2**log))


BITS = np.zeros(4, int)


@pytest.mark.parametrize(("call", "sentence"), [
    (lambda: GapHamming(0), "length must be at least 1, got 0"),
    (lambda: GapHamming(6), "length must be a power of two, got 6"),
    (lambda: GapHamming(4, rounds=0), "rounds must be at least 1, got 0"),
    (lambda: GapHamming(4).answer(BITS, np.ones((1, 3), int)), "signs with 4 columns, got shape"),
    (lambda: GapHamming(4).answer(BITS, np.ones((1, 4))), "signs with 4 columns, got shape .* of float64"),
    (lambda: GapHamming(4).answer(BITS, np.zeros((1, 4), int)), "strings of -1 and 1"),
    (lambda: GapHamming(4).answer(BITS, np.ones((0, 4), int)), "at least one"),
    (lambda: GapHamming(4).answer(BITS + 2, np.ones((1, 4), int)), r"symbols must lie in 0\.\.1"),
    (lambda: GapHamming(4).reconstruction(np.array([4])), r"0\.\.3"),
])  # fmt: skip
def test_what_is_none_is_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
