"""Gradients of attention: exact against finite differences, estimated against exact."""

import numpy as np
import pytest
from scipy import stats

from kvfloor.attention.gradients import attention_gradients
from kvfloor.attention.knn import (
    CellIndex,
    GrowingIndex,
    Inputs,
    Near,
    Walk,
    estimated_gradients,
    row_probabilities,
    truncated_attention,
    truncated_gradients,
)

FALSE_ALARM = 1e-6


def instance(seed=0, count=6, tokens=6, dim=4, value_dim=3):
    rng = np.random.default_rng(seed)
    queries, keys = rng.normal(size=(count, dim)), rng.normal(size=(tokens, dim))
    return queries, keys, rng.normal(size=(tokens, value_dim)), rng.normal(size=(count, value_dim)), rng


def differences(function, arrays, step=1e-5):
    """Return central differences of a scalar function with respect to every entry of its arrays."""
    found = [np.zeros_like(a) for a in arrays]
    for array, slope in zip(arrays, found, strict=True):
        for place in np.ndindex(array.shape):
            centre = array[place]
            ends = []
            for sign in (1, -1):
                array[place] = centre + sign * step
                ends.append(function(*arrays))
            array[place] = centre
            slope[place] = (ends[0] - ends[1]) / (2 * step)
    return found


@pytest.mark.parametrize(("causal", "count", "tokens"), [(False, 5, 7), (False, 7, 1), (True, 6, 6)])
def test_exact_gradients_are_the_finite_differences(attend, causal, count, tokens):
    queries, keys, values, upstream, _ = instance(1, count, tokens)
    found = attention_gradients(Inputs(queries, keys, values), upstream, causal=causal)
    expected = differences(lambda *a: (upstream * attend(*a, causal)).sum(), [queries, keys, values])
    for one, other in zip((found.queries, found.keys, found.values), expected, strict=True):
        assert np.abs(one - other).max() < 1e-8  # step^2 and rounding / step, both about 1e-10


@pytest.mark.parametrize("causal", [False, True])
def test_truncated_gradients_are_those_of_truncated_attention(causal):
    queries, keys, values, upstream, _ = instance(2, 7, 7)
    near = Near(3, causal=causal)
    found = truncated_gradients(Inputs(queries, keys, values), upstream, near)

    def loss(*arrays):
        return (upstream * truncated_attention(Inputs(*arrays), near).outputs).sum()

    expected = differences(loss, [queries, keys, values])
    for one, other in zip((found.queries, found.keys, found.values), expected, strict=True):
        assert np.abs(one - other).max() < 1e-8


def test_blocks_of_queries_add_up():
    queries, keys, values, upstream, _ = instance(3, 600, 600)
    whole = attention_gradients(Inputs(queries, keys, values), upstream)
    rows = [slice(i, i + 1) for i in range(600)]
    parts = [attention_gradients(Inputs(queries[i], keys, values), upstream[i]) for i in rows]
    assert np.allclose(whole.queries, np.vstack([p.queries for p in parts]), atol=1e-12)
    assert np.allclose(whole.keys, sum(p.keys for p in parts), atol=1e-11)
    assert np.allclose(whole.values, sum(p.values for p in parts), atol=1e-11)
    truncated = truncated_gradients(Inputs(queries, keys, values), upstream, Near(600))
    assert np.allclose(truncated.keys, whole.keys, atol=1e-11)


def is_unbiased(estimate, exact, rounds, rng):
    """Say whether independent estimates average to the exact gradients: along each, and in two random directions."""
    arrays = exact.queries, exact.keys, exact.values
    directions = [np.stack([a, *rng.normal(size=(2, *a.shape))]) for a in arrays]

    def project(gradients):
        arrays = gradients.queries, gradients.keys, gradients.values
        return np.concatenate([np.tensordot(d, a, 2) for d, a in zip(directions, arrays, strict=True)])

    found = np.array([project(estimate()) for _ in range(rounds)]) - project(exact)
    t = np.abs(found.mean(axis=0)) / (found.std(axis=0, ddof=1) / rounds**0.5)
    return bool((t < stats.t.isf(FALSE_ALARM / 2 / 9, rounds - 1)).all())


@pytest.mark.parametrize("causal", [False, True], ids=["bidirectional", "causal"])
@pytest.mark.parametrize("given", [False, True], ids=["outputs estimated", "outputs given"])
@pytest.mark.parametrize("cells", [False, True], ids=["exact index", "cells"])
def test_the_walk_is_unbiased(attend, causal, given, cells):
    queries, keys, values, upstream, rng = instance(4, 30, 30)
    exact = attention_gradients(Inputs(queries, keys, values), upstream, causal=causal)
    outputs = attend(queries, keys, values, causal) if given else None

    def index():
        if not cells:
            return None
        make = lambda block: CellIndex(block, np.random.default_rng(0))  # noqa: E731
        return GrowingIndex(make) if causal else make(keys)

    def estimate(**changes):
        walk = Walk(100, 3, **{"outputs": outputs, **changes})
        near = Near(5, index(), causal)
        return estimated_gradients(Inputs(queries, keys, values), upstream, near, walk, rng)

    assert is_unbiased(estimate, exact, 400, rng)
    wrong = attention_gradients(Inputs(queries, keys, 1.5 * values), upstream, causal=causal)
    assert not is_unbiased(estimate, wrong, 400, rng)
    if given:
        assert not is_unbiased(lambda: estimate(outputs=-outputs), exact, 400, rng)


def test_many_samples_come_close():
    queries, keys, values, upstream, rng = instance(5, 40, 40)
    exact = attention_gradients(Inputs(queries, keys, values), upstream)
    errors = []
    for visits in (100, 10_000):
        found = estimated_gradients(Inputs(queries, keys, values), upstream, Near(8), Walk(visits, 4), rng)
        errors.append(np.linalg.norm(found.keys - exact.keys))
    assert errors[1] < errors[0] / 4  # a tenth, in expectation


def test_rows_without_gradient_stay_without():
    queries, keys, values, upstream, rng = instance(6, 10, 10)
    upstream[:7] = 0
    inputs, walk = Inputs(queries, keys, values), Walk(50, 2)
    found = estimated_gradients(inputs, upstream, Near(3), walk, rng)
    assert not found.queries[:7].any()
    assert (row_probabilities(inputs, upstream)[:7] == 0).all()
    nothing = estimated_gradients(inputs, 0 * upstream, Near(3), walk, rng)
    assert not any(a.any() for a in (nothing.queries, nothing.keys, nothing.values))
    queries[8] = 0  # its gradient is not 0, so that it must stay in play
    inputs = Inputs(queries, keys, values)
    assert row_probabilities(inputs, upstream)[8] > 0
    assert row_probabilities(inputs, 0 * upstream) == pytest.approx(np.full(10, 0.1))


@pytest.mark.parametrize(("changes", "message"), [
    ({"draws": 1}, "draws is 1, expected an integer from 2"),
    ({"draws": 0, "outputs": np.ones((6, 3))}, "draws is 0, expected an integer from 1"),
    ({"visits": 0}, "visits is 0, expected"),
    ({"kept": 7}, "kept is 7, expected an integer from 1 to 6"),
    ({"probabilities": np.eye(6)[0]}, "row 1 has probability 0"),
    ({"probabilities": np.ones(6)}, "probabilities must be 6 non-negative numbers with sum 1"),
    ({"outputs": np.ones((5, 3))}, "outputs have 5 rows, expected one for each of 6"),
])  # fmt: skip
def test_wrong_arguments_are_told_in_a_sentence(changes, message):
    queries, keys, values, upstream, rng = instance()
    options = {"kept": 2, "visits": 3, "draws": 2, **changes}
    inputs, near = Inputs(queries, keys, values), Near(options.pop("kept"))
    with pytest.raises(ValueError, match=message):
        estimated_gradients(inputs, upstream, near, Walk(**options), rng)
    with pytest.raises(ValueError, match="upstream have 5 rows"):
        attention_gradients(inputs, upstream[:5])
    with pytest.raises(ValueError, match="one query for each token"):
        attention_gradients(Inputs(queries[:5], keys, values), upstream[:5], causal=True)
