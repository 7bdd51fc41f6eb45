"""Windows: the reference against sums in plain Python, the fast code against the reference."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvfloor.attention import softmax_attention, softmax_attention_reference, softmax_tolerance
from kvfloor.attention.window import (
    OUTSIDE,
    beside_zeros_tolerance,
    window_attention,
    window_attention_reference,
)


@st.composite
def instances(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    tokens, dim, value_dim, count = (draw(st.integers(1, most)) for most in (40, 8, 5, 20))
    keys = rng.normal(size=(tokens, dim)) * draw(st.sampled_from([0.0, 1e-3, 1.0, 10.0]))
    queries = rng.normal(size=(count, dim)) * draw(st.sampled_from([0.0, 1.0, 10.0]))
    values = rng.normal(size=(tokens, value_dim)) * draw(st.sampled_from([0.0, 1e-30, 1.0, 1e30]))
    window = draw(st.integers(1, tokens))
    return queries.astype(dtype), keys.astype(dtype), values.astype(dtype), window


def allowed_error(queries, keys, values, window):
    """Return how far fast code and reference, both rounding, may be apart, whatever is outside."""
    norms = [float(np.linalg.norm(a.astype(float), axis=1).max()) for a in (queries, keys)]
    count = max(len(keys) - window, 1)
    fast = max(
        beside_zeros_tolerance(count, window, keys.shape[1], *norms, queries.dtype.type),
        softmax_tolerance(*keys.shape, math.prod(norms), queries.dtype.type),
    )
    reference = softmax_tolerance(*keys.shape, math.prod(norms), np.float64, key_block=len(keys))
    return (fast + reference) * float(np.abs(values).max())


def agrees(attention, instance, outside):
    error = np.abs(attention(*instance, outside) - window_attention_reference(*instance, outside)).max()
    return bool(error <= allowed_error(*instance))


@given(instances(), st.sampled_from(OUTSIDE))
@settings(max_examples=300)
def test_fast_agrees_with_reference(instance, outside):
    assert agrees(window_attention, instance, outside)


@given(instances())
@settings(max_examples=60)
def test_reference_is_the_formula(instance):
    """theory 5: (sum_W e^<q,k> v + sum_out v) / (sum_W e^<q,k> + n - W), in plain Python, scores shifted by their maximum."""
    queries, keys, values, window = instance
    outputs = window_attention_reference(*instance, "zeroed")
    out = len(keys) - window
    for query, output in zip(queries.tolist(), outputs, strict=True):
        scores = [math.fsum(a * b for a, b in zip(query, key, strict=True)) for key in keys[out:].tolist()]
        top = max([*scores, 0.0])
        weights = [math.exp(-top)] * out + [math.exp(score - top) for score in scores]
        expected = [
            math.fsum(w * v for w, v in zip(weights, column, strict=True)) / math.fsum(weights)
            for column in values.T.tolist()
        ]
        wide = (queries.astype(np.float64), keys.astype(np.float64), values.astype(np.float64), window)
        assert np.abs(output - expected).max() <= allowed_error(*wide)


@given(instances())
@settings(max_examples=100)
def test_the_other_two_are_plain_attention(instance):
    queries, keys, values, window = instance
    dropped = softmax_attention_reference(queries, keys[-window:], values[-window:])
    kept = softmax_attention_reference(queries, keys, values)
    # Masked scores leave exact zeros among the weights, so only the order of the sums may differ.
    wide = (queries.astype(np.float64), keys.astype(np.float64), values.astype(np.float64), window)
    assert (
        np.abs(window_attention_reference(*instance, "dropped") - dropped).max() <= allowed_error(*wide) * 2
    )
    assert np.abs(window_attention_reference(*instance, "kept") - kept).max() <= allowed_error(*wide) * 2


@given(instances())
@settings(max_examples=50)
def test_a_window_as_long_as_the_stream_masks_nothing(instance):
    queries, keys, values, _ = instance
    for outside in OUTSIDE:
        outputs = window_attention(queries, keys, values, len(keys), outside)
        assert np.array_equal(outputs, softmax_attention(queries, keys, values))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_agreement_can_fail(dtype):
    """Plausible mistakes are farther off than the tolerance."""
    rng = np.random.default_rng(1)
    keys, values, queries = (rng.normal(size=(rows, 8)).astype(dtype) for rows in (300, 300, 20))
    instance = queries, keys, values, 100

    def one_token_short(q, k, v, window, outside):
        return window_attention(q, k, v, window - 1, outside)

    def forgets_the_sum(q, k, v, window, outside):
        return window_attention(q, k, np.where(np.arange(300)[:, None] < 200, 0, v), window, outside)

    def another(outside):
        return lambda q, k, v, window, _: window_attention(q, k, v, window, outside)

    assert agrees(window_attention, instance, "zeroed")
    assert not agrees(one_token_short, instance, "zeroed")
    assert not agrees(forgets_the_sum, instance, "zeroed")
    assert not agrees(another("dropped"), instance, "zeroed")
    assert not agrees(another("kept"), instance, "zeroed")
    assert not agrees(another("zeroed"), instance, "dropped")


@pytest.mark.parametrize(
    ("window", "outside", "message"),
    [
        (0, "zeroed", "window_tokens is 0, expected an integer from 1 to 5"),
        (6, "dropped", "window_tokens is 6, expected an integer from 1 to 5"),
        (2, "masked", "outside is 'masked', expected one of zeroed, dropped, kept"),
    ],
)
@pytest.mark.parametrize("attention", [window_attention, window_attention_reference])
def test_wrong_arguments(attention, window, outside, message):
    with pytest.raises(ValueError, match=message):
        attention(np.ones((1, 3)), np.ones((5, 3)), np.ones((5, 2)), window, outside)
