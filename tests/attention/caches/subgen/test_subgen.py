"""SubGen: its clusters, the law of its samples and its estimates, against plain Python and exact values."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from kvfloor.attention.caches import Coins, WireError, resolve, wire
from kvfloor.attention.caches.subgen.reservoirs import KeySlots, ValueSlots
from kvfloor.attention.caches.subgen.subgen import SubGen

FALSE_ALARM = 1e-7  # of one comparison; no test makes more than ten


class LateKeySlots(KeySlots):
    """Replaces with probability 1/(n_a + 1)."""

    @staticmethod
    def _next_rank(ranks, uniforms):
        return KeySlots._next_rank(ranks + 1, uniforms) - 1


class EagerKeySlots(KeySlots):
    """Replaces with probability 1/(n_a - 1), the first key included."""

    @staticmethod
    def _next_rank(ranks, uniforms):
        return np.maximum(KeySlots._next_rank(ranks - 1, uniforms) + 1, ranks + 1)


class UniformValueSlots(ValueSlots):
    """Draws tokens uniformly."""

    @staticmethod
    def _weights(values):
        return np.ones(len(values))


class OneDraw:
    """Draws that do not tell the slots apart."""

    def __init__(self, draws):
        self._draws = draws

    def uniforms(self, purpose, *counters):
        ranks = counters[-1]
        return self._draws.uniforms(purpose, np.zeros_like(ranks), ranks)


class Late(SubGen):
    key_sampling = LateKeySlots


class Eager(SubGen):
    key_sampling = EagerKeySlots


class UniformValues(SubGen):
    value_sampling = UniformValueSlots


class DependentSlots(SubGen):
    def __init__(self, dim, value_dim, coins, *, delta, cluster_slots, value_slots):
        super().__init__(
            dim, value_dim, coins, delta=delta, cluster_slots=cluster_slots, value_slots=value_slots
        )
        self._key_slots._draws = OneDraw(self._key_slots._draws)


def made(factory=SubGen, dim=3, value_dim=2, seed=0, delta=1.0, t=2, s=2):
    return factory(dim, value_dim, Coins(seed), delta=delta, cluster_slots=t, value_slots=s)


def fed(cache, keys, values, blocks=1):
    for part in np.array_split(np.arange(len(keys)), min(blocks, len(keys))):
        cache.append(keys[part], values[part])
    return cache


# Clusters.


def clusters_of(keys, delta):
    """Return representatives and labels, a key at a time; keys of integers, so that squares are exact."""
    representatives, labels = [], []
    for key in keys:
        squares = [sum((a - b) ** 2 for a, b in zip(key, other, strict=True)) for other in representatives]
        if squares and min(squares) <= delta**2:
            labels.append(squares.index(min(squares)))
        else:
            labels.append(len(representatives))
            representatives.append(key)
    return representatives, labels


@given(
    st.lists(st.tuples(*[st.integers(-3, 3)] * 2), min_size=1, max_size=60),
    st.sampled_from([0.5, 1.0, 1.5, 2.0, 5.0]),
    st.integers(1, 5),
    st.sampled_from([0, 1000]),
)
@settings(max_examples=150, deadline=None)
def test_clusters_on_a_lattice(keys, delta, blocks, shift):
    """Many keys at exactly the radius, and as far from one representative as from another."""
    moved = [(x + shift, y - shift) for x, y in keys]
    representatives, labels = clusters_of(moved, delta)
    array = np.array(moved, float)
    cache = fed(made(dim=2, delta=delta), array, np.ones((len(keys), 2)), blocks)
    assert cache._clusters.representatives.tolist() == [list(map(float, key)) for key in representatives]
    assert cache._key_slots.counts.tolist() == np.bincount(labels).tolist()


def test_many_clusters_in_any_blocks():
    """More clusters than one product of scores may hold at once, against a plain nearest-neighbour loop."""
    rng = np.random.default_rng(3)
    keys = rng.normal(size=(6000, 4)).astype(np.float32)
    cache = fed(made(dim=4, delta=0.25, t=1, s=1), keys, np.ones((len(keys), 2)))
    kept, counts = np.empty((0, 4)), []
    for key in keys.astype(float):
        squares = np.square(kept - key).sum(axis=1)
        if len(kept) and squares.min() <= 0.25**2:
            counts[int(squares.argmin())] += 1
        else:
            kept, counts = np.vstack([kept, key]), [*counts, 1]
    assert len(kept) > 4096
    assert np.array_equal(cache._clusters.representatives, kept)
    assert cache._key_slots.counts.tolist() == counts


def test_a_product_that_rounds_distances_away_does_not_decide():
    """A common large coordinate: scores of 10^12 round by as much as the distances are worth."""
    rng = np.random.default_rng(6)
    small = rng.uniform(-0.03, 0.03, (300, 2)).astype(np.float32)
    keys = np.concatenate([np.full((300, 1), 1234567.125), small], axis=1)
    for blocks in (1, 7, 300):
        alone = fed(made(dim=2, delta=0.006), small, np.ones((300, 2)), blocks)
        shifted = fed(made(dim=3, delta=0.006), keys, np.ones((300, 2)), blocks)
        assert 40 < len(alone._clusters) < 100
        assert shifted._key_slots.counts.tolist() == alone._key_slots.counts.tolist()


def test_repeated_keys_share_a_cluster_at_the_smallest_radius():
    keys = np.repeat(np.random.default_rng(0).normal(size=(20, 5)) * 1e6, 7, axis=0)
    cache = fed(made(dim=5, delta=1e-90), keys, np.ones((140, 2)), blocks=9)
    assert cache._key_slots.counts.tolist() == [7] * 20


@given(st.integers(0, 2**32), st.integers(1, 60), st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_slots_hold_keys_of_their_cluster_and_tokens_of_the_stream(seed, tokens, blocks):
    rng = np.random.default_rng(seed)
    keys, values = rng.integers(-2, 3, (tokens, 2)), rng.integers(-1, 2, (tokens, 2))
    _, labels = clusters_of(keys.tolist(), 1.0)
    cache = fed(made(dim=2, t=4, s=5, seed=seed), keys, values, blocks)
    for cluster, sampled in enumerate(cache._key_slots.keys):
        members = {tuple(key) for key, label in zip(keys, labels, strict=True) if label == cluster}
        assert {tuple(key) for key in sampled} <= members
    stream = {(*key, *value) for key, value in zip(keys, values, strict=True) if value.any()}
    slots = cache._value_slots
    assert {(*key, *value) for key, value in zip(slots.keys, slots.values, strict=True)} <= stream
    assert len(slots.keys) == (5 if stream else 0)
    assert slots.total == np.square(values).sum()


# Samples: one cache with many slots is many independent draws.

SIZES = np.array([1, 5, 9])  # of three clusters
SLOTS = 20_000


def sampled_tokens(factory, norms):
    """Return how often each token is in a slot of its cluster, and in a value slot."""
    labels = np.random.default_rng(1).permutation(np.repeat(range(3), SIZES))
    keys = np.stack([10.0 * labels, np.arange(15) / 100], axis=1)
    cache = fed(made(factory, dim=2, value_dim=1, t=SLOTS, s=SLOTS), keys, norms[:, None], blocks=4)
    tokens = np.rint(100 * cache._key_slots.keys[:, :, 1]).astype(int)
    by_value = np.rint(100 * cache._value_slots.keys[:, 1]).astype(int)
    return labels, np.bincount(tokens.ravel(), minlength=15), np.bincount(by_value, minlength=15)


def follows(counts, shares):
    """Say whether counts follow a law, by a chi-square test; no cell may be met that has no share."""
    expected = counts.sum() * shares / shares.sum()
    possible = expected > 0
    if counts[~possible].any():
        return False
    statistic = (np.square(counts - expected)[possible] / expected[possible]).sum()
    return bool(statistic <= stats.chi2.ppf(1 - FALSE_ALARM, possible.sum() - 1))


NORMS = np.array([0, 1, 2, 3, 0, 1, 2, 3, 5, 0, 1, 1, 1, 2, 0.0])


@pytest.mark.parametrize(
    ("factory", "keys_follow", "values_follow"),
    [(SubGen, True, True), (Late, False, True), (Eager, False, True), (UniformValues, True, False)],
)
def test_keys_are_drawn_uniformly_and_values_by_their_squared_norm(factory, keys_follow, values_follow):
    labels, by_cluster, by_value = sampled_tokens(factory, NORMS)
    uniform = [follows(by_cluster[labels == a], np.ones(size)) for a, size in enumerate(SIZES) if size > 1]
    assert all(uniform) == any(uniform) == keys_follow
    assert follows(by_value, NORMS**2) == values_follow


@pytest.mark.parametrize(("factory", "independent"), [(SubGen, True), (DependentSlots, False)])
def test_slots_are_independent(factory, independent):
    """Two key slots and a value slot over three tokens: 27 equally likely outcomes, 135 expected of each."""
    keys, values = np.arange(3.0)[:, None], np.ones((3, 1))
    counts = np.zeros((3, 3, 3), int)
    for seed in range(27 * 135):
        cache = fed(made(factory, dim=1, value_dim=1, seed=seed, delta=5.0, t=2, s=1), keys, values)
        one, two = cache._key_slots.keys[0, :, 0].astype(int)
        counts[one, two, int(cache._value_slots.keys[0, 0])] += 1
    assert follows(counts.ravel(), np.ones(27)) == independent


# Estimates.


def exact_sums(queries, keys, values):
    weights = np.exp(queries @ keys.T)
    return weights @ values, weights.sum(axis=1)


def estimated_sums(cache, queries):
    (numerators, up), (denominators, down) = cache.estimates(queries)
    return numerators * np.exp(up)[:, None], denominators * np.exp(down)


def bernstein(draws, variance, largest):
    """Return what the mean of draws stays within, up to the false alarm: 2 e^(-N x^2/2/(V + M x/3)) (theory 4)."""
    log = math.log(2 / FALSE_ALARM) / draws
    return log * largest / 3 + math.sqrt((log * largest / 3) ** 2 + 2 * log * variance)


@pytest.mark.parametrize(
    ("factory", "tau_unbiased", "z_unbiased"),
    [(SubGen, True, True), (Late, False, True), (Eager, False, True), (UniformValues, True, False)],
)
def test_both_estimates_are_unbiased_over_seeds(factory, tau_unbiased, z_unbiased):
    """Means over 3000 seeds against exact values; thresholds by Bernstein from the exact variances."""
    seeds, rng = 3000, np.random.default_rng(8)
    keys = np.concatenate([rng.uniform(-0.4, 0.4, (12, 1)), 4 + rng.uniform(-0.4, 0.4, (6, 1))])[
        rng.permutation(18)
    ]
    keys[:2] = [[0.5], [4.4]]  # what comes first is what a biased reservoir favours
    keys, values = keys.astype(np.float32).astype(float), rng.normal(size=(18, 1)).astype(np.float32)
    query = np.array([[1.5]])
    (z,), (tau,) = (part.ravel() for part in exact_sums(query, keys, values))

    found = np.array(
        [
            [
                part.item()
                for part in estimated_sums(
                    fed(made(factory, 1, 1, seed, t=1, s=1), keys, values, blocks=2), query
                )
            ]
            for seed in range(seeds)
        ]
    )
    weights, squares = np.exp(keys @ query.T).ravel(), np.square(values).sum(axis=1).astype(float)
    groups = [weights[np.abs(keys[:, 0] - centre) < 1] for centre in (0, 4)]
    assert sum(map(len, groups)) == 18
    tau_slack = bernstein(
        seeds,
        sum(len(group) ** 2 * group.var() for group in groups),
        sum(len(group) * np.ptp(group) for group in groups),
    )
    candidates = weights * values[:, 0] / (squares / squares.sum())
    z_slack = bernstein(seeds, squares.sum() * np.square(weights).sum() - z**2, np.abs(candidates - z).max())
    assert (abs(found[:, 1].mean() - tau) <= tau_slack) == tau_unbiased
    assert (abs(found[:, 0].mean() - z) <= z_slack) == z_unbiased


@given(st.integers(0, 2**32), st.integers(1, 30), st.sampled_from([0.5, 1.0, 3.0]))
@settings(max_examples=30, deadline=None)
def test_answers_follow_from_the_payload(seed, tokens, delta):
    """z/tau from the arrays on the wire, in plain loops."""
    rng = np.random.default_rng(seed)
    keys, values = rng.normal(size=(tokens, 3)), rng.integers(-2, 3, (tokens, 2)).astype(float)
    cache = fed(made(delta=delta, t=3, s=4, seed=seed), keys, values)
    _, arrays = cache._state()
    _, members, cluster_keys, totals, _, sampled_keys, sampled_values = arrays
    for query in rng.normal(size=(3, 3)):
        tau = math.fsum(
            count / 3 * math.exp(math.fsum(query * key.astype(float)))
            for count, slots in zip(members, cluster_keys, strict=True)
            for key in slots
        )
        z = np.zeros(2)
        for key, value in zip(sampled_keys.astype(float), sampled_values.astype(float), strict=True):
            z += totals[0] / (4 * (value @ value)) * math.exp(query @ key) * value
        # A few tens of roundings in float64, relative to the sum of magnitudes.
        assert cache.attend(query[None])[0] == pytest.approx(z / tau, rel=1e-12, abs=1e-12 * np.abs(z).max())


def test_singleton_clusters_know_the_denominator():
    rng = np.random.default_rng(0)
    keys, queries = rng.normal(size=(50, 3)).astype(np.float32), rng.normal(size=(7, 3))
    cache = fed(made(delta=1e-6, t=3), keys, np.ones((50, 2)))
    _, tau = exact_sums(queries, keys.astype(float), np.ones((50, 1)))
    assert estimated_sums(cache, queries)[1] == pytest.approx(tau, rel=1e-13)  # 50 terms of 3 products


# Edges.


def test_the_readers_token_counts():
    """A token of zeros: weight 1 in the denominator, nothing in the numerator."""
    cache = fed(made(t=1, s=3, delta=0.1), np.zeros((3, 3)), np.ones((3, 2)))
    before = cache.attend(np.ones((1, 3)))
    cache.append(np.zeros((1, 3)), np.zeros((1, 2)))
    assert before.tolist() == [[1.0, 1.0]]
    assert cache.attend(np.ones((1, 3))).tolist() == [[0.75, 0.75]]


def test_values_of_zero_are_never_sampled():
    rng = np.random.default_rng(2)
    cache = fed(made(s=6), rng.normal(size=(20, 3)), np.zeros((20, 2)), blocks=3)
    assert cache.attend(np.ones((2, 3))).tolist() == [[0.0, 0.0]] * 2
    restored = SubGen.from_bytes(cache.to_bytes(), Coins(0))
    for one in (cache, restored):
        one.append(np.zeros((3, 3)), np.array([[0, 0], [2, 1], [0, 0.0]]))
        assert one._value_slots.values.tolist() == [[2.0, 1.0]] * 6
    assert cache.to_bytes() == restored.to_bytes()


@pytest.mark.parametrize("norm", [1e-90, 1.0, 1e3, 1e6, 1e90])
def test_large_scores_do_not_overflow(norm):
    rng = np.random.default_rng(4)
    cache = fed(made(delta=0.5), rng.normal(size=(40, 3)), rng.normal(size=(40, 2)))
    assert np.isfinite(cache.attend(norm * rng.normal(size=(9, 3)))).all()


def test_estimates_that_no_number_can_divide_are_cut():
    """A sampled value far above the only sampled key: e^(10^4) is not a number, and must not become NaN."""
    apart = 0
    for seed in range(10):
        cache = fed(made(dim=1, delta=100.0, t=1, s=1, seed=seed), np.array([[0.0], [1.0]]), np.ones((2, 2)))
        query = np.array([[1e4]])
        (_, up), (_, down) = cache.estimates(query)
        apart += int(up[0] - down[0] > 1000)
        assert np.isfinite(cache.attend(query)).all()
    assert apart > 0


def test_the_payload_is_as_large_as_theory_says():
    """32 bits for m representatives, m t keys and s tokens; counts, mu and due totals beside them."""
    cache = fed(made(delta=0.9, t=7, s=11), np.random.default_rng(5).normal(size=(300, 3)), np.ones((300, 2)))
    clusters = len(cache._clusters)
    arrays = 4 * 3 * clusters * (1 + 7) + 11 * 4 * (3 + 2) + (9 * clusters + 7) // 8 + 8 + 11 * 8
    assert 0 <= len(cache.to_bytes()) - arrays < 100


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("delta=0,cluster_slots=1,value_slots=1", "delta is 0.0, expected a positive number"),
        ("delta=-1,cluster_slots=1,value_slots=1", "delta is -1.0, expected a positive number"),
        ("delta=nan,cluster_slots=1,value_slots=1", "delta is nan"),
        ("delta=1,cluster_slots=0,value_slots=1", "cluster_slots is 0, expected an integer from 1"),
        ("delta=1,cluster_slots=1,value_slots=0", "value_slots is 0, expected an integer from 1"),
    ],
)
def test_wrong_parameters(spec, message):
    with pytest.raises(ValueError, match=message):
        resolve(f"subgen:{spec}").make(3, 3, Coins(0))


def test_numbers_that_do_not_fit_are_rejected():
    cache = fed(made(), np.ones((1, 3)), np.ones((1, 2)))
    before = cache.to_bytes()
    for keys, values in ((np.full((1, 3), 1e39), np.ones((1, 2))), (np.ones((1, 3)), np.full((1, 2), 1e39))):
        with pytest.raises(ValueError, match="beyond the range of float32"):
            cache.append(keys, values)
    assert cache.to_bytes() == before


def test_forged_states_are_rejected():
    cache = fed(made(), np.arange(12.0).reshape(4, 3), np.ones((4, 2)))
    counts, arrays = cache._state()
    names = ("representatives", "members", "cluster_keys", "total", "due", "keys", "values")

    def forge(**changes):
        forged = [changes.get(name, array) for name, array in zip(names, arrays, strict=True)]
        payload = wire.write(
            wire.Header("subgen", cache.parameters(), (3, 2, *counts)), cache._layout(*counts), forged
        )
        return SubGen.from_bytes(payload, Coins(0))

    assert forge().to_bytes() == cache.to_bytes()
    for members in ([0, 1, 1, 2], [1, 1, 1, 2]):
        with pytest.raises(WireError, match="do not make up 4 tokens"):
            forge(members=np.array(members))
    for changes in (
        {"due": np.array([7.9, 9])},
        {"values": np.zeros((2, 2))},
        {"values": np.full((2, 2), 3)},
    ):
        with pytest.raises(WireError, match="contradicts the sum"):
            forge(**{name: np.asarray(array, np.float32) for name, array in changes.items()})
    for wrong in ((4, 0, 2), (4, 5, 2), (0, 1, 0), (4, 4, 1)):
        with pytest.raises(WireError, match="cannot come from"):
            cache._layout(*wrong)
