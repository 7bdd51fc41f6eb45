"""Attention over pairs, thinned: as exact as whole, whatever score the queries are thought to have."""

from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from kvfloor.attention import tensor_attention, tensor_attention_reference, tensor_tolerance
from kvfloor.attention.kernel import pairs
from kvfloor.attention.kernel.blocks import Room
from kvfloor.attention.kernel.pairs import Pairs
from kvfloor.attention.tensor import kronecker_rows


def agrees(queries, keys1, values1, keys2, values2, blocks=(640, 640)):
    """Say whether outputs are as close to the reference as both may round."""
    outputs = tensor_attention(queries, keys1, values1, keys2, values2, blocks=blocks)
    q, k1, k2 = (array.astype(np.float64) for array in (queries, keys1, keys2))
    bound = float(np.linalg.norm(kronecker_rows(q, k1), axis=1).max() * np.linalg.norm(k2, axis=1).max())
    sizes = len(k1), len(k2), k1.shape[1], bound
    tolerance = tensor_tolerance(*sizes, queries.dtype.type, key_block=blocks[1])
    tolerance += tensor_tolerance(*sizes, np.float64) + len(k1) * len(k2) * np.finfo(np.float64).eps
    tolerance *= float(np.abs(values1).max() * np.abs(values2).max())
    error = np.abs(outputs - tensor_attention_reference(queries, keys1, values1, keys2, values2)).max()
    return error <= tolerance


def index_instance(rng, tokens, half, scale, count, dtype=np.float32):
    """Return queries C [k_i ; k_j] to keys [k_l ; 1] and [1 ; k_l], with bits as values."""
    keys = rng.normal(size=(tokens, half))
    keys /= np.linalg.norm(keys, axis=1, keepdims=True)
    ones = np.ones_like(keys)
    queries = scale * np.hstack([keys[rng.integers(0, tokens, count)], keys[rng.integers(0, tokens, count)]])
    values = [rng.integers(0, 2, (tokens, 3)) for _ in range(2)]
    arrays = queries, np.hstack([keys, ones]), values[0], np.hstack([ones, keys]), values[1]
    return tuple(array.astype(dtype) for array in arrays)


@given(
    st.integers(0, 2**32),
    st.tuples(st.integers(1, 40), st.integers(1, 12), st.integers(1, 9)),
    st.sampled_from([0.0, 1.0, 30.0, 100.0, 1000.0]),
    st.sampled_from([np.float32, np.float64]),
    st.tuples(st.integers(1, 60), st.integers(1, 60), st.integers(1, 2)),
)
@settings(max_examples=200, deadline=None)
def test_sharp_and_flat_queries_agree_with_the_reference(seed, sizes, scale, dtype, how):
    tokens, half, count = sizes
    instance = index_instance(np.random.default_rng(seed), tokens, half, scale, count, dtype)
    *blocks, threads = how
    with threadpool_limits(threads, user_api="blas"):
        assert agrees(*instance, blocks=tuple(blocks))


@given(st.integers(0, 2**32), st.floats(-1e4, 1e4), st.sampled_from([np.float32, np.float64]))
@settings(max_examples=100, deadline=None)
def test_a_wrong_climb_costs_time_and_nothing_else(seed, wrong, dtype):
    instance = index_instance(np.random.default_rng(seed), 30, 6, 60.0, 4, dtype)
    climbed = Pairs._climbed
    with mock.patch.object(Pairs, "_climbed", lambda asked: climbed(asked) + wrong):
        assert agrees(*instance, blocks=(40, 16))


def test_sharp_queries_keep_a_handful_of_pairs_and_find_their_largest_score():
    rng = np.random.default_rng(0)
    instance = index_instance(rng, 200, 32, 60.0, 5)
    kept, above = [], Room.above

    def watched(*arguments):
        found = above(*arguments)
        kept.append(None if found is None else len(found.rows))
        return found

    with mock.patch.object(Room, "above", watched), mock.patch.object(pairs, "Pairs", Pairs):
        assert agrees(*instance)
    assert None not in kept
    assert 5 <= sum(kept) < 0.01 * 5 * 200**2
    queries, keys1, _, keys2, _ = (array.astype(np.float64) for array in instance)
    scores = queries @ kronecker_rows(keys1, keys2).T
    with mock.patch.object(Pairs, "_climbed", autospec=True, side_effect=Pairs._climbed) as climbed:
        tensor_attention(*instance)
    (asked,) = climbed.call_args.args
    assert Pairs._climbed(asked) == pytest.approx(scores.max(axis=1) * np.log2(np.e), rel=1e-5)


def test_flat_queries_are_added_whole():
    rng = np.random.default_rng(0)
    instance = tuple(rng.normal(size=(rows, 6)) for rows in (3, 50, 50, 60, 60))
    with mock.patch.object(Pairs, "_few", autospec=True, side_effect=Pairs._few) as few:
        assert agrees(*instance, blocks=(50, 20))
    assert not any(call.args[1].untouched for call in few.call_args_list)
