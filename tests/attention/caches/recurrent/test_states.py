"""Recurrent states against their recurrences, spelt out in plain loops; and what their parameters are for."""

import itertools

import numpy as np
import pytest

from kvfloor.attention.caches import Coins, WireError, resolve
from kvfloor.attention.caches.recurrent.frame import power_columns, powers


def stream(seed, tokens=12, dim=5, value_dim=3):
    """Return unit keys, two of them zero, and values."""
    rng = np.random.default_rng(seed)
    keys = rng.standard_normal((tokens, dim))
    keys /= np.linalg.norm(keys, axis=1, keepdims=True)
    keys[[3, 7]] = 0
    return keys, rng.standard_normal((tokens, value_dim))


def answers(spec, keys, values, queries, seed=0):
    cache = resolve(spec).make(keys.shape[1], values.shape[1], Coins(seed))
    cache.append(keys, values)
    return cache.attend(queries)


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_linear_attention_is_a_sum_of_powers(degree):
    keys, values = stream(0)
    queries = 7 * stream(1)[0]
    expected = np.zeros((len(queries), 3))
    for row, query in enumerate(queries):
        for key, value in zip(keys, values, strict=True):
            expected[row] += (query @ key / max(np.linalg.norm(query), 1e-300)) ** degree * value
    found = answers(f"linear-attention:degree={degree},dtype=float64", 3 * keys, values, queries)
    assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("rate", "decay"), [(1.0, 1.0), (0.5, 1.0), (0.5, 0.75), (1.0, 0.9)])
def test_the_delta_rule_follows_its_recurrence(rate, decay):
    keys, values = stream(2)
    state = np.zeros((3, 5))
    for key, value in zip(keys, values, strict=True):
        if key.any():
            state = decay * state @ (np.eye(5) - rate * np.outer(key, key)) + rate * np.outer(value, key)
    spec = f"gated-delta-net:rate={rate},decay={decay},dtype=float64"
    assert answers(spec, keys, values, 9 * keys) == pytest.approx(keys @ state.T, abs=1e-12)
    if decay == 1:
        plain = answers(f"delta-net:rate={rate},dtype=float64", keys, values, keys)
        assert np.array_equal(plain, answers(spec, keys, values, keys))


def test_a_key_that_comes_again_overwrites_under_the_delta_rule_alone():
    key, values = np.array([[0.6, 0.8]]), np.array([[1.0], [-1.0]])
    assert answers("delta-net:dtype=float64", key.repeat(2, 0), values, key) == pytest.approx(-1)
    assert answers("linear-attention:dtype=float64", key.repeat(2, 0), values, key) == pytest.approx(0)


@pytest.mark.parametrize("slots", [None, 4])
def test_slots_are_a_table(slots):
    keys, values = stream(3, tokens=30)
    axes = np.eye(5) if slots is None else np.random.default_rng((11,)).standard_normal((slots, 5))
    newest, total, ages = {}, {}, {}
    clock = 0
    for key, value in zip(keys, values, strict=True):
        if key.any():
            slot, clock = int(np.argmax(axes @ key)), clock + 1
            newest[slot] = value
            total[slot] = total.get(slot, 0) + value
            ages.setdefault(slot, []).append((clock, value))

    def averaged(met):
        weights = np.array([np.exp(-0.5 * (clock - when)) for when, _ in met])
        return weights @ np.array([value for _, value in met]) / weights.sum()

    queries = keys[keys.any(axis=1)]
    asked = [int(np.argmax(axes @ query)) for query in queries]
    end = f"slots={slots},dtype=float64"
    assert np.array_equal(
        answers(f"selective-ssm:{end}", keys, values, 4 * queries, 11), [newest[s] for s in asked]
    )
    found = answers(f"selective-ssm:forget=nothing,{end}", keys, values, queries, 11)
    assert found == pytest.approx(np.array([total[s] for s in asked]))
    found = answers(f"rwkv:decay=0.5,{end}", keys, values, queries, 11)
    assert found == pytest.approx(np.array([averaged(ages[s]) for s in asked]))


def test_a_decay_of_log_2_leaves_the_newest_sign():
    rng = np.random.default_rng(4)
    keys = np.ones((64, 1))
    for decay, always in ((0.7, True), (0.1, False)):
        right = []
        for _ in range(50):
            values = rng.choice([-1.0, 1.0], (64, 8))
            found = answers(f"rwkv:decay={decay!r},dtype=float64", keys, values, keys[:1])
            right.append(bool((np.sign(found) == values[-1:]).all()))
        assert all(right) == always


def test_a_hybrid_attends_to_its_window_and_to_one_token_for_the_rest():
    keys, values = stream(5)
    queries = 6 * stream(6)[0]
    rest = answers("delta-net:dtype=float64", keys[:-4], values[:-4], queries)
    expected = np.empty((len(queries), 3))
    for row, query in enumerate(queries):
        weights = np.exp(keys[-4:] @ query)
        sink = np.exp(0.5 * np.linalg.norm(query))
        expected[row] = (weights @ values[-4:] + sink * rest[row]) / (weights.sum() + sink)
    found = answers("hybrid:window_tokens=4,share=0.5,dtype=float64", keys, values, queries)
    assert found == pytest.approx(expected, abs=1e-12)
    few = answers("hybrid:window_tokens=20,dtype=float64", keys, values, queries)
    assert few == pytest.approx(answers("dense:dtype=float64", keys, values, queries))


def test_powers_have_the_products_of_powers():
    rng = np.random.default_rng(7)
    rows = rng.standard_normal((6, 4))
    for degree in (1, 2, 3):
        features = powers(rows, degree)
        assert features.shape == (6, power_columns(4, degree))
        assert features @ features.T == pytest.approx((rows @ rows.T) ** degree)
    assert powers(rows, 2).shape[1] == len(list(itertools.combinations_with_replacement(range(4), 2)))


@pytest.mark.parametrize("rate", [1.0, 0.5])
def test_the_delta_rule_fades_as_theory_says(rate):
    """Mean and second moment of a read (theory 14) over uniform keys and signs, within five standard errors."""
    dim, tokens, plays = 8, 20, 4000
    rng = np.random.default_rng(8)
    state = np.zeros((plays, dim))
    first = None
    mean, square, size = 0.0, 0.0, 0.0
    for token in range(tokens):
        keys = rng.standard_normal((plays, dim))
        keys /= np.linalg.norm(keys, axis=1, keepdims=True)
        signs = rng.choice([-1.0, 1.0], plays)
        if token == 0:
            first, mean, square = (keys, signs), rate, rate**2
        else:
            mean *= 1 - rate / dim
            square *= 1 - 2 * rate / dim + 2 * rate**2 / (dim * (dim + 2))
            square += rate**2 * (1 / dim + size / (dim * (dim + 2)))
        size = size * (1 - (2 * rate - rate**2) / dim) + rate**2
        state += rate * keys * (signs - (keys * state).sum(axis=1))[:, None]
        read = (first[0] * state).sum(axis=1) * first[1]
        assert read.mean() == pytest.approx(mean, abs=5 * read.std() / plays**0.5 + 1e-12)
        squares = read**2
        assert squares.mean() == pytest.approx(square, abs=5 * squares.std() / plays**0.5 + 1e-12)
        sizes = (state**2).sum(axis=1)
        assert sizes.mean() == pytest.approx(size, abs=5 * sizes.std() / plays**0.5 + 1e-12)


def test_averages_that_are_none_are_refused():
    cache = resolve("rwkv:dtype=float64").make(2, 1, Coins(0))
    cache.append(np.eye(2), np.ones((2, 1)))
    for part, number, message in ((1, -1.0, "numerator"), (2, 1.0, "exponent")):
        broken = resolve("rwkv:dtype=float64").make(2, 1, Coins(0))
        broken.append(np.eye(2), np.ones((2, 1)))
        broken._memory[part][0, 0] = number
        with pytest.raises(WireError, match=message):
            type(cache).from_bytes(broken.to_bytes(), Coins(0))


@pytest.mark.parametrize(("spec", "message"), [
    ("delta-net:rate=1.5", "rate is 1.5, expected a positive number up to 1"),
    ("linear-attention:degree=4", "degree is 4, expected an integer from 1 to 3"),
    ("hybrid:state=lstm", "state is 'lstm', expected one of linear-attention, delta-net, selective-ssm"),
    ("selective-ssm:slots=0", "slots is 0"),
])  # fmt: skip
def test_wrong_parameters_are_refused(spec, message):
    with pytest.raises(ValueError, match=message):
        resolve(spec).make(3, 2, Coins(0))


def test_a_state_too_large_for_its_format_is_refused_and_stays():
    cache = resolve("linear-attention:dtype=float16").make(1, 1, Coins(0))
    cache.append(np.ones((1, 1)), np.full((1, 1), 6e4))
    before = cache.to_bytes()
    with pytest.raises(ValueError, match="beyond the range of float16"):
        cache.append(np.ones((1, 1)), np.full((1, 1), 6e4))
    assert cache.to_bytes() == before
