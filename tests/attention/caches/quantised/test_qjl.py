"""QJL: one-bit keys give unbiased scores with at most the stated variance."""

import numpy as np
import pytest

from kvfloor.attention.caches import Coins, resolve

SEEDS = 3000


def scores(query, key, bits, sketches=SEEDS):
    """Return the score of one key in many independent sketches."""
    found = []
    for seed in range(sketches):
        cache = resolve(f"qjl:sketch_bits={bits}").make(len(key), 1, Coins(seed))
        cache.append(key[None], np.ones((1, 1)))
        found.append(float(cache._tokens()[0][0] @ query))
    return np.array(found)


@pytest.mark.parametrize("parallel", [False, True])
def test_scores_are_unbiased_with_the_stated_variance(parallel):
    """Mean and variance of 3000 sketches, each within six standard errors (2e-9 for the normal law of a mean)."""
    rng = np.random.default_rng(0)
    query, key = rng.normal(size=(2, 8))
    query = key if parallel else query
    bits, norms = 16, np.linalg.norm(query) * np.linalg.norm(key)
    found = scores(query, key, bits)
    rounding = 2**-11 * norms * np.sqrt(np.pi / 2)  # the norm's, in float16
    assert abs(found.mean() - query @ key) <= 6 * found.std() / np.sqrt(SEEDS) + rounding
    # <S q, sign(S k)> has terms |<w, q>|, up to a sign, of second moment |q|^2: hence the variance exactly.
    variance = np.pi / 2 / bits * norms**2 - (query @ key) ** 2 / bits
    spread = np.square(found - query @ key)
    assert abs(spread.mean() - variance) <= 6 * spread.std() / np.sqrt(SEEDS) + 2 * rounding * found.std()
    assert variance <= np.pi / 2 / bits * norms**2


def test_more_bits_are_better_and_cost_one_bit_each():
    key = np.ones(8) / np.sqrt(8)
    few, many = (np.square(scores(key, key, bits, 500) - 1).mean() for bits in (8, 128))
    assert many < few / 4  # one sixteenth expected
    sizes = []
    for bits in (64, 128):
        cache = resolve(f"qjl:sketch_bits={bits}").make(8, 1, Coins(0))
        cache.append(np.ones((100, 8)), np.ones((100, 1)))
        sizes.append(len(cache.to_bytes()))
    assert sizes[1] - sizes[0] == 100 * 64 // 8 + 1  # and a longer parameter in the header


def test_values_are_those_of_the_uniform_quantiser():
    rng = np.random.default_rng(1)
    keys, values = rng.normal(size=(2, 20, 8))
    ours = resolve("qjl:value_bits=3,group_size=4").make(8, 8, Coins(0))
    other = resolve("uniform:bits=3,group_size=4").make(8, 8, Coins(0))
    for cache in (ours, other):
        cache.append(keys, values)
    assert np.array_equal(ours._tokens()[1], other._tokens()[1])
