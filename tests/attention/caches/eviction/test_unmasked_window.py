"""The value-unmasked window: exact against the reference, any blocks, memory of the window alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvfloor.attention.caches import Coins, WireError, resolve
from kvfloor.attention.caches.eviction.unmasked_window import UnmaskedWindow
from kvfloor.attention.window import beside_zeros_tolerance, window_attention_reference

COINS = Coins(0)


def filled(cache, keys, values, block):
    for start in range(0, len(keys), block):
        cache.append(keys[start : start + block], values[start : start + block])
    return cache


def stream(seed, tokens, dim=4, value_dim=3, scale=1.0):
    rng = np.random.default_rng(seed)
    return scale * rng.normal(size=(tokens, dim)), rng.normal(size=(tokens, value_dim))


def error_over_bound(cache, keys, values, window, seed=0):
    """Return the largest error against the reference, in units of the bound on both."""
    queries = np.random.default_rng(seed).normal(size=(9, keys.shape[1]))
    exact = window_attention_reference(queries, keys, values, min(window, len(keys)))
    norms = [float(np.linalg.norm(a, axis=1).max()) for a in (queries, keys)]
    bound = beside_zeros_tolerance(len(keys), min(window, len(keys)), keys.shape[1], *norms, np.float64)
    return np.abs(cache.attend(queries) - exact).max() / (2 * bound * np.abs(values).max())


@given(
    st.integers(0, 2**32),
    st.integers(1, 60),
    st.integers(1, 70),
    st.integers(1, 60),
    st.sampled_from([0.0, 1.0, 9.0]),
)
@settings(max_examples=150)
def test_exact_for_every_stream_window_and_block(seed, tokens, window, block, scale):
    keys, values = stream(seed, tokens, scale=scale)
    cache = filled(UnmaskedWindow(4, 3, COINS, window_tokens=window, dtype="float64"), keys, values, block)
    assert error_over_bound(cache, keys, values, window) <= 1
    again = UnmaskedWindow.from_bytes(cache.to_bytes(), COINS)
    assert error_over_bound(again, keys, values, window) <= 1


def test_exactness_can_fail():
    keys, values = stream(1, 50)
    cache = filled(UnmaskedWindow(4, 3, COINS, window_tokens=9, dtype="float64"), keys, values, 5)
    assert error_over_bound(cache, keys, values, 9) <= 1
    assert error_over_bound(cache, keys, values, 10) > 1
    cache._total = np.zeros_like(cache._total)
    assert error_over_bound(cache, keys, values, 9) > 1


class AddsInPairs(UnmaskedWindow):
    def _add(self, rows):
        return rows.sum(axis=0, keepdims=True)


@pytest.mark.parametrize(("kind", "same"), [(UnmaskedWindow, True), (AddsInPairs, False)])
def test_the_order_of_the_sum_does_not_depend_on_blocks(kind, same):
    """One column, so that NumPy's own sum is the pairwise one; its last bits then depend on the blocks."""
    keys, values = stream(3, 5000, value_dim=1)
    payloads = {
        filled(kind(4, 1, COINS, window_tokens=8, dtype="float64"), keys, values, block).to_bytes()
        for block in (1, 7, 500, 5000)
    }
    assert (len(payloads) == 1) == same


def test_the_wire_holds_the_window_and_one_sum():
    keys, values = stream(4, 3000)
    empty = len(UnmaskedWindow(4, 3, COINS, window_tokens=64, dtype="float32").to_bytes())
    sizes = set()
    for tokens in (1000, 2000, 3000):  # the count of evicted tokens has three or four digits
        cache = UnmaskedWindow(4, 3, COINS, window_tokens=64, dtype="float32")
        filled(cache, keys[:tokens], values[:tokens], 100)
        sizes.add(len(cache.to_bytes()) - empty - len(f"64{tokens - 64}") + len("00"))
    assert sizes == {64 * (4 + 3) * 4 + 3 * 8}


def test_before_the_first_eviction_it_is_the_full_cache():
    keys, values = stream(5, 10)
    window = filled(UnmaskedWindow(4, 3, COINS, window_tokens=10, dtype="float64"), keys, values, 3)
    dense = filled(resolve("dense:dtype=float64").make(4, 3, COINS), keys, values, 3)
    assert np.array_equal(window.attend(keys), dense.attend(keys))


def test_a_sum_beyond_range_is_refused_and_changes_nothing():
    cache = UnmaskedWindow(1, 1, COINS, window_tokens=1, dtype="float64")
    cache.append(np.ones((2, 1)), np.full((2, 1), 9e99))
    before = cache.to_bytes()
    with pytest.raises(ValueError, match="the sum of evicted values exceeds 1e\\+100"):
        cache.append(np.ones((1, 1)), np.ones((1, 1)))
    assert cache.to_bytes() == before
    assert np.isfinite(cache.attend(np.ones((1, 1)))).all()


@pytest.mark.parametrize("tokens", [3, 6])
def test_counts_that_contradict_each_other_are_refused(tokens):
    cache = UnmaskedWindow(1, 1, COINS, window_tokens=5)
    with pytest.raises(WireError, match=f"a window of 5 tokens holds {tokens} after 2 were evicted"):
        cache._layout(tokens, 2)


def test_wrong_parameters():
    with pytest.raises(ValueError, match="window_tokens is 0, expected an integer from 1"):
        resolve("unmasked-window:window_tokens=0").make(2, 2, COINS)
