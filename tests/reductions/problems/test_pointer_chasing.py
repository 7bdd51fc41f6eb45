"""POINTER CHASING: powers of cycles, and the way back."""

from math import factorial, gcd, log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvfloor.reductions.problems.pointer_chasing import PointerChasing

COPRIME = st.tuples(st.integers(3, 30), st.integers(1, 70)).filter(lambda pair: gcd(*pair) == 1)


@given(COPRIME, st.integers(0, 2**32 - 1))
def test_answers_are_steps_and_give_the_function_back(sizes, seed):
    problem = PointerChasing(*sizes)
    rng = np.random.default_rng(seed)
    f = problem.sample(rng)
    seen, node = set(), 0
    while node not in seen:
        seen.add(node)
        node = int(f[node])
    assert len(seen) == problem.length  # one cycle through all
    starts = problem.reconstruction(np.arange(1))
    ends = problem.answer(f, starts)
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        for _ in range(problem.hops):
            start = int(f[start])
        assert start == end
    indices = rng.integers(0, problem.length, 5)
    assert problem.reconstruct(ends, indices).tolist() == f[indices].tolist()
    assert problem.capacity_bits == pytest.approx(log2(factorial(problem.length - 1)))


def test_cycles_are_drawn_uniformly():
    rng = np.random.default_rng(0)
    problem = PointerChasing(4)
    drawn = [tuple(problem.sample(rng).tolist()) for _ in range(6000)]
    counts = [drawn.count(cycle) for cycle in set(drawn)]
    assert len(counts) == 6
    assert max(abs(count - 1000) for count in counts) < 5.5 * np.sqrt(
        1000 * 5 / 6
    )  # 1e-7 of a normal variable


@pytest.mark.parametrize(("call", "sentence"), [
    (lambda: PointerChasing(2), "length must be at least 3, got 2"),
    (lambda: PointerChasing(5, 0), "hops must be at least 1, got 0"),
    (lambda: PointerChasing(6, 4), "hops must be coprime to length 6, got 4"),
    (lambda: PointerChasing(3).answer(np.array([0, 1]), np.array([0])), "as many integers"),
    (lambda: PointerChasing(3).answer(np.array([0, 1, 3]), np.array([0])), r"0\.\.2, got 0\.\.3"),
])  # fmt: skip
def test_what_is_none_is_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
