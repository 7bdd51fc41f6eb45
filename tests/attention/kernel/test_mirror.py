"""Multiples of keys as queries: recognised when they are and not when they are not, and answered alike either way."""

from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from kvfloor.attention import (
    softmax,
    softmax_attention,
    softmax_attention_reference,
    softmax_tolerance,
    symmetric_attention,
)
from kvfloor.attention.kernel import mirror
from kvfloor.attention.kernel.blocks import Room


def unit(rng, count, dim):
    rows = rng.normal(size=(count, dim))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def found(queries, keys):
    return mirror.multiples(queries, keys, np.linalg.norm(keys.astype(np.float64), axis=1))


def allowed(keys, values, scale, key_block=640):
    """Return how far two computations and the reference may be apart."""
    norm = np.linalg.norm(keys.astype(np.float64), axis=1).max()
    sizes = *keys.shape, abs(scale) * norm**2, keys.dtype.type
    tolerance = 2 * softmax_tolerance(*sizes, key_block=key_block)
    return tolerance * float(np.abs(values).max())


@given(st.integers(0, 2**32), st.floats(1e-3, 1e3), st.sampled_from([np.float32, np.float64]), st.booleans())
@settings(max_examples=100, deadline=None)
def test_multiples_are_found_whatever_they_were_rounded_from(seed, scale, dtype, longer):
    rng = np.random.default_rng(seed)
    keys = unit(rng, 60, 5) * (rng.uniform(0.5, 2, size=(60, 1)) if longer else 1)
    start, stop = sorted(rng.choice(61, 2, replace=False))
    queries = (scale * keys[start:stop]).astype(dtype)  # rounded once, or twice where the keys are as well
    for rounded in (queries, dtype(scale) * keys[start:stop].astype(dtype)):
        place, factor = found(rounded, keys.astype(dtype))
        assert place == start
        assert factor == pytest.approx(scale, rel=8 * float(np.finfo(dtype).eps))


def nudged(queries):
    changed = queries.copy()
    changed[7, 2] *= 1 + 16 * np.finfo(queries.dtype).eps
    return changed


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("change", [
    nudged,
    lambda queries: queries[::-1].copy(),
    lambda queries: queries[::2].copy(),
    lambda queries: -queries,
    lambda queries: queries * np.linspace(1, 1.1, len(queries), dtype=queries.dtype)[:, None],
    lambda queries: np.vstack([queries, queries[:1]]),
    lambda queries: queries * 0,
    lambda queries: np.random.default_rng(1).normal(size=queries.shape).astype(queries.dtype),
    lambda queries: queries.astype(np.float16).astype(queries.dtype),
])  # fmt: skip
def test_what_is_no_multiple_is_not_taken_for_one(dtype, change):
    keys = unit(np.random.default_rng(0), 40, 6).astype(dtype)
    queries = dtype(40) * keys
    assert found(queries, keys)
    assert found(change(queries), keys) is None


def test_another_type_is_no_multiple():
    keys = unit(np.random.default_rng(0), 40, 6).astype(np.float32)
    assert found(40.0 * keys.astype(np.float64), keys) is None


@st.composite
def instances(draw):
    """Draw keys of any norms, some of them twins or zero, a scale of either sign, and where the queries are."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    tokens, dim = draw(st.integers(2, 150)), draw(st.integers(1, 12))
    keys = unit(rng, tokens, dim)
    if draw(st.booleans()):
        keys *= rng.uniform(0.3, 3, size=(tokens, 1))
    some = rng.random(tokens) < draw(st.sampled_from([0.0, 0.3]))
    keys[some] = 0 if draw(st.booleans()) else keys[0]
    values = rng.normal(size=(tokens, 3)) if draw(st.booleans()) else rng.integers(0, 2, (tokens, 3))
    scale = draw(st.sampled_from([0.0, 0.1, 5.0, 60.0, 300.0, -60.0]))
    return keys.astype(dtype), values.astype(dtype), scale


@given(instances(), st.integers(5, 40), st.sampled_from([1, 200, 1 << 22]), st.integers(1, 3))
@settings(max_examples=200, deadline=None)
def test_symmetric_attention_agrees_with_the_reference(instance, block, held, threads):
    keys, values, scale = instance
    queries = keys.dtype.type(scale) * keys
    with mock.patch.object(mirror, "HELD", held), mock.patch.object(mirror, "SMALL", 0):
        with threadpool_limits(threads, user_api="blas"):
            outputs = symmetric_attention(keys, values, scale, key_block=block)
        with threadpool_limits(1, user_api="blas"):
            assert np.array_equal(outputs, symmetric_attention(keys, values, scale, key_block=block))
    error = np.abs(outputs - softmax_attention_reference(queries, keys, values)).max()
    assert error <= allowed(keys, values, scale, block)


@given(st.integers(0, 2**32), st.integers(5, 40), st.sampled_from([np.float32, np.float64]))
@settings(max_examples=100, deadline=None)
def test_queries_that_are_multiples_of_some_keys_agree_with_the_reference(seed, block, dtype):
    rng = np.random.default_rng(seed)
    keys = unit(rng, 150, 8).astype(dtype)
    start, stop = sorted(rng.choice(151, 2, replace=False))
    queries, values = dtype(80) * keys[start:stop], rng.integers(0, 2, (150, 3)).astype(dtype)
    with mock.patch.object(softmax, "attend_mirrored", wraps=mirror.attend_mirrored) as used:
        outputs = softmax_attention(queries, keys, values, key_block=block)
    assert used.called == (stop - start > block)
    error = np.abs(outputs - softmax_attention_reference(queries, keys, values)).max()
    assert error <= allowed(keys, values, 80, block)


class Scored:
    """Counts the scores that are computed."""

    def __enter__(self):
        score = Room.score
        self.scores = 0

        def watched(room, queries, keys):
            found = score(room, queries, keys)
            self.scores += found.size
            return found

        self._patch = mock.patch.object(Room, "score", watched)
        self._patch.start()
        return self

    def __exit__(self, *_):
        self._patch.stop()


def test_half_the_scores_do_and_every_symbol_is_read_alike():
    """INDEX with 1600 tokens and 32 bits each: the plain path, the symmetric one and the truth agree on all."""
    rng = np.random.default_rng(0)
    keys = unit(rng, 1600, 64).astype(np.float32)
    bits = rng.integers(0, 2, (1600, 32)).astype(np.float32)
    queries = np.float32(40) * keys
    with Scored() as symmetric:
        outputs = softmax_attention(queries, keys, bits, key_block=100, query_block=100)
    assert symmetric.scores == 1600**2 * 17 // 32
    with mock.patch.object(softmax, "multiples", return_value=None), Scored() as plain:
        expected = softmax_attention(queries, keys, bits, key_block=100, query_block=100)
    assert plain.scores >= 1600**2
    assert np.array_equal(outputs > 0.5, expected > 0.5)
    assert np.array_equal(outputs > 0.5, bits > 0.5)
    assert np.abs(outputs - expected).max() <= allowed(keys, bits, 40, 100)
    assert np.abs(outputs - expected).max() < 1e-6


def test_flat_scores_are_computed_whole_and_no_more_than_once():
    rng = np.random.default_rng(0)
    keys, values = unit(rng, 800, 8), rng.normal(size=(800, 2))
    with Scored() as scored:
        outputs = symmetric_attention(keys, values, 2.0, key_block=100)
    assert scored.scores == 800**2
    assert np.abs(outputs - softmax_attention_reference(2 * keys, keys, values)).max() < 1e-12


def test_queries_that_round_away_from_their_keys_are_answered_as_they_are():
    """A query 16 units off is no multiple: the plain path answers it, and both answers are right."""
    rng = np.random.default_rng(0)
    keys, values = unit(rng, 300, 8).astype(np.float32), rng.normal(size=(300, 2)).astype(np.float32)
    queries = nudged(np.float32(60) * keys)
    with mock.patch.object(softmax, "attend_mirrored") as used:
        outputs = softmax_attention(queries, keys, values, key_block=100)
    assert not used.called
    error = np.abs(outputs - softmax_attention_reference(queries, keys, values)).max()
    assert error <= allowed(keys, values, 60, 100)


@pytest.mark.parametrize(("dtype", "largest"), [(np.float32, 3e38), (np.float64, 1e100)])
def test_largest_numbers_do_not_overflow(dtype, largest):
    keys = np.array([[largest, 0], [-largest, 0], [0, largest]], dtype)
    values = np.array([[largest], [-largest], [0]], dtype)
    for scale in (1.0, 1e100, 1e-100):
        outputs = symmetric_attention(keys, values, scale)
        assert outputs.dtype == dtype
        if scale >= 1 or dtype == np.float64:
            assert outputs[:, 0].tolist() == [dtype(largest), -dtype(largest), 0]


@pytest.mark.parametrize("scale", [np.nan, np.inf, "4", True, None, [1.0], 2e100])
def test_wrong_scales_are_one_sentence(scale):
    with pytest.raises(ValueError, match=r"^scale is .*, expected a number") as caught:
        symmetric_attention(np.eye(3), np.eye(3), scale)
    assert "\n" not in str(caught.value)


def test_wrong_arrays_are_told():
    with pytest.raises(ValueError, match="same number of rows"):
        symmetric_attention(np.eye(3), np.eye(2), 1.0)
    with pytest.raises(ValueError, match="key_block is 0"):
        symmetric_attention(np.eye(3), np.eye(3), 1.0, key_block=0)
