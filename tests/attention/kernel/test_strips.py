"""Blocks that are thinned: whatever is asked, the outputs are as exact as those of whole blocks."""

import math
from contextlib import ExitStack
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from kvfloor.attention import softmax_attention, softmax_attention_reference, softmax_tolerance
from kvfloor.attention.kernel import strips, sums
from kvfloor.attention.kernel.blocks import Room
from kvfloor.attention.kernel.limits import BIT, Limits


def norm(rows):
    return float(np.linalg.norm(rows.astype(np.float64), axis=1).max())


def error_and_allowance(outputs, queries, keys, values, key_block=640):
    """Return how far outputs are from the reference, and how far both, rounding, may be apart."""
    largest = norm(queries) * norm(keys)
    tolerance = softmax_tolerance(*keys.shape, largest, queries.dtype.type, key_block=key_block)
    tolerance += softmax_tolerance(*keys.shape, largest, np.float64, key_block=len(keys))
    error = np.abs(outputs - softmax_attention_reference(queries, keys, values)).max()
    return float(error), tolerance * float(np.abs(values).max())


@pytest.fixture
def one_thread():
    """As many strips as are asked for, and no more."""
    with threadpool_limits(1, user_api="blas"):
        yield


def agrees(queries, keys, values, **blocks):
    outputs = softmax_attention(queries, keys, values, **blocks)
    error, allowed = error_and_allowance(outputs, queries, keys, values, blocks.get("key_block", 640))
    return error <= allowed


class Watch:
    """Watches blocks: how many were tried, how many of those were thinned, and how much of them was kept."""

    def __init__(self):
        self.tried = self.thinned = self.kept = 0

    def __enter__(self):
        above = Room.above

        def watched(room, scores, cut):
            kept = above(room, scores, cut)
            self.tried += 1
            self.thinned += kept is not None
            self.kept += 0 if kept is None else len(kept.rows)
            return kept

        self._patch = mock.patch.object(Room, "above", watched)
        self._patch.start()
        return self

    def __exit__(self, *_):
        self._patch.stop()


def unit(rng, count, dim):
    rows = rng.normal(size=(count, dim))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


KINDS = (
    "key",
    "near a key",
    "between twins",
    "anywhere",
    "flat",
    "zero",
    "denormal",
    "against a key",
    "long",
)


def query(kind, keys, rng):
    """Return a query of a kind that is in somebody's way."""
    key, (_, dim) = keys[rng.integers(len(keys))], keys.shape
    noise = rng.normal(size=dim)
    return {
        "key": lambda: rng.uniform(20, 200) * key,
        "near a key": lambda: rng.uniform(20, 200) * (key + 0.1 * noise),
        "between twins": lambda: 100 * keys[-2:].sum(axis=0),
        "anywhere": lambda: rng.uniform(1, 100) * noise,
        "flat": lambda: 0.1 * noise,
        "zero": lambda: np.zeros(dim),
        "denormal": lambda: 1e-40 * noise,
        "against a key": lambda: -100 * key,
        "long": lambda: 3000 * noise,
    }[kind]()


@st.composite
def instances(draw):
    """Draw queries of any kinds together, and keys with twins, zeros, a long one, or denormal ones."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    tokens, dim, count = draw(st.integers(2, 120)), draw(st.integers(1, 12)), draw(st.integers(1, 60))
    keys = unit(rng, tokens, dim)
    keys[-1] = keys[-2]
    for change in draw(st.sets(st.sampled_from(["zeros", "long", "denormal", "twins", "norms"]))):
        some = rng.random(tokens) < 0.3
        if change == "zeros":
            keys[some] = 0
        elif change == "long":
            keys[rng.integers(tokens)] *= 30
        elif change == "denormal":
            keys[some] *= 1e-39
        elif change == "twins":
            keys[some] = keys[0]
        else:
            keys *= rng.uniform(0.5, 2, size=(tokens, 1))
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=len(KINDS)))
    queries = np.array([query(kinds[i % len(kinds)], keys, rng) for i in range(count)])
    values = rng.normal(size=(tokens, 3)) if draw(st.booleans()) else rng.integers(0, 2, (tokens, 3))
    return queries.astype(dtype), keys.astype(dtype), values.astype(dtype)


@given(instances(), st.integers(8, 64), st.integers(8, 64), st.booleans())
@settings(max_examples=300, deadline=None)
def test_thinned_blocks_agree_with_the_reference(instance, query_block, key_block, flushed):
    with ExitStack() as patches:
        patches.enter_context(mock.patch.object(strips, "SAMPLED_FROM", 1))
        patches.enter_context(mock.patch.object(sums, "PENDING", 5 if flushed else 1 << 17))
        assert agrees(*instance, query_block=query_block, key_block=key_block)


@given(instances(), st.floats(-1e3, 1e3), st.booleans())
@settings(max_examples=200, deadline=None)
def test_a_wrong_guess_costs_time_and_nothing_else(instance, guess, huge):
    gap = guess * 1e30 if huge else guess
    with mock.patch.object(strips, "_gap", return_value=gap):
        assert agrees(*instance, query_block=32, key_block=32)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_guess_that_is_believed_is_seen(dtype):
    rng = np.random.default_rng(0)
    keys = unit(rng, 300, 16).astype(dtype)
    instance = 300 * unit(rng, 300, 16).astype(dtype), keys, rng.normal(size=(300, 2)).astype(dtype)
    with mock.patch.object(strips, "_gap", return_value=0.0):  # no score comes near its bound
        assert agrees(*instance)
        with mock.patch.object(Limits, "uncertain", return_value=np.arange(0)), np.errstate(all="ignore"):
            assert not agrees(*instance)


def sharp(rng, dtype, tokens=900, dim=32, scale=80):
    keys = unit(rng, tokens, dim).astype(dtype)
    queries = dtype(scale) * keys[rng.permutation(tokens)]
    return queries, keys, rng.integers(0, 2, (tokens, 4)).astype(dtype)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nearly_all_weights_of_sharp_queries_are_left_out(dtype):
    instance = sharp(np.random.default_rng(0), dtype)
    with Watch() as watch:
        assert agrees(*instance, query_block=300, key_block=300)
    assert watch.tried == watch.thinned == 9
    assert 900 <= watch.kept < 0.02 * 900**2


def test_flat_queries_are_not_even_tried():
    rng = np.random.default_rng(0)
    keys = unit(rng, 400, 8)
    with Watch() as watch:
        assert agrees(3 * unit(rng, 400, 8), keys, rng.normal(size=(400, 2)), key_block=100)
    assert watch.tried == 0


@pytest.mark.usefixtures("one_thread")
def test_a_strip_is_whole_from_the_first_block_that_keeps_too_much():
    """Sharp queries among keys, whose last third are near each other: that block keeps a lot."""
    rng = np.random.default_rng(0)
    queries, keys, values = sharp(rng, np.float32)
    keys[600:] = keys[600] + np.float32(1e-3) * keys[600:]
    queries = np.float32(80) * keys[rng.permutation(900)]
    with Watch() as watch:
        assert agrees(queries, keys, values, query_block=300, key_block=300)
    assert (watch.tried, watch.thinned) == (9, 6)


@pytest.mark.usefixtures("one_thread")
def test_a_row_that_keeps_everything_among_rows_that_keep_nothing():
    rng = np.random.default_rng(0)
    queries, keys, values = sharp(rng, np.float32, tokens=1000, dim=32)
    queries[::100] = 0.01 * queries[::100]
    with mock.patch.object(strips, "_gap", return_value=0.0), Watch() as watch:
        assert agrees(queries, keys, values, query_block=500, key_block=100)
    assert watch.thinned == watch.tried == 20
    assert watch.kept > 10 * 1000


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("tokens", "key_block"), [(64, 64), (4096, 640)])
def test_a_cut_seven_bits_too_high_is_too_high(dtype, tokens, key_block):
    """One key scores L, all others a hair below the cut, and have the other value: nothing is worse."""
    limits = Limits.of(np.dtype(dtype), tokens, 1, key_block + math.ceil(tokens / key_block) + 8)
    largest = np.array([60.0 * BIT])
    cut = float(limits.cuts(largest, largest)[0])
    keys = np.full((tokens, 1), (cut - 0.01) / largest[0], dtype)
    keys[0], values = 1, np.ones((tokens, 1), dtype)
    values[0] = 0
    queries = np.full((300, 1), 60 * math.log(2), dtype)

    allowed = softmax_tolerance(tokens, 1, 60 * math.log(2), dtype, key_block=key_block)

    def error(bits, certified=True):
        cuts = Limits.cuts
        with ExitStack() as patches:
            if bits:
                raised = mock.patch.object(Limits, "cuts", lambda *given: cuts(*given) + bits * BIT)
                patches.enter_context(raised)
            if not certified:
                patches.enter_context(mock.patch.object(Limits, "uncertain", return_value=np.arange(0)))
            shifted = np.concatenate([keys[:1], keys[1:] + dtype(bits * BIT / largest[0])])
            outputs = softmax_attention(queries, shifted, values, key_block=key_block)
        others = (tokens - 1) * math.exp(float(queries[0, 0]) * (float(shifted[1, 0]) - 1))
        return abs(outputs - others / (1 + others)).max()

    with Watch() as watch:
        left_out = error(0)
    assert watch.kept == len(queries)
    assert allowed / 128 < left_out < allowed
    assert error(7, certified=False) > allowed
    assert error(7) < left_out  # done again, whole


def test_two_calls_are_the_same_to_the_bit():
    instance = sharp(np.random.default_rng(0), np.float32, tokens=3000)
    assert np.array_equal(softmax_attention(*instance), softmax_attention(*instance))
