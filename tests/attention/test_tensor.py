"""Attention over pairs of tokens: by matrix products against the literal Kronecker products."""

import itertools
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvfloor.attention import softmax_attention
from kvfloor.attention.tensor import (
    kronecker_factors,
    kronecker_rows,
    tensor_attention,
    tensor_attention_reference,
    tensor_tolerance,
)


def allowed_error(queries, keys1, values1, keys2, values2, key_block=512):
    """Return what the fast and the reference computation may differ by."""
    q, k1, k2 = (a.astype(np.float64) for a in (queries, keys1, keys2))
    bound = float(np.linalg.norm(kronecker_rows(q, k1), axis=1).max() * np.linalg.norm(k2, axis=1).max())
    sizes = len(k1), len(k2), k1.shape[1], bound
    dtype = np.result_type(queries, keys1, values1, keys2, values2).type
    # The reference sums n1 n2 terms in a row, in float64.
    reference = (len(k1) * len(k2)) * np.finfo(np.float64).eps
    relative = tensor_tolerance(*sizes, dtype, key_block=key_block) + tensor_tolerance(*sizes, np.float64)
    return (relative + reference) * float(np.abs(values1).max()) * float(np.abs(values2).max())


def agrees(attention, *arrays, **options):
    """Say whether an attention function is as close to the reference as it must be."""
    with np.errstate(over="ignore", invalid="ignore"):
        outputs = attention(*arrays, **options)
    error = np.abs(outputs - tensor_attention_reference(*arrays)).max()
    return bool(error <= allowed_error(*arrays, options.get("blocks", (0, 512))[1]))


@st.composite
def instances(draw, largest_score=1e3):
    """Draw queries and two sides: any norms, different lengths, some keys zero."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    count, tokens1, tokens2, dim, value_dim = (draw(st.integers(1, most)) for most in (9, 20, 20, 6, 4))
    arrays = [rng.normal(size=(rows, dim)) for rows in (count, tokens1, tokens2)]
    arrays[0] *= rng.choice([0.0, 1e-3, 1.0, 30.0], size=(count, 1))
    arrays[1][rng.random(tokens1) < 0.2] = 0
    norms = [float(np.linalg.norm(a, axis=1).max()) for a in arrays]
    scale = draw(st.sampled_from([1.0, 100.0, largest_score])) / max(math.prod(norms), 1e-300)
    arrays[0] *= min(1.0, scale) if draw(st.booleans()) else min(scale, 1e3)
    sizes = draw(st.sampled_from([0.0, 1e-9, 1.0, 1e6])), draw(st.sampled_from([1.0, 1e6]))
    values1, values2 = (
        rng.normal(size=(t, value_dim)) * s for t, s in zip((tokens1, tokens2), sizes, strict=True)
    )
    q, k1, k2 = arrays
    return tuple(a.astype(dtype) for a in (q, k1, values1, k2, values2))


@given(instances(), st.integers(1, 50), st.integers(1, 25))
@settings(max_examples=300, deadline=None)
def test_fast_agrees_with_the_kronecker_form(instance, row_block, key_block):
    assert agrees(tensor_attention, *instance, blocks=(row_block, key_block))


@given(instances(largest_score=30.0))
@settings(max_examples=40, deadline=None)
def test_reference_agrees_with_plain_sums(instance):
    outputs = tensor_attention_reference(*instance)
    queries, *sides = (a.astype(np.float64).tolist() for a in instance)
    pairs = list(itertools.product(zip(*sides[:2], strict=True), zip(*sides[2:], strict=True)))
    for query, output in zip(queries, outputs, strict=True):
        scores = [sum(q * x * y for q, x, y in zip(query, k1, k2, strict=True)) for (k1, _), (k2, _) in pairs]
        weights = [math.exp(score - max(scores)) for score in scores]
        for channel, found in enumerate(output):
            products = (
                w * v1[channel] * v2[channel] for w, ((_, v1), (_, v2)) in zip(weights, pairs, strict=True)
            )
            # Both are float64 computations, each within the tolerance.
            wide = [a.astype(np.float64) for a in instance]
            assert abs(found - math.fsum(products) / math.fsum(weights)) <= allowed_error(*wide)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("norm", [1.0, 30.0, 300.0])
def test_agreement_can_fail(dtype, norm):
    rng = np.random.default_rng(1)
    k1, v1, k2, v2 = (rng.normal(size=(40, 6)).astype(dtype) for _ in range(4))
    queries = (norm * rng.normal(size=(5, 6)) / math.sqrt(6)).astype(dtype)

    def one_side_twice(q, k1, v1, k2, v2):
        return tensor_attention(q, k1, v1, k1, v2)

    def values_added(q, k1, v1, k2, v2):
        return softmax_attention(q, kronecker_rows(k1, k2), (v1[:, None] + v2[None]).reshape(-1, 6))

    def diagonal_pairs(q, k1, v1, k2, v2):
        return softmax_attention(q, k1 * k2, v1 * v2)

    def half_the_tokens(q, k1, v1, k2, v2):
        return tensor_attention(q, k1[::2], v1[::2], k2, v2)

    def plain_exponentials(q, k1, v1, k2, v2):
        weights = np.exp(q @ kronecker_rows(k1, k2).T)
        return weights @ kronecker_rows(v1, v2) / weights.sum(axis=1, keepdims=True)

    arrays = queries, k1, v1, k2, v2
    assert agrees(tensor_attention, *arrays)
    for wrong in (one_side_twice, values_added, diagonal_pairs, half_the_tokens):
        assert not agrees(wrong, *arrays)
    if norm == 300.0:
        assert not agrees(plain_exponentials, *arrays)


def test_one_side_of_ones_is_softmax_attention():
    rng = np.random.default_rng(2)
    q, k, v = rng.normal(size=(7, 5)), rng.normal(size=(30, 5)), rng.normal(size=(30, 3))
    expected = softmax_attention(q, k, v)
    for arrays in ((k, v, np.ones((1, 5)), np.ones((1, 3))), (np.ones((4, 5)), np.ones((4, 3)), k, v)):
        assert np.abs(tensor_attention(q, *arrays) - expected).max() < 1e-12


def test_the_sides_can_change_places():
    rng = np.random.default_rng(3)
    q, k1, v1, k2, v2 = (rng.normal(size=(rows, 4)) for rows in (6, 15, 15, 20, 20))
    there, back = tensor_attention(q, k1, v1, k2, v2), tensor_attention(q, k2, v2, k1, v1)
    assert np.abs(there - back).max() <= 2 * allowed_error(q, k1, v1, k2, v2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scores_far_below_their_bound_are_noticed(dtype):
    """Cauchy-Schwarz says 2 10^4, but every score is 0 or -10^4: integers, so computed exactly."""
    keys1 = np.array([[100, 0], [0, 100]], dtype)
    keys2 = np.array([[0, 1], [-1, 0]], dtype)
    values = np.array([[1], [2]], dtype)
    outputs = tensor_attention(np.array([[100, 0], [100, 100]], dtype), keys1, values, keys2, values)
    # Scores of pairs are 0, -10^4, 0, 0 (first query), and 0, -10^4, 10^4, 0 (second).
    assert np.abs(outputs - np.array([[(1 + 2 + 4) / 3], [2]])).max() < 32 * np.finfo(dtype).eps


@pytest.mark.parametrize(("dtype", "largest"), [(np.float32, 3e38), (np.float64, 1e100)])
def test_largest_numbers_do_not_overflow(dtype, largest):
    keys = np.array([[largest, largest], [-largest, largest], [0, 0]], dtype)
    values = np.array([[largest], [-largest], [0]], dtype)
    ones = np.ones((1, 2), dtype), np.ones((1, 1), dtype)
    queries = np.array([[largest, 0], [-largest, 0]], dtype)
    outputs = tensor_attention(queries, keys, values, *ones)
    assert outputs[:, 0].tolist() == [dtype(largest), -dtype(largest)]
    both = tensor_attention(
        queries, keys, values, keys, values
    )  # pairs (0, 0) and (1, 1), or (0, 1) and (1, 0)
    squared = float(dtype(largest)) ** 2
    assert both.dtype == np.float64
    assert both[:, 0].tolist() == pytest.approx([squared, -squared])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_zero_keys_and_queries_give_the_product_of_the_means(dtype):
    rng = np.random.default_rng(0)
    v1, v2 = rng.normal(size=(4, 2)).astype(dtype), rng.normal(size=(3, 2)).astype(dtype)
    expected = v1.mean(axis=0) * v2.mean(axis=0)
    for one, other in ((0, 1), (1, 0), (0, 0)):
        keys1, keys2 = np.full((4, 5), one, dtype), np.full((3, 5), other, dtype)
        for query in (0, 1):
            outputs = tensor_attention(np.full((1, 5), query, dtype), keys1, v1, keys2, v2)
            assert np.abs(outputs - expected).max() < 32 * np.finfo(dtype).eps


def test_memory_is_linear_in_tokens():
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(4096, 16)).astype(np.float32) / 4 for _ in range(4)]
    tracemalloc.start()
    tensor_attention(arrays[0][:1], *arrays)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # All scores would be 2^26 bytes, one block is 2^20, and a copy of a side 2^19.
    assert peak < 1 << 23


@given(st.integers(0, 2**32), st.integers(1, 8), st.integers(1, 8), st.integers(1, 4))
@settings(max_examples=50, deadline=None)
def test_factors_are_found_exactly_where_there_are_any(seed, tokens1, tokens2, dim):
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=(tokens1, dim)), rng.normal(size=(tokens2, dim))
    first[rng.random((tokens1, dim)) < 0.3] = 0
    rows = kronecker_rows(first, second)
    factors = kronecker_factors(rows, tokens1)
    assert [f.shape for f in factors] == [first.shape, second.shape]
    assert (np.abs(kronecker_rows(*factors) - rows) <= 4 * np.finfo(float).eps * np.abs(rows)).all()
    if min(tokens1, tokens2) > 1:
        other = rng.normal(size=rows.shape)
        assert not np.allclose(kronecker_rows(*kronecker_factors(other, tokens1)), other)


@pytest.mark.parametrize(("arguments", "sentence"), [
    (((1, 4), (3, 4), (2, 2), (3, 4), (3, 2)), "same number of rows"),
    (((1, 4), (3, 4), (3, 2), (3, 4), (2, 2)), "same number of rows"),
    (((1, 4), (3, 4), (3, 2), (3, 3), (3, 2)), r"expected \(rows, 4\)"),
    (((1, 4), (3, 4), (3, 2), (3, 4), (3, 1)), r"expected \(rows, 2\)"),
    (((1, 3), (3, 4), (3, 2), (3, 4), (3, 2)), r"queries have shape \(1, 3\)"),
])  # fmt: skip
@pytest.mark.parametrize("attention", [tensor_attention, tensor_attention_reference])
def test_wrong_shapes_are_one_sentence(attention, arguments, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        attention(*(np.ones(shape) for shape in arguments))
    assert "\n" not in str(caught.value)


def test_rows_that_cannot_be_arranged_are_told():
    with pytest.raises(ValueError, match="multiple of 3 rows"):
        kronecker_factors(np.ones((10, 2)), 3)
    with pytest.raises(ValueError, match="equal columns"):
        kronecker_rows(np.ones((2, 2)), np.ones((2, 3)))
