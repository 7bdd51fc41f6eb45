"""The self-balancing walk against uniform halving, and what merge and reduce keep."""

import numpy as np
import pytest

from kvfloor.attention.caches import Coins, resolve
from kvfloor.attention.caches.mixing.balance import balanced_half
from kvfloor.attention.softmax import softmax_attention_reference


def circle(tokens, rng):
    """Return tokens with much in common: keys on a circle, values that follow them."""
    angles = rng.uniform(0, 2 * np.pi, tokens)
    keys = np.column_stack([np.cos(angles), np.sin(angles)])
    return keys, np.column_stack([keys, rng.normal(size=(tokens, 1))])


def discrepancy(keys, values, kept):
    """Return |sum of u_l - 2 sum over the kept| from explicit inner products, in plain loops."""
    signs = np.ones(len(keys))
    signs[kept] = -1
    vectors = [
        (k, np.append(v, 1) / np.linalg.norm(np.append(v, 1))) for k, v in zip(keys, values, strict=True)
    ]
    square = 0.0
    for a, (k, v) in zip(signs, vectors, strict=True):
        for b, (other, w) in zip(signs, vectors, strict=True):
            square += a * b * np.exp(-((k - other) ** 2).sum() / 2) * (v @ w)
    return np.sqrt(square)


def test_one_of_each_pair_survives():
    keys, values = circle(64, np.random.default_rng(0))
    kept = balanced_half(keys, values, np.random.default_rng(1), 2.0)
    assert (kept // 2 == np.arange(32)).all()


def test_the_walk_balances_better_than_coin_tosses():
    """Were the walk no better, it would win all of 20 fair tosses with probability 1e-6."""
    rng = np.random.default_rng(2)
    walk, coins = [], []
    for seed in range(20):
        keys, values = circle(64, rng)
        for found, bound in ((walk, 0.5), (coins, 1e6)):
            kept = balanced_half(keys, values, np.random.default_rng(seed), bound)
            found.append(discrepancy(keys, values, kept))
    assert sum(a < b for a, b in zip(walk, coins, strict=True)) == 20


def test_answers_of_a_balanced_half_beat_those_of_a_uniform_one():
    rng = np.random.default_rng(3)
    worse = 0
    for seed in range(20):
        keys, values = circle(256, rng)
        queries = rng.normal(size=(32, 2))
        exact = softmax_attention_reference(queries, keys, values)
        errors = []
        for spec in ("balance:batch_tokens=256,walk_bound=0.5", "coreset:kept_tokens=128,recent_tokens=0"):
            cache = resolve(spec).make(2, 3, Coins(seed))
            cache.append(keys, values)
            assert len(cache._tokens()[0]) == 128
            errors.append(np.sqrt(np.square(cache.attend(queries) - exact).mean()))
        worse += errors[0] >= errors[1]
    assert worse == 0  # 20 fair tosses: 1e-6


@pytest.mark.parametrize("tokens", [0, 1, 7, 8, 9, 31, 32, 33, 63, 64, 100])
@pytest.mark.parametrize("levels", [1, 2, 3])
def test_the_weights_add_up_to_the_stream(tokens, levels):
    cache = resolve(f"balance:levels={levels},batch_tokens=8").make(2, 1, Coins(0))
    for _ in range(tokens):
        cache.append(np.ones((1, 2)), np.ones((1, 1)))
    assert sum(size * 2**level for level, size in enumerate(cache._sizes)) == tokens
    assert cache._sizes == cache._level_sizes(tokens)
    assert len(cache._tokens()[0]) == sum(cache._sizes) <= tokens / 2**levels + 8 * levels


def test_an_odd_batch_is_refused():
    with pytest.raises(ValueError, match="batch_tokens is 7, expected an even number"):
        resolve("balance:batch_tokens=7").make(2, 2, Coins(0))
