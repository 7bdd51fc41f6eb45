"""Heads: variance tells vertical from diagonal attention, budgets add up, and the cache is its heads."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvfloor.attention.caches import Coins, WireError, resolve
from kvfloor.attention.caches.composed.head_budgets import attention_variance, classify_heads, head_budgets


def patterns(rng, tokens=40, dim=32, norm=60.0):
    """Return queries and keys of a vertical head, a diagonal one and an indifferent one."""
    keys = rng.normal(size=(tokens, 3, dim))
    keys /= np.linalg.norm(keys, axis=2, keepdims=True)
    queries = norm * keys
    queries[:, 0] = norm * keys[5, 0]
    queries[:, 2] = 0
    return queries.reshape(tokens, -1), keys.reshape(tokens, -1)


def test_variance_is_that_of_the_weights():
    queries, keys = patterns(np.random.default_rng(0))
    vertical, diagonal, indifferent = attention_variance(queries, keys, 3)
    assert vertical < 1e-9
    assert indifferent < 1e-9
    assert abs(diagonal - (1 - 1 / 40)) < 1e-3
    assert classify_heads(np.array([vertical, diagonal, indifferent])).tolist() == [False, True, False]


def test_heads_of_one_kind_are_not_parted():
    for variances in ([0.5], [0.9, 0.95, 0.91], [0.0, 0.05]):
        assert classify_heads(np.array(variances)).all()


@given(st.lists(st.booleans(), min_size=1, max_size=6).filter(any), st.integers(1, 100), st.data())
def test_budgets_add_up(structural, kept_tokens, data):
    contextual = data.draw(st.integers(1, kept_tokens))
    budgets = head_budgets(np.array(structural), kept_tokens, contextual)
    assert sum(budgets) == kept_tokens * len(structural)
    assert all((b == contextual) or s for b, s in zip(budgets, structural, strict=True))
    shares = [b for b, s in zip(budgets, structural, strict=True) if s]
    assert max(shares) - min(shares) <= 1
    assert min(shares) >= kept_tokens


def test_the_cache_is_its_heads():
    rng = np.random.default_rng(1)
    keys, values, queries = rng.normal(size=(30, 12)), rng.normal(size=(30, 6)), rng.normal(size=(4, 12))
    cache = resolve("heads:kept_tokens=3/20/30,rule=knorm").make(12, 6, Coins(0))
    for start in range(0, 30, 7):
        cache.append(keys[start : start + 7], values[start : start + 7])
    for head, kept in enumerate((3, 20, 30)):
        alone = resolve(f"knorm:kept_tokens={kept}").make(4, 2, Coins(0))
        alone.append(np.hsplit(keys, 3)[head], np.hsplit(values, 3)[head])
        assert np.array_equal(
            np.hsplit(cache.attend(queries), 3)[head], alone.attend(np.hsplit(queries, 3)[head])
        )
    again = type(cache).from_bytes(cache.to_bytes(), Coins(0))
    assert np.array_equal(again.attend(queries), cache.attend(queries))
    assert again.to_bytes() == cache.to_bytes()


def test_no_head_reads_what_one_cannot_hold():
    cache = resolve("heads:kept_tokens=3/3").make(4, 2, Coins(0))
    cache.append(np.ones((2, 4)), np.ones((2, 2)))
    before = cache.to_bytes()
    with pytest.raises(ValueError, match="beyond the range"):
        cache.append(np.ones((1, 4)), np.array([[1.0, 1e6]]))
    assert cache.to_bytes() == before


def test_a_payload_of_other_parts_is_rejected():
    two, three = (resolve(f"heads:kept_tokens={b}").make(6, 6, Coins(0)) for b in ("3/3", "3/3/3"))
    two._parts.append(two._parts[0])
    with pytest.raises(WireError, match="bytes follow the last payload"):
        type(two).from_bytes(two.to_bytes(), Coins(0))
    three._parts.pop()
    with pytest.raises(WireError):
        type(three).from_bytes(three.to_bytes(), Coins(0))


@pytest.mark.parametrize(("spec", "sentence"), [
    ("heads:kept_tokens=3/0", "expected a positive number a head"),
    ("heads:kept_tokens=3//4", "expected a positive number a head"),
    ("heads:kept_tokens=03", "expected a positive number a head"),
    ("heads:kept_tokens=3/3/3/3/3", "cannot be shared among 5 heads"),
    ("heads:rule=dense", "rule is 'dense', expected one of window"),
])  # fmt: skip
def test_wrong_parameters_are_one_sentence(spec, sentence):
    with pytest.raises(ValueError, match=sentence):
        resolve(spec).make(6, 6, Coins(0))


def test_wrong_arguments_are_told():
    with pytest.raises(ValueError, match="7 columns cannot be shared among 2 heads"):
        attention_variance(np.ones((2, 7)), np.ones((3, 7)), 2)
    with pytest.raises(ValueError, match="at least one head must be structural"):
        head_budgets(np.zeros(2, bool), 4, 2)
    with pytest.raises(ValueError, match="contextual_tokens"):
        head_budgets(np.ones(2, bool), 4, 5)
