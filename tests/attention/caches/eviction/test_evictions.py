"""Evictions: which tokens survive, against loops in plain Python."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from kvfloor.attention.caches import CACHES, Coins, WireError, resolve, wire

BUDGETED = [name for name, cache in CACHES.items() if cache.parameters.get("kept_tokens") == "required"]


def survivors(spec, keys, seed=0, block=None):
    """Return the positions of the tokens that are kept, read from their values."""
    tokens = len(keys)
    cache = resolve(spec).make(keys.shape[1], 1, Coins(seed))
    for start in range(0, tokens, block or tokens):
        stop = start + (block or tokens)
        cache.append(keys[start:stop], np.arange(start, min(stop, tokens), dtype=float)[:, None])
    restored = type(cache).from_bytes(cache.to_bytes(), cache.coins)
    return [int(value) for value in restored._tokens()[1][:, 0]]


def random_keys(tokens, dim=3, seed=0):
    return np.random.default_rng(seed).normal(size=(tokens, dim))


@pytest.mark.parametrize("tokens", [1, 5, 6, 7, 50])
@pytest.mark.parametrize("block", [1, 4, 50])
def test_window(tokens, block):
    kept = survivors("window:kept_tokens=6", random_keys(tokens), block=block)
    assert kept == list(range(tokens))[-6:]


@pytest.mark.parametrize("tokens", [1, 4, 9, 10, 11, 50])
@pytest.mark.parametrize("block", [1, 7, 50])
def test_sinks_keep_the_first_four_and_the_last(tokens, block):
    kept = survivors("sinks:kept_tokens=10", random_keys(tokens), block=block)
    everyone = list(range(tokens))
    assert kept == (everyone if tokens <= 10 else everyone[:4] + everyone[-6:])


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=30), st.integers(1, 10))
@settings(max_examples=100, deadline=None)
def test_smallest_norms(keys, kept_tokens):
    """Few distinct norms, so many ties, which the later token wins."""
    best = sorted(range(len(keys)), key=lambda place: (abs(keys[place]), -place))[:kept_tokens]
    assert survivors(f"knorm:kept_tokens={kept_tokens}", np.array(keys)[:, None]) == sorted(best)


def is_uniform(spec, false_alarm=1e-6):
    """Say whether all sets of 2 of 5 tokens survive equally often over 4000 seeds, by a chi-square test.

    Ten cells of 400 expected each; a uniform rule fails with probability about `false_alarm`.
    """
    make, keys, positions = resolve(spec).make, random_keys(5), np.arange(5.0)[:, None]
    counts = dict.fromkeys(itertools.combinations(range(5), 2), 0)
    for seed in range(4000):
        cache = make(3, 1, Coins(seed))
        for part in (slice(0, 3), slice(3, 5)):
            cache.append(keys[part], positions[part])
        counts[tuple(cache._tokens()[1][:, 0].astype(int).tolist())] += 1
    statistic = sum((count - 400) ** 2 / 400 for count in counts.values())
    return statistic <= stats.chi2.ppf(1 - false_alarm, len(counts) - 1)


def test_random_tokens_are_a_uniform_set():
    assert is_uniform("random:kept_tokens=2")


def test_uniformity_can_fail():
    assert not is_uniform("knorm:kept_tokens=2")


def test_random_tokens_follow_from_the_seed():
    keys = random_keys(100)
    first, again, other = (survivors("random:kept_tokens=20", keys, seed) for seed in (1, 1, 2))
    assert first == again != other


def softmax(scores):
    weights = [math.exp(score - max(scores)) for score in scores]
    return [weight / sum(weights) for weight in weights]


def dot(a, b):
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


@given(st.integers(0, 2**32), st.integers(1, 30), st.integers(1, 8))
@settings(max_examples=50, deadline=None)
def test_heavy_hitters(seed, tokens, kept_tokens):
    keys = random_keys(tokens, seed=seed).astype(np.float16).tolist()
    kept, sums = [], {}
    for new in range(tokens):
        kept.append(new)
        sums[new] = 0.0
        for token, weight in zip(
            kept, softmax([2 * dot(keys[new], keys[token]) for token in kept]), strict=True
        ):
            sums[token] += weight
        if len(kept) > kept_tokens:
            recent = math.ceil(kept_tokens / 2)
            kept.remove(min(kept[:-recent], key=sums.__getitem__))
    assert survivors(f"h2o:kept_tokens={kept_tokens},query_factor=2", np.array(keys)) == kept


def test_heavy_hitter_survives():
    """A token that later ones attend to stays, although it is old; one that they do not is gone."""
    keys = np.tile([1.0, 0.0], (40, 1))
    keys[3] = [2.0, 0.0]
    keys[5] = [0.0, 0.0]
    kept = survivors("h2o:kept_tokens=8", keys)
    assert 3 in kept
    assert 5 not in kept
    assert kept[-4:] == [36, 37, 38, 39]


@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 5), st.integers(1, 6), st.integers(1, 6))
@settings(max_examples=50, deadline=None)
def test_snapkv(seed, tokens, window, extra, pool):
    keys = random_keys(tokens, seed=seed).astype(np.float16).tolist()
    kept_tokens = window + extra
    earlier = tokens - window
    expected = list(range(tokens))
    if tokens > kept_tokens:
        votes = [0.0] * earlier
        for observer in range(earlier, tokens):
            weights = softmax([3 * dot(keys[observer], key) for key in keys[: observer + 1]])
            votes = [vote + weight for vote, weight in zip(votes, weights[:earlier], strict=True)]
        padded = [0.0] * pool + votes + [0.0] * pool
        # The mean of `pool` neighbours, half of them (rounded down) after the token.
        pooled = [
            math.fsum(padded[i + 1 + pool // 2 : i + 1 + pool // 2 + pool]) / pool for i in range(earlier)
        ]
        best = sorted(range(earlier), key=lambda place: (pooled[place], place))[-extra:]
        kept = survivors(
            f"snapkv:kept_tokens={kept_tokens},window_tokens={window},pool_tokens={pool},query_factor=3",
            np.array(keys),
        )
        # Votes that agree to rounding may be ordered either way.
        margin = sorted(pooled)[-extra] - (sorted(pooled)[-extra - 1] if extra < earlier else -1)
        if margin > 1e-12:
            assert kept == sorted(best) + expected[earlier:]
        assert len(kept) == kept_tokens


def test_snapkv_keeps_what_comes_after_the_prefill():
    cache = resolve("snapkv:kept_tokens=6,window_tokens=2").make(3, 1, Coins(0))
    cache.append(random_keys(20), np.ones((20, 1)))
    after = type(cache).from_bytes(cache.to_bytes(), cache.coins)
    after.append(random_keys(5), np.ones((5, 1)))
    assert len(after._tokens()[0]) == 6 + 5
    cache.append(random_keys(5), np.ones((5, 1)))
    assert len(cache._tokens()[0]) == 6


@pytest.mark.parametrize("name", BUDGETED)
def test_budgets(name):
    assert len(BUDGETED) == 8
    with pytest.raises(ValueError, match="needs the parameter 'kept_tokens'"):
        resolve(name)
    for wrong in (0, -1):
        with pytest.raises(ValueError, match="kept_tokens is"):
            resolve(f"{name}:kept_tokens={wrong}").make(3, 3, Coins(0))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("sinks:kept_tokens=4", "kept_tokens is 4, expected more than the 4 sink_tokens"),
        ("sinks:kept_tokens=4,sink_tokens=-1", "sink_tokens is -1"),
        ("snapkv:kept_tokens=32", "kept_tokens is 32, expected more than the 32 window_tokens"),
        ("snapkv:kept_tokens=32,window_tokens=0", "window_tokens is 0"),
        ("snapkv:kept_tokens=64,pool_tokens=0", "pool_tokens is 0"),
        ("h2o:kept_tokens=4,query_factor=nan", "query_factor is nan"),
        ("window:kept_tokens=4,dtype=int8", "dtype is 'int8'"),
    ],
)
def test_wrong_parameters(spec, message):
    with pytest.raises(ValueError, match=message):
        resolve(spec).make(3, 3, Coins(0))


@pytest.mark.parametrize("name", BUDGETED)
def test_numbers_that_do_not_fit_are_rejected(name):
    cache = resolve(f"{name}:kept_tokens=40").make(2, 2, Coins(0))
    before = cache.to_bytes()
    with pytest.raises(ValueError, match="values hold 1e\\+06, beyond the range of float16"):
        cache.append(np.ones((1, 2)), np.full((1, 2), 1e6))
    assert cache.to_bytes() == before


def test_forged_positions_of_random_tokens():
    """Positions must increase; as many tokens must be kept as the budget and the stream allow."""
    writer = resolve("random:kept_tokens=2").make(1, 1, Coins(0))
    ones = np.ones((2, 1), np.float32)
    for positions, valid in (([3, 7], True), ([7, 3], False), ([3, 3], False)):
        arrays = ones, ones, np.array(positions)
        payload = wire.write(
            wire.Header("random", writer.parameters(), (1, 1, 2, 9)), writer._layout(2, 9), arrays
        )
        if valid:
            assert type(writer).from_bytes(payload, Coins(0)).to_bytes() == payload
        else:
            with pytest.raises(WireError, match="positions do not increase"):
                type(writer).from_bytes(payload, Coins(0))
    for counts in ((1, 9), (3, 9), (2, 1)):
        with pytest.raises(WireError, match="keeps 2 tokens"):
            writer._layout(*counts)


def test_more_tokens_than_the_budget():
    with pytest.raises(WireError, match="4 tokens are more than the 3 that window keeps"):
        resolve("window:kept_tokens=3").make(1, 1, Coins(0))._layout(4)
