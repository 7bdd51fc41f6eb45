"""kNN attention forward: exact where nothing is left out, unbiased, within its radius, and frugal."""

import tracemalloc

import numpy as np
import pytest
from scipy import stats

from kvfloor.attention.knn import (
    CellIndex,
    ExactIndex,
    GrowingIndex,
    Inputs,
    Near,
    knn_attention,
    sampled_attention,
    truncated_attention,
)
from kvfloor.attention.knn.forward import draws_for, median_draws_for

FALSE_ALARM = 1e-6


def instance(seed=0, tokens=400, dim=8, value_dim=3, norm=4.0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    keys = rng.normal(size=(tokens, dim)) / dim**0.5
    queries = norm * rng.normal(size=(tokens, dim)) / dim**0.5
    return *(a.astype(dtype) for a in (queries, keys, rng.random((tokens, value_dim)))), rng


@pytest.mark.parametrize("causal", [False, True], ids=["bidirectional", "causal"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_with_nothing_left_out_the_answer_is_exact(attend, causal, dtype):
    queries, keys, values, rng = instance(dtype=dtype)
    exact = attend(queries, keys, values, causal)
    inputs, tolerance = Inputs(queries, keys, values), 1000 * np.finfo(dtype).eps
    for answer in (
        truncated_attention(inputs, Near(400, causal=causal)),
        knn_attention(inputs, Near(400, causal=causal), 1, rng),
        knn_attention(inputs, Near(1, causal=causal), 400, rng),
    ):
        assert answer.outputs.dtype == dtype
        assert np.abs(answer.outputs - exact).max() < tolerance


@pytest.mark.parametrize("causal", [False, True], ids=["bidirectional", "causal"])
@pytest.mark.parametrize("cells", [False, True], ids=["exact index", "cells"])
def test_tail_answers_are_within_their_radius_and_draws_unbiased(attend, causal, cells):
    queries, keys, values, rng = instance(1)
    exact = attend(queries, keys, values, causal)

    def index():
        if not cells:
            return None
        make = lambda block: CellIndex(block, np.random.default_rng(0))  # noqa: E731
        return GrowingIndex(make) if causal else make(keys)

    inputs = Inputs(queries, keys, values)
    answer = knn_attention(inputs, Near(20, index(), causal), 40, rng)
    delta = FALSE_ALARM / len(queries)
    assert (np.abs(answer.outputs - exact).max(axis=1) <= answer.radius(delta) + 1e-12).all()
    assert np.abs(answer.outputs - exact).max() > 1e-3  # something was left to chance

    answer = sampled_attention(inputs, Near(20, index(), causal), 500, rng)
    assert (np.abs(answer.outputs - exact).max(axis=1) <= answer.radius(delta)).all()
    # Hoeffding for the mean of all errors: independent over queries, and of mean 0 only if unbiased.
    mean = np.abs((answer.outputs - exact).mean(axis=0)).max()
    assert mean < np.sqrt(np.log(2 * 3 / FALSE_ALARM) / (2 * 500 * len(queries)))
    truncated = truncated_attention(inputs, Near(2)).outputs
    assert not causal or np.abs((truncated - exact).mean(axis=0)).max() > 0


def test_the_sums_of_a_sampled_tail_are_unbiased():
    """Mean over repetitions of numerator and denominator; the output itself is a ratio."""
    queries, keys, _, rng = instance(2, tokens=60)
    query, ones = queries[:1], np.ones((60, 1))
    weights = np.exp(keys @ query[0])
    # With value e_listed the output is w_listed / Z^, so 1 / output is Z^ / w_listed.
    top = int(np.argmax(weights))
    marker = np.zeros((60, 1))
    marker[top] = 1
    found = [
        1 / knn_attention(Inputs(query, keys, marker), Near(3), 5, rng).outputs[0, 0] for _ in range(4000)
    ]
    gap = np.mean(found) - weights.sum() / weights[top]
    assert abs(gap) < stats.norm.isf(FALSE_ALARM / 2) * np.std(found) / len(found) ** 0.5
    assert np.allclose(knn_attention(Inputs(query, keys, ones), Near(3), 5, rng).outputs, 1)


def test_median_of_means_and_the_numbers_of_draws(attend):
    queries, keys, values, rng = instance(3)
    exact = attend(queries, keys, values, False)
    draws, groups = median_draws_for(0.25, 1e-3, 3, 0.25)
    assert draws % groups == 0
    assert groups % 2 == 1
    answer = sampled_attention(Inputs(queries, keys, values), Near(20), draws, rng, groups=groups)
    failures = (np.abs(answer.outputs - exact).max(axis=1) > 0.25).sum()
    assert stats.binom.sf(failures - 1, len(queries), 1e-3) > FALSE_ALARM
    assert np.isinf(answer.radius(0.5)).all()
    assert draws_for(0.1, 0.01, 3) == int(np.ceil(np.log(600) / 0.02))


def test_probes_add_up():
    queries, keys, values, rng = instance(4)
    inputs, near = Inputs(queries, keys, values), Near(20)
    assert (truncated_attention(inputs, near).probes == 400).all()
    assert (knn_attention(inputs, near, 40, rng).probes == 460).all()
    causal = truncated_attention(inputs, Near(20, causal=True)).probes
    assert (causal == np.minimum(32 * (np.arange(400) // 32 + 1), 400)).all()
    sampled = sampled_attention(inputs, near, 50, rng).probes
    assert (sampled > 400).all()
    assert sampled.mean() - 400 <= 50 * 400 / 20


def test_memory_is_that_of_the_arrays_and_a_block():
    queries, keys, values, rng = instance(5, tokens=20_000, dim=16, dtype=np.float32)
    tracemalloc.start()
    knn_attention(Inputs(queries, keys, values), Near(141), 141, rng)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200e6 < 4 * 20_000**2  # the matrix of scores would take 1.6 GB


@pytest.mark.parametrize(("changes", "message"), [
    ({"kept": 401}, "kept is 401, expected an integer from 1 to 400"),
    ({"kept": 0}, "kept is 0, expected"),
    ({"tail": 0}, "tail is 0, expected"),
    ({"index": ExactIndex(np.ones((400, 8)))}, "the index was built for other keys"),
    ({"index": ExactIndex(np.ones((9, 8)))}, "the index was built for other keys"),
    ({"index": GrowingIndex()}, "the index was built for other keys"),
    ({"index": ExactIndex(np.ones((9, 8))), "causal": True}, "give an empty GrowingIndex"),
])  # fmt: skip
def test_wrong_arguments_are_told_in_a_sentence(changes, message):
    queries, keys, values, rng = instance()
    options = {"kept": 3, **changes}
    tail = options.pop("tail", 3)
    with pytest.raises(ValueError, match=message) as told:
        knn_attention(Inputs(queries, keys, values), Near(**options), tail, rng)
    assert "\n" not in str(told.value)


def test_other_wrong_arguments():
    queries, keys, values, rng = instance()
    inputs, few, near = Inputs(queries, keys, values), Inputs(queries[:5], keys, values), Near(3)
    for call, message in (
        (lambda: sampled_attention(inputs, near, 0, rng), "draws is 0"),
        (lambda: sampled_attention(inputs, near, 5, rng, groups=2), "5 draws cannot"),
        (lambda: truncated_attention(few, Near(3, causal=True)), "one query for each token"),
        (lambda: Inputs(queries, keys, values[:5]), "same number of rows"),
        (lambda: truncated_attention(inputs, near).radius(0), "delta is 0"),
        (lambda: draws_for(0, 0.1, 1), "epsilon is 0"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
