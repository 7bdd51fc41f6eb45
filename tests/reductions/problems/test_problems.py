"""Laws of every problem: answers give the string back, and what is no string or question is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvfloor.reductions.problems.disjointness import Disjointness
from kvfloor.reductions.problems.equality import Equality
from kvfloor.reductions.problems.index import Index

PROBLEMS = st.one_of(
    st.builds(Index, st.integers(1, 60), st.integers(2, 9)),
    st.builds(Disjointness, st.integers(1, 60)),
    st.builds(lambda words, width: Equality(words * width, width), st.integers(1, 12), st.integers(1, 6)),
)


@given(PROBLEMS, st.integers(0, 2**32 - 1))
def test_the_reconstruction_gives_the_string_back(problem, seed):
    rng = np.random.default_rng(seed)
    x = problem.sample(rng)
    indices = rng.permutation(problem.length)[: rng.integers(1, problem.length + 1)]
    answers = problem.answer(x, problem.reconstruction(indices))
    assert problem.reconstruct(answers, indices).tolist() == x[indices].tolist()


@given(PROBLEMS, st.integers(0, 2**32 - 1))
def test_another_string_has_another_answer(problem, seed):
    """Else the reconstruction could not tell the two apart, and Theorem A would count them once."""
    rng = np.random.default_rng(seed)
    x = problem.sample(rng)
    i = rng.integers(problem.length)
    other = x.copy()
    other[i] = (x[i] + 1) % problem.alphabet
    questions = problem.reconstruction(np.array([i]))
    assert problem.answer(x, questions).tolist() != problem.answer(other, questions).tolist()


@given(st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_disjointness_is_that_of_python_sets(length, seed):
    rng = np.random.default_rng(seed)
    problem = Disjointness(length)
    x = problem.sample(rng)
    sets = rng.integers(0, 2, (20, length)).astype(bool)
    sets = sets[sets.any(axis=1)]
    hers = set(np.flatnonzero(x).tolist())
    if len(sets):
        right = [int(hers.isdisjoint(np.flatnonzero(row).tolist())) for row in sets]
        assert problem.answer(x, sets).tolist() == right


def test_equality_says_which_word_is_there():
    problem = Equality(length=6, width=3)
    x = np.array([1, 0, 1, 0, 1, 1])
    asked = np.array([[0, 1, 0, 1], [0, 1, 1, 1], [1, 0, 1, 1], [1, 1, 0, 1]])
    assert problem.answer(x, asked).tolist() == [1, 0, 1, 0]
    assert len(problem.reconstruction(np.array([4]))) == 8
    assert problem.reconstruct(np.zeros(8, int), np.array([4, 5])).tolist() == [0, 0]  # nothing was equal


BITS = np.zeros(3, int)


@pytest.mark.parametrize(("call", "sentence"), [
    (lambda: Disjointness(0), "length must be at least 1, got 0"),
    (lambda: Disjointness(3, largest=4), r"largest must be in 1\.\.3, got 4"),
    (lambda: Disjointness(3, largest=0), r"largest must be in 1\.\.3, got 0"),
    (lambda: Disjointness(3).answer(BITS, np.zeros((1, 3), bool)), r"1\.\.3 elements, got 0\.\.0"),
    (lambda: Disjointness(3, largest=1).answer(BITS, np.ones((1, 3), bool)), r"1\.\.1 elements, got 3\.\.3"),
    (lambda: Disjointness(3).answer(BITS, np.zeros((0, 3), bool)), "got no set"),
    (lambda: Disjointness(3).answer(BITS, np.ones((1, 3))), "boolean matrix with 3 columns"),
    (lambda: Disjointness(3).answer(BITS, np.ones((1, 2), bool)), "boolean matrix with 3 columns"),
    (lambda: Equality(6, 4), "multiple of width 4, got 6"),
    (lambda: Equality(17, 17), r"width must be in 1\.\.16, got 17"),
    (lambda: Equality(3, 3).answer(BITS, np.array([[1, 0, 0, 0]])), r"places must lie in 0\.\.0"),
    (lambda: Equality(3, 3).answer(BITS, np.array([[0, 0, 0, 2]])), r"words must be of bits, got 0\.\.2"),
    (lambda: Equality(3, 3).answer(BITS, np.array([[0, 0, 0]])), "a place and 3 bits"),
    (lambda: Equality(3, 3).answer(BITS, np.array([[0.0, 0, 0, 0]])), "a place and 3 bits"),
])  # fmt: skip
def test_wrong_input_is_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
