"""The weighted sample: who is in it, and that its sums are unbiased."""

import numpy as np

from kvfloor.attention.caches import Coins, resolve
from kvfloor.attention.softmax import softmax_attention_reference


def filled(spec, keys, values, seed=0):
    cache = resolve(spec).make(keys.shape[1], values.shape[1], Coins(seed))
    cache.append(keys, values)
    return cache


def test_while_all_tokens_fit_the_answer_is_exact():
    rng = np.random.default_rng(0)
    keys, values, queries = rng.normal(size=(20, 4)), rng.normal(size=(20, 3)), rng.normal(size=(5, 4))
    cache = filled("coreset:kept_tokens=20,recent_tokens=3,dtype=float64", keys, values)
    assert np.allclose(cache.attend(queries), softmax_attention_reference(queries, keys, values), atol=1e-12)


def test_the_recent_tokens_are_kept_and_the_rest_is_a_uniform_sample():
    """Each of 60 earlier tokens is in 10 of 60 samples; 3000 samples, six standard deviations (2e-9)."""
    tokens, kept, recent, samples = 64, 14, 4, 3000
    values = np.arange(float(tokens))[:, None]
    counts = np.zeros(tokens)
    for seed in range(samples):
        cache = filled(
            f"coreset:kept_tokens={kept},recent_tokens={recent},dtype=float64", values, values, seed
        )
        counts[cache._values.array[:, 0].astype(int)] += 1
    assert (counts[-recent:] == samples).all()
    share = (kept - recent) / (tokens - recent)
    within = 6 * np.sqrt(samples * share * (1 - share))
    assert (abs(counts[:-recent] - share * samples) <= within).all()


def test_the_sample_counts_for_all_earlier_tokens():
    """With zero queries the answer is the weighted mean: recent tokens weigh 1, sampled ones 60/10."""
    values = np.zeros((64, 2))
    values[-4:, 0] = 1
    cache = filled("coreset:kept_tokens=14,recent_tokens=4,dtype=float64", np.ones((64, 1)), values)
    assert np.allclose(cache.attend(np.zeros((1, 1))), [[4 / 64, 0]], atol=1e-14)
    # The same tokens with equal weights would say 4/14: what `random` would answer from them.
    assert not np.allclose(cache.attend(np.zeros((1, 1))), [[4 / 14, 0]], atol=0.1)
