"""Random-feature attention: an unbiased kernel, a state that does not grow."""

import numpy as np
import pytest

from kvfloor.attention.caches import Coins, resolve
from kvfloor.attention.caches.mixing.linear import Linear
from kvfloor.attention.softmax import softmax_attention_reference


def test_features_estimate_the_exponential_kernel():
    """The mean over 65536 features within six standard errors (2e-9 for the normal law of such a mean)."""
    rng = np.random.default_rng(0)
    query, key = rng.normal(size=(2, 3)) / 2
    directions = Linear(3, 1, Coins(0), features=1 << 16)._directions
    terms = np.exp(directions @ query - query @ query / 2 + directions @ key - key @ key / 2)
    assert abs(terms.mean() - np.exp(query @ key)) <= 6 * terms.std() / np.sqrt(len(terms))


def test_the_answer_is_the_ratio_of_sums_over_all_tokens():
    rng = np.random.default_rng(1)
    keys, values, queries = rng.normal(size=(30, 3)), rng.normal(size=(30, 2)), rng.normal(size=(4, 3))
    cache = resolve("linear:features=16").make(3, 2, Coins(5))
    cache.append(keys, values)
    w = cache._directions
    expected = np.zeros((4, 2))
    for i, q in enumerate(queries):
        weights = [sum(np.exp(a @ q) * np.exp(a @ k - k @ k / 2) for a in w) for k in keys]
        expected[i] = sum(b * v for b, v in zip(weights, values, strict=True)) / sum(weights)
    assert np.allclose(
        cache.attend(queries), expected, rtol=30 * 2**-23, atol=30 * 2**-23 * abs(values).max()
    )


def test_many_features_come_close_to_attention_at_a_low_temperature():
    rng = np.random.default_rng(2)
    keys, values, queries = (
        rng.normal(size=(50, 3)) / 2,
        rng.normal(size=(50, 2)),
        rng.normal(size=(8, 3)) / 2,
    )
    exact = softmax_attention_reference(queries, keys, values)
    errors = []
    for features in (64, 64 * 256):
        found = []
        for seed in range(8):
            cache = resolve(f"linear:features={features}").make(3, 2, Coins(seed))
            cache.append(keys, values)
            found.append(np.square(cache.attend(queries) - exact).mean())
        errors.append(np.sqrt(np.mean(found)))
    assert errors[1] < errors[0] / 4  # the error falls as one over the root: 16


def test_the_state_does_not_grow():
    cache, sizes = resolve("linear:features=16").make(3, 2, Coins(5)), []
    for _ in range(3):
        cache.append(np.ones((1000, 3)), np.ones((1000, 2)))
        sizes.append(len(cache.to_bytes()))
    assert sizes[0] == sizes[1] == sizes[2]
    assert 16 * 3 * 4 < sizes[0] < 16 * 3 * 4 + 100


def test_what_exceeds_float32_is_refused_and_changes_nothing():
    cache = resolve("linear:features=16").make(3, 2, Coins(5))
    cache.append(np.ones((4, 3)), np.ones((4, 2)))
    before = cache.to_bytes()
    with pytest.raises(ValueError, match="exceeds float32"):
        cache.append(np.ones((1, 3)), np.full((1, 2), 1e60))
    assert cache.to_bytes() == before
