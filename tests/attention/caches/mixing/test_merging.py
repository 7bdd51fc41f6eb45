"""Merging against a plain simulation, and what a slot stands for."""

import numpy as np
import pytest

from kvfloor.attention.caches import Coins, resolve


def simulated(keys, values, kept, recent):
    """Return the slots as lists of token numbers, by the rule as it is told, over exact means."""
    slots = []
    for token in range(len(keys)):
        slots.append([token])
        if len(slots) > kept:
            leaving = slots.pop(kept - recent)
            key = keys[leaving].mean(axis=0)
            cosines = [
                keys[slot].mean(axis=0) @ key / np.linalg.norm(keys[slot].mean(axis=0))
                for slot in slots[: kept - recent]
            ]
            slots[int(np.argmax(cosines))] += leaving
    return slots


@pytest.mark.parametrize(("kept", "recent"), [(7, 0), (7, 3), (1, 0), (12, 11), (50, 4)])
def test_slots_are_means_of_similar_tokens(kept, recent):
    rng = np.random.default_rng(kept)
    keys, values, queries = rng.normal(size=(40, 3)), rng.normal(size=(40, 2)), rng.normal(size=(6, 3))
    cache = resolve(f"merge:kept_tokens={kept},recent_tokens={recent},dtype=float64").make(3, 2, Coins(0))
    cache.append(keys, values)
    slots = simulated(keys, values, kept, recent)
    means = [np.array([rows[slot].mean(axis=0) for slot in slots]) for rows in (keys, values)]
    assert np.allclose(cache._tokens()[0], means[0], atol=1e-12)
    assert np.allclose(cache._tokens()[1], means[1], atol=1e-12)
    weights = np.array([len(slot) for slot in slots]) * np.exp(queries @ means[0].T)
    assert np.allclose(cache.attend(queries), weights @ means[1] / weights.sum(1, keepdims=True), atol=1e-12)


def test_equal_keys_merge_without_loss_of_the_mean():
    cache = resolve("merge:kept_tokens=2,recent_tokens=0,dtype=float64").make(2, 1, Coins(0))
    cache.append(np.eye(2)[[0, 1, 0, 0, 1]], np.array([[0.0], [4], [3], [6], [2]]))
    assert cache._tokens()[1].tolist() == [[3.0], [3.0]]
    assert cache._together.array[:, 0].tolist() == [3, 2]


def test_counts_that_do_not_add_up_are_refused():
    cache = resolve("merge:kept_tokens=2,recent_tokens=0").make(1, 1, Coins(0))
    cache.append(np.ones((4, 1)), np.ones((4, 1)))
    cache._together.array[0] += 1
    _, arrays = cache._state()
    with pytest.raises(ValueError, match="hold 5 tokens, not 4"):
        resolve("merge:kept_tokens=2,recent_tokens=0").make(1, 1, Coins(0))._restore((2, 4), list(arrays))
