"""Packings: products of the known ones, and greedy ones against the plainest greedy loop."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvfloor.reductions.keys.incoherence import check_unit_rows, incoherence
from kvfloor.reductions.keys.packing_numbers import greedy_attempts, packing_bound
from kvfloor.reductions.keys.packings import equiangular_keys, greedy_packing, keys_for, orthoplex, simplex
from kvfloor.reductions.keys.projections import gaussian_keys


@given(st.integers(1, 60), st.sampled_from([np.float32, np.float64]))
@settings(max_examples=30)
def test_orthoplex_and_simplex_have_their_products(dim, dtype):
    tolerance = (dim + 8) * np.finfo(dtype).eps
    for keys, products in ((orthoplex(dim, dtype), {0.0, -1.0}), (simplex(dim, dtype), {-1 / dim})):
        gram = check_unit_rows(keys.rows) @ keys.rows.T
        others = gram[~np.eye(len(keys), dtype=bool)]
        assert (keys.dtype, keys.bound) == (dtype, 0.0)
        assert np.all(np.min([np.abs(others - product) for product in products], axis=0) <= tolerance)
    assert orthoplex(dim).rows.shape == (2 * dim, dim)
    assert simplex(dim).rows.shape == (dim + 1, dim)
    assert incoherence(orthoplex(dim).rows) == (0 if dim > 1 else -1)


def test_equiangular_keys_are_what_they_say():
    for tokens, eps, dtype in ((1, 0.5, np.float64), (9, 0.0, np.float64), (30, 0.7, np.float32)):
        keys = equiangular_keys(tokens, eps, dtype)
        assert keys.rows.shape == (tokens, tokens + 1)
        assert (keys.dtype, keys.bound) == (dtype, eps)
        gram = np.full((tokens, tokens), eps) + (1 - eps) * np.eye(tokens)
        assert np.allclose(check_unit_rows(keys.rows) @ keys.rows.T, gram, atol=4 * np.finfo(dtype).eps)


@given(st.integers(2, 10), st.floats(-0.5, 0.8), st.integers(1, 300), st.integers(0, 2**32 - 1))
@settings(max_examples=40)
def test_greedy_keeps_each_point_that_is_far_from_those_kept(dim, eps, attempts, seed):
    points = gaussian_keys(attempts, dim, np.random.default_rng(seed))
    kept = []
    for point in points:
        if all(point @ other <= eps for other in kept):
            kept.append(point)
    packed = greedy_packing(dim, eps, np.random.default_rng(seed), attempts=attempts)
    # The two sums of a product may differ in the last place, which decides nothing but ties.
    assert np.array_equal(packed.rows, kept)
    assert packed.bound == max(0.0, eps)


def test_greedy_continues_over_batches():
    rng = np.random.default_rng(1)
    packed = greedy_packing(6, 0.6, rng, attempts=20_000)
    assert len(packed) > len(greedy_packing(6, 0.6, np.random.default_rng(1), attempts=4096))
    assert incoherence(packed.rows) <= 0.6 + 6 * np.finfo(float).eps
    assert rng.bit_generator.state == advanced(20_000, 6)


def advanced(points, dim):
    """Return the state of the generator after that many Gaussian points."""
    rng = np.random.default_rng(1)
    rng.standard_normal((points, dim))
    return rng.bit_generator.state


@pytest.mark.parametrize(("dim", "eps"), [(2, 0.5), (3, 0.9), (8, 0.5), (16, 0.5), (20, 0.3), (5, -0.1)])
def test_greedy_reaches_the_bound_by_default(dim, eps):
    """Fails with probability at most 1e-9 for each case, as `greedy_attempts` says."""
    packed = greedy_packing(dim, eps, np.random.default_rng([dim]), dtype=np.float32)
    assert packed.dtype == np.float32
    assert len(packed) >= int(packing_bound(dim, eps))
    if len(packed) > 1:
        assert incoherence(packed.rows) <= eps + (2 * dim + 8) * np.finfo(np.float32).eps / 2


def test_greedy_stops_where_told():
    rng = np.random.default_rng(3)
    assert len(greedy_packing(24, 0.5, rng, tokens=17)) == 17
    assert len(greedy_packing(24, 0.5, rng, attempts=1)) == 1
    assert len(greedy_packing(200, 0.4, rng, tokens=40)) == 40
    assert greedy_attempts(200, 0.4, 1e-9) > 2**24


@pytest.mark.parametrize(("dim", "eps", "size"), [
    (2, 0.5, 6), (3, 0.5, 12), (4, 0.5, 24), (8, 0.5, 240), (7, 0, 14), (7, 0.0, 14), (7, -1 / 7, 8), (1, -1, 2),
])  # fmt: skip
def test_known_configurations_are_found(dim, eps, size):
    keys = keys_for(dim, eps)
    assert keys.rows.shape == (size, dim)
    assert incoherence(keys.rows) == pytest.approx(eps, abs=1e-14)
    assert keys.bound == max(0.0, eps)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: keys_for(5, 0.5), r"no configuration is known for dim 5 and incoherence 0\.5.* 1/2 in dim 2, 3, 4, 8, 24"),
    (lambda: keys_for(8, 0.25), "dim 8 and incoherence 0.25"),
    (lambda: keys_for(0, 0.0), "dim must be at least 1, got 0"),
    (lambda: orthoplex(0), "dim must be at least 1, got 0"),
    (lambda: simplex(-1), "dim must be at least 1, got -1"),
    (lambda: greedy_packing(1, 0.5, np.random.default_rng(0)), "dim must be at least 2, got 1"),
    (lambda: greedy_packing(3, 1.0, np.random.default_rng(0)), r"incoherence must be in \[-1, 1\), got 1.0"),
    (lambda: greedy_packing(3, 0.5, np.random.default_rng(0), tokens=0), "tokens must be at least 1, got 0"),
    (lambda: greedy_packing(3, 0.5, np.random.default_rng(0), attempts=0), "attempts must be at least 1, got 0"),
    (lambda: greedy_packing(200, 0.5, np.random.default_rng(0)), "dim 200 .* give tokens or attempts"),
])  # fmt: skip
def test_wrong_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
