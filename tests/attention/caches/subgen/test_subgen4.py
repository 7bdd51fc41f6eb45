"""SubGen4: what it estimates, from independent sides, at the size that its clusters have."""

import numpy as np
import pytest

from kvfloor.attention import tensor_attention, tensor_attention_reference
from kvfloor.attention.caches import Coins, WireError, resolve
from kvfloor.attention.caches.subgen.subgen import SubGen
from kvfloor.attention.caches.subgen.subgen4 import SubGen4
from kvfloor.attention.tensor import kronecker_rows, tensor_sums


def tokens(rng, count=20, dim=3, value_dim=2):
    return [
        rng.normal(size=(count, columns)).astype(np.float32) for columns in (dim, value_dim, dim, value_dim)
    ]


def filled(spec, arrays, seed=1):
    cache = resolve(spec).make(arrays[0].shape[1], arrays[1].shape[1], Coins(seed))
    cache.append(*arrays)
    return cache


def test_sums_are_those_of_all_pairs():
    rng = np.random.default_rng(0)
    q, k1, u1, k2, u2 = (rng.normal(size=shape) for shape in ((7, 4), (30, 4), (30, 3), (20, 4), (20, 3)))
    for norm in (0.1, 3.0, 100.0):
        scores = norm * q @ kronecker_rows(k1, k2).T
        expected = np.exp(scores - scores.max(axis=1, keepdims=True)) @ kronecker_rows(u1, u2)
        sums, shifts = tensor_sums(norm * q, k1, 1e3 * u1, k2, 1e-5 * u2)
        assert np.abs(sums * 1e2 - expected).max() < 1e-9
        assert np.abs(shifts - scores.max(axis=1)).max() < 1e-9 * max(1.0, norm)
    sums, shifts = tensor_sums(q, k1[:0], u1[:0], k2, u2)
    assert not sums.any()
    assert not shifts.any()


def test_the_estimates_are_those_of_the_samples():
    rng = np.random.default_rng(1)
    arrays, queries = tokens(rng), rng.normal(size=(6, 3))
    cache = filled("subgen4:delta=1.5,cluster_slots=3,value_slots=5", arrays)
    (z_keys1, z1), (t_keys1, t1) = cache._parts[0].samples()
    (z_keys2, z2), (t_keys2, t2) = cache._parts[1].samples()
    z = np.exp(queries @ kronecker_rows(z_keys1, z_keys2).T) @ kronecker_rows(z1, z2)
    tau = np.exp(queries @ kronecker_rows(t_keys1, t_keys2).T) @ kronecker_rows(t1, t2)
    assert np.allclose(cache.attend(queries), z / tau, rtol=1e-6)


def test_single_tokens_and_many_slots_are_nearly_exact():
    """With a cluster a token the denominator is exact; equal values make any sample of them exact, too."""
    rng = np.random.default_rng(2)
    k1, _, k2, _ = tokens(rng)
    ones = np.ones((20, 1), np.float32)
    cache = filled("subgen4:delta=1e-6,cluster_slots=2,value_slots=4000", [k1, ones, k2, ones])
    queries = 0.3 * rng.normal(size=(6, 3))
    (_, _), (tau, down) = cache.estimates(queries)
    exact = np.exp(queries @ kronecker_rows(k1, k2).T).sum(axis=1)
    assert np.allclose(tau * np.exp(down), exact, rtol=1e-6)
    expected = tensor_attention_reference(queries, k1, ones, k2, ones)
    assert np.abs(cache.attend(queries) - expected).max() < 0.2


def test_sides_draw_apart():
    rng = np.random.default_rng(3)
    k, v, _, _ = tokens(rng, count=200)
    cache = filled("subgen4:delta=100.0,cluster_slots=8,value_slots=8", [k, v, k, v])
    first, second = (part.samples() for part in cache._parts)
    assert not np.array_equal(first[0][0], second[0][0])
    assert not np.array_equal(first[1][0], second[1][0])


def test_one_side_of_ones_estimates_as_subgen_does():
    rng = np.random.default_rng(4)
    k, v, _, _ = tokens(rng)
    ones = np.ones((20, 3), np.float32), np.ones((20, 2), np.float32)
    spec = "delta=1.5,cluster_slots=3,value_slots=5"
    both = filled(f"subgen4:{spec}", [k, v, *ones])
    alone = both._parts[0]
    assert isinstance(alone, SubGen)
    queries = rng.normal(size=(6, 3))
    # The other side's denominator is 20 and its numerator 20, exactly: its values are all alike.
    assert np.allclose(both.attend(queries), alone.attend(queries), rtol=1e-6)
    assert not np.allclose(alone.attend(queries), tensor_attention(queries, k, v, *ones), rtol=1e-3)


def test_a_payload_with_other_parameters_inside_is_rejected():
    arrays = tokens(np.random.default_rng(5))
    one = filled("subgen4:delta=1.5,cluster_slots=3,value_slots=5", arrays)
    other = filled("subgen4:delta=1.5,cluster_slots=3,value_slots=6", arrays)
    one._parts[1] = other._parts[1]
    with pytest.raises(WireError, match="other dimensions or parameters than it should"):
        SubGen4.from_bytes(one.to_bytes(), Coins(1))


@pytest.mark.parametrize("change", ["delta=0", "cluster_slots=0", "value_slots=-1"])
def test_wrong_parameters_are_told(change):
    parameters = {"delta": "1.0", "cluster_slots": "1", "value_slots": "1"} | dict([change.split("=")])
    spec = "subgen4:" + ",".join(f"{k}={v}" for k, v in parameters.items())
    with pytest.raises(ValueError, match=change.partition("=")[0]):
        resolve(spec).make(2, 2, Coins(0))
