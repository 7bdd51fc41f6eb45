"""Softmax attention: the reference against sums in plain Python, the fast code against the reference."""

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvfloor.attention import softmax_attention, softmax_attention_reference, softmax_tolerance
from kvfloor.attention.softmax import KEY_BLOCK, weighted_attention


def allowed_error(queries, keys, values, key_block):
    """Return how far the fast code and the reference, both rounding, may be apart."""
    bound = float(
        np.linalg.norm(queries.astype(float), axis=1).max() * np.linalg.norm(keys.astype(float), axis=1).max()
    )
    fast = softmax_tolerance(*keys.shape, bound, queries.dtype.type, key_block=key_block)
    reference = softmax_tolerance(*keys.shape, bound, np.float64, key_block=len(keys))
    return (fast + reference) * float(np.abs(values).max())


def agrees(attention, queries, keys, values, **blocks):
    """Say whether an attention function is as close to the reference as it must be."""
    with np.errstate(over="ignore", invalid="ignore"):
        outputs = attention(queries, keys, values, **blocks)
    error = np.abs(outputs - softmax_attention_reference(queries, keys, values)).max()
    return bool(error <= allowed_error(queries, keys, values, blocks.get("key_block", KEY_BLOCK)))


@st.composite
def instances(draw, largest_score=1e4):
    """Draw queries, keys and values: any norms, some keys zero, some repeated, one perhaps far longer."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    tokens, dim, value_dim, count = (draw(st.integers(1, most)) for most in (40, 8, 5, 20))
    keys = rng.normal(size=(tokens, dim))
    keys *= draw(st.sampled_from([0.0, 1e-3, 1.0, 30.0]))
    keys[rng.random(tokens) < draw(st.sampled_from([0.0, 0.3]))] = 0
    if draw(st.booleans()):
        keys[rng.integers(tokens)] *= 100
    queries = rng.normal(size=(count, dim)) * rng.choice([0.0, 1e-3, 1.0, 10.0, 1e3], size=(count, 1))
    product = np.linalg.norm(queries, axis=1).max() * np.linalg.norm(keys, axis=1).max()
    queries *= min(1.0, draw(st.sampled_from([1.0, 100.0, largest_score])) / max(product, 1e-300))
    values = rng.normal(size=(tokens, value_dim)) * draw(st.sampled_from([0.0, 1e-30, 1.0, 1e6, 1e30]))
    return queries.astype(dtype), keys.astype(dtype), values.astype(dtype)


@given(instances(), st.integers(1, 50), st.integers(1, 50))
@settings(max_examples=400, deadline=None)
def test_fast_agrees_with_reference(instance, query_block, key_block):
    assert agrees(softmax_attention, *instance, query_block=query_block, key_block=key_block)


@given(instances())
@settings(max_examples=50, deadline=None)
def test_reference_agrees_with_plain_sums(instance):
    queries, keys, values = instance
    outputs = softmax_attention_reference(queries, keys, values)
    for query, output in zip(queries.tolist(), outputs, strict=True):
        scores = [math.fsum(a * b for a, b in zip(query, key, strict=True)) for key in keys.tolist()]
        weights = [math.exp(score - max(scores)) for score in scores]
        expected = [
            math.fsum(w * v for w, v in zip(weights, column, strict=True)) / math.fsum(weights)
            for column in values.T.tolist()
        ]
        # Both sides are float64 computations, each within the tolerance of one that sums n terms in a row.
        wide = queries.astype(np.float64), keys, values
        assert np.abs(output - expected).max() <= allowed_error(*wide, len(keys))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("norm", [10.0, 80.0, 300.0])
def test_agreement_can_fail(dtype, norm):
    """Plausible mistakes are farther off than the tolerance; the right code is not."""
    rng = np.random.default_rng(1)
    keys = rng.normal(size=(300, 16))
    keys = (keys / np.linalg.norm(keys, axis=1, keepdims=True)).astype(dtype)
    values = rng.normal(size=(300, 4)).astype(dtype)
    queries = dtype(norm) * (keys[:20] + keys[20:40]) / 2

    def scaled(q, k, v):
        return softmax_attention(q / dtype(4), k, v)

    def forgets_a_token(q, k, v):
        return softmax_attention(q, np.delete(k, 3, axis=0), np.delete(v, 3, axis=0))

    def plain_exponentials(q, k, v):
        weights = np.exp(q @ k.T)
        return weights @ v / weights.sum(axis=1, keepdims=True)

    assert agrees(softmax_attention, queries, keys, values)
    assert not agrees(scaled, queries, keys, values)
    assert not agrees(forgets_a_token, queries, keys, values)
    if dtype == np.float32 and norm == 300.0:
        assert not agrees(plain_exponentials, queries, keys, values)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_loose_bounds_are_noticed(dtype):
    """One long key makes the bound of every query useless; scores are small integers, so computed exactly."""
    keys = np.array([[0, 1e4], [1, 0], [2, 0], [3, 0]], dtype)
    values = np.eye(4, dtype=dtype)
    queries = np.array([[1, -1], [1, 1], [-1, 0], [2, 0]], dtype)
    outputs = softmax_attention(queries, keys, values, key_block=2)
    # The second query's largest score is its bound; the others are at most 6, some 10^4 below.
    # Errors: exponent of 2 up to 9 log2(e) rounded (2 units), a power of two (4 ulp), sums and the division.
    expected = softmax_attention_reference(queries, keys, values)
    assert np.abs(outputs - expected).max() <= 64 * np.finfo(dtype).eps


@given(instances(largest_score=50.0), st.floats(-200, 200))
@settings(max_examples=100, deadline=None)
def test_shifting_all_scores_changes_nothing(instance, shift):
    queries, keys, values = instance
    shifted_queries = np.hstack([queries, np.full((len(queries), 1), shift, queries.dtype)])
    shifted_keys = np.hstack([keys, np.ones((len(keys), 1), keys.dtype)])
    difference = softmax_attention(queries, keys, values) - softmax_attention(
        shifted_queries, shifted_keys, values
    )
    # Both are within their tolerance of the same exact output.
    allowed = allowed_error(queries, keys, values, KEY_BLOCK) + allowed_error(
        shifted_queries, shifted_keys, values, KEY_BLOCK
    )
    assert np.abs(difference).max() <= allowed


@given(instances(), st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_order_of_tokens_does_not_matter(instance, random):
    queries, keys, values = instance
    order = random.sample(range(len(keys)), len(keys))
    difference = softmax_attention(queries, keys, values) - softmax_attention(
        queries, keys[order], values[order]
    )
    assert np.abs(difference).max() <= 2 * allowed_error(queries, keys, values, KEY_BLOCK)


@given(instances())
@settings(max_examples=100, deadline=None)
def test_outputs_lie_between_values(instance):
    queries, keys, values = instance
    outputs = softmax_attention(queries, keys, values)
    slack = allowed_error(queries, keys, values, KEY_BLOCK)
    assert (outputs >= values.min(axis=0) - slack).all()
    assert (outputs <= values.max(axis=0) + slack).all()


@given(instances())
@settings(max_examples=50, deadline=None)
def test_one_token_is_returned(instance):
    queries, keys, values = instance
    outputs = softmax_attention(queries, keys[:1], values[:1])
    assert np.abs(outputs - values[:1]).max() <= allowed_error(queries, keys[:1], values[:1], KEY_BLOCK)


def test_zero_keys_give_the_mean():
    values = np.arange(12.0).reshape(6, 2)
    outputs = softmax_attention(np.ones((3, 4)), np.zeros((6, 4)), values)
    assert np.abs(outputs - values.mean(axis=0)).max() <= softmax_tolerance(6, 4, 0.0, np.float64) * 11


@pytest.mark.parametrize(
    ("queries", "keys", "values", "expected"),
    [
        (np.float32, np.float32, np.float32, np.float32),
        (np.float16, np.float32, np.float16, np.float32),
        (np.float64, np.float32, np.float32, np.float64),
        (np.float32, np.float64, np.float32, np.float64),
        (np.float32, np.float32, np.int64, np.float64),
    ],
)
def test_type_of_outputs(queries, keys, values, expected):
    outputs = softmax_attention(np.ones((2, 3), queries), np.ones((4, 3), keys), np.ones((4, 1), values))
    assert outputs.dtype == expected
    assert outputs.shape == (2, 1)


@pytest.mark.parametrize(("dtype", "largest"), [(np.float32, 3e38), (np.float64, 1e100)])
def test_largest_numbers_do_not_overflow(dtype, largest):
    keys = np.array([[largest, largest], [-largest, largest], [0, 0]], dtype)
    values = np.array([[largest], [-largest], [0]], dtype)
    outputs = softmax_attention(np.array([[largest, 0], [-largest, 0], [0, -largest]], dtype), keys, values)
    assert outputs.dtype == dtype
    assert outputs[:, 0].tolist() == [dtype(largest), -dtype(largest), 0]


def test_inputs_are_left_alone():
    rng = np.random.default_rng(0)
    arrays = rng.normal(size=(5, 3)), rng.normal(size=(7, 3)), 100 * rng.normal(size=(7, 2))
    before = [array.copy() for array in arrays]
    softmax_attention(*arrays)
    softmax_attention_reference(*arrays)
    for array, copy in zip(arrays, before, strict=True):
        assert np.array_equal(array, copy)


def test_scores_are_never_whole_in_memory():
    queries, keys = np.ones((512, 2), np.float32), np.zeros((1 << 17, 2), np.float32)
    tracemalloc.start()
    softmax_attention(queries, keys, keys)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Whole, they would be 2^28 bytes. One block is 2^20; the copies of keys and values and the norms about 2^22.
    assert peak < 1 << 24


@pytest.mark.parametrize("attention", [softmax_attention, softmax_attention_reference])
@pytest.mark.parametrize(
    ("queries", "keys", "values"),
    [
        (np.ones((1, 3)), np.ones((2, 4)), np.ones((2, 1))),
        (np.ones((1, 3)), np.ones((2, 3)), np.ones((3, 1))),
        (np.ones((1, 3)), np.ones((0, 3)), np.ones((0, 1))),
        (np.ones((0, 3)), np.ones((2, 3)), np.ones((2, 1))),
        (np.ones(3), np.ones((2, 3)), np.ones((2, 1))),
        (np.full((1, 3), np.nan), np.ones((2, 3)), np.ones((2, 1))),
        (np.ones((1, 3)), np.full((2, 3), np.inf), np.ones((2, 1))),
    ],
)
def test_wrong_arguments(attention, queries, keys, values):
    with pytest.raises(ValueError, match=r"expected|must have"):
        attention(queries, keys, values)


@pytest.mark.parametrize("block", [0, -1, 1.5, None])
def test_wrong_blocks(block):
    with pytest.raises(ValueError, match="block"):
        softmax_attention(np.ones((1, 3)), np.ones((2, 3)), np.ones((2, 1)), key_block=block)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("seed", range(20))
def test_scores_that_round_by_more_than_the_room_for_weights_stay_finite(dtype, seed):
    # The largest score is found in one product and subtracted in another, which may round otherwise.
    rng = np.random.default_rng(seed)
    scale = 10.0 ** rng.integers(6, 12 if dtype is np.float32 else 30)
    keys = rng.normal(size=(40, 6)) * scale
    keys[7] *= -1e6 * np.sign(keys[7].sum())  # far below every other score, and the bound with it
    values = rng.random((40, 2))
    outputs = softmax_attention(np.ones((3, 6), dtype), keys.astype(dtype), values.astype(dtype))
    slack = 1e-6
    assert np.all((values.min(axis=0) - slack <= outputs) & (outputs <= values.max(axis=0) + slack))


def test_a_weight_counts_a_token_several_times():
    rng = np.random.default_rng(0)
    queries, keys, values = rng.normal(size=(4, 3)), rng.normal(size=(5, 3)), rng.normal(size=(5, 2))
    times = np.array([1, 3, 2, 1, 4])
    repeated = softmax_attention_reference(queries, keys.repeat(times, axis=0), values.repeat(times, axis=0))
    assert np.allclose(weighted_attention(queries, keys, values, times), repeated, atol=1e-13)
    assert not np.allclose(softmax_attention(queries, keys, values), repeated, atol=1e-3)


@pytest.mark.parametrize("weights", [[1.0], [1.0, 0.0], [1.0, -1.0], [1.0, np.nan]])
def test_weights_are_positive_numbers_one_a_token(weights):
    with pytest.raises(ValueError, match="weights must be 2 positive numbers"):
        weighted_attention(np.ones((1, 2)), np.ones((2, 2)), np.ones((2, 2)), weights)
