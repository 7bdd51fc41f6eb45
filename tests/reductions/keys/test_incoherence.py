"""Incoherence by brute force, its stated probabilities by simulation and exact laws."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import gammaln
from scipy.stats import binom, hypergeom

from kvfloor.reductions.keys.incoherence import (
    check_unit_rows,
    dim_needed,
    incoherence,
    incoherence_bound,
    unit_tolerance,
)
from kvfloor.reductions.keys.projections import PROJECTIONS

kinds = st.sampled_from(sorted(PROJECTIONS))
dtypes = st.sampled_from([np.float32, np.float64])


def brute_incoherence(keys):
    """The definition, in float64."""
    gram = keys.astype(np.float64) @ keys.T.astype(np.float64)
    return max(gram[i, j] for i in range(len(keys)) for j in range(len(keys)) if i != j)


@given(kinds, st.integers(2, 30), st.integers(2, 40), dtypes, st.integers(0, 2**32 - 1))
def test_incoherence_is_its_definition(kind, tokens, dim, dtype, seed):
    keys = PROJECTIONS[kind](tokens, dim, np.random.default_rng(seed), dtype)
    exact = brute_incoherence(keys)
    # A product of d terms rounds by at most d u; at 1 the tolerance on norms takes over.
    tolerance = dim * np.finfo(dtype).eps + (2 * unit_tolerance(keys.dtype, dim) if exact > 0.99 else 0)
    assert abs(incoherence(keys) - exact) <= tolerance


def test_incoherence_across_blocks():
    """The largest product sits between the first and the last of several blocks of 2048 rows."""
    rng = np.random.default_rng(0)
    keys = PROJECTIONS["gaussian"](5000, 64, rng)
    keys[4999] = keys[3] + 0.1 * keys[7]
    keys[4999] /= np.linalg.norm(keys[4999])
    gram = keys @ keys.T
    np.fill_diagonal(gram, -1)
    assert gram.max() == gram[3, 4999]
    assert incoherence(keys) == pytest.approx(gram.max(), abs=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_incoherence_of_known_configurations(dtype):
    assert incoherence(np.eye(7, dtype=dtype)) == 0
    assert incoherence(np.vstack([np.eye(4), -np.eye(4)]).astype(dtype)) == 0
    angles = np.arange(6) * np.pi / 3
    hexagon = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(dtype)
    assert incoherence(hexagon) == pytest.approx(0.5, abs=4 * float(np.finfo(dtype).eps))
    simplex = np.eye(5) - 1 / 5
    simplex = (simplex / np.linalg.norm(simplex, axis=1, keepdims=True)).astype(dtype)
    assert incoherence(simplex) == pytest.approx(-1 / 4, abs=5 * float(np.finfo(dtype).eps))


@given(kinds, st.integers(2, 30), st.integers(2, 100), dtypes, st.integers(0, 2**32 - 1))
def test_a_repeated_key_has_incoherence_exactly_one(kind, tokens, dim, dtype, seed):
    keys = PROJECTIONS[kind](tokens, dim, np.random.default_rng(seed), dtype)
    assert incoherence(np.vstack([keys, keys[:1]])) == 1


@given(st.integers(1, 3000), st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_rows_normalised_in_float32_are_accepted_in_every_dimension(dim, seed):
    rows = np.random.default_rng(seed).standard_normal((20, dim), dtype=np.float32)
    check_unit_rows(rows / np.sqrt((rows * rows).sum(axis=1, keepdims=True)))


@pytest.mark.parametrize("kind", sorted(PROJECTIONS))
@pytest.mark.parametrize(("tokens", "dim"), [(2, 3), (2, 12), (8, 16), (20, 5), (40, 40)])
@pytest.mark.parametrize("probability", [0.05, 0.3])
def test_keys_exceed_their_bound_no_more_often_than_stated(kind, tokens, dim, probability):
    """Each of 40 cases rejects a true bound with probability at most 1e-8."""
    rng = np.random.default_rng([sum(map(ord, kind)), tokens, dim])
    trials = 600
    bound = incoherence_bound(kind, tokens, dim, probability)
    # Lattice keys reach some bounds exactly: rounding is no excess.
    excess = sum(incoherence(PROJECTIONS[kind](tokens, dim, rng)) > bound + 1e-12 for _ in range(trials))
    assert excess <= binom.isf(1e-8, trials, probability)


@pytest.mark.parametrize(("dim", "rarest"), [(2, 1e-5), (3, 1e-9), (10, 1e-9), (64, 1e-9)])
def test_the_gaussian_bound_is_exact_for_one_pair(dim, rarest):
    """P(<u, v> >= eps) is the integral of (1-s^2)^((d-3)/2), by quadrature in phi = arccos(s)."""
    log_area = gammaln(dim / 2) - gammaln((dim - 1) / 2) - np.log(np.pi) / 2
    for probability in (0.4, 1e-3, rarest):
        eps = incoherence_bound("gaussian", 2, dim, probability)
        tail = quad(lambda phi: np.exp(log_area) * np.sin(phi) ** (dim - 2), 0, np.arccos(eps), epsrel=1e-11)[
            0
        ]
        # Rounding eps moves the area by d u / (1 - eps) relatively: at most 1e-6, as 1 - eps > 1e-9.
        assert tail == pytest.approx(probability, rel=1e-6)


def sparse_tail(dim, eps):
    """P(<k_1, k_2> >= eps) for two sparse keys, summed over the ways their supports and signs can meet."""
    only_first, only_second, agree, differ = np.ogrid[tuple(slice(dim + 1) for _ in range(4))]
    neither = dim - (only_first + only_second + agree + differ)
    log_weight = gammaln(dim + 1) + neither * np.log(4 / 9) - gammaln(np.maximum(neither, 0) + 1)
    for count, chance in ((only_first, 2 / 9), (only_second, 2 / 9), (agree, 1 / 18), (differ, 1 / 18)):
        log_weight = log_weight + count * np.log(chance) - gammaln(count + 1)
    weight = np.where(neither >= 0, np.exp(log_weight), 0)
    nonzero = np.sqrt((only_first + agree + differ) * (only_second + agree + differ))
    reached = (nonzero > 0) & (agree - differ >= (eps - 1e-12) * nonzero)
    return weight[reached].sum() / weight[np.broadcast_to(nonzero > 0, weight.shape)].sum()


@pytest.mark.parametrize("probability", [0.1, 1e-2, 1e-4])
def test_bounds_hold_for_the_exact_law_of_one_pair(probability):
    """Rare tails, which no simulation sees: sums over the exact laws."""
    for dim in (40, 64):
        eps = incoherence_bound("rademacher", 2, dim, probability)
        assert eps < 1
        assert binom.sf(np.ceil(dim * (1 + eps) / 2 - 1e-9) - 1, dim, 0.5) <= probability
        # n = 64 keys: 63 xors, each a mean of `dim` out of 64 signs, half of which are +1; both tails count.
        eps = incoherence_bound("hadamard", 64, dim, probability)
        rare = hypergeom.sf(np.ceil(dim * (1 + eps) / 2 - 1e-9) - 1, 64, 32, dim)
        assert 2 * 63 * rare <= probability
        stated = 2 * 63 * np.exp(-dim * eps**2 / (2 * (1 - (dim - 1) / 64)))
        assert stated == pytest.approx(probability, rel=1e-9)
    eps = incoherence_bound("sparse", 2, 40, probability)
    assert eps < 1
    assert sparse_tail(40, eps) <= probability


@pytest.mark.parametrize(
    ("tokens", "dim", "probability"), [(2, 40, 0.1), (100, 128, 1e-3), (4096, 256, 1e-6)]
)
def test_the_sparse_bound_is_its_chernoff_bound(tokens, dim, probability):
    """The stated formula, evaluated forwards on a grid of lambda; the grid is off by less than 1e-6 of d."""
    eps = incoherence_bound("sparse", tokens, dim, probability)
    rate = np.linspace(0.01, 20, 20_000)
    term = (2 / 3 + np.exp(-rate * eps) * (2 / 3 + np.cosh(rate) / 3) / 3).min() ** dim
    total = tokens * (tokens - 1) * term / (1 - (2 / 3) ** dim) ** 2
    assert total == pytest.approx(probability, rel=1e-3)


def test_the_gaussian_bound_survives_tiny_probabilities():
    bounds = [incoherence_bound("gaussian", 2**20, 64, 10.0**-k) for k in (1, 10, 100, 300)]
    assert all(a < b for a, b in pairwise(bounds))
    assert bounds[-1] < 1


@given(kinds, st.integers(2, 2**20), st.integers(1, 4096), st.floats(1e-12, 0.5))
def test_bounds_are_monotone_and_between_0_and_1(kind, tokens, dim, probability):
    bound = incoherence_bound(kind, tokens, dim, probability)
    assert 0 <= bound <= 1
    rounding = 1e-6 if kind == "sparse" else 1e-12  # of the minimiser, whose every point is valid
    assert incoherence_bound(kind, tokens, dim, probability / 2) >= bound - rounding
    assert incoherence_bound(kind, tokens + 1, dim, probability) >= bound - rounding or kind == "hadamard"


@given(st.integers(2, 10**6), st.floats(0.05, 0.95), st.floats(1e-9, 0.5))
def test_dim_needed_meets_the_bounds_it_is_made_for(tokens, eps, probability):
    dim = dim_needed(tokens, eps, probability)
    assert dim >= 2 / eps**2 * np.log(tokens**2 / (2 * probability))
    assert dim - 1 < 2 / eps**2 * np.log(tokens**2 / (2 * probability)) + 1e-6
    for kind in ("gaussian", "rademacher"):
        assert incoherence_bound(kind, tokens, dim, probability) <= eps + 1e-12


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: incoherence(np.eye(3) * (1 + 1e-11)), "unit vectors, got norm 1.00000000001"),
        (lambda: incoherence(np.eye(3, dtype=np.float32) * np.float32(1 + 3e-6)), "unit vectors"),
        (lambda: incoherence(np.full((2, 2), np.nan)), "unit vectors, got norm nan in row 0"),
        (lambda: incoherence(np.eye(3)[:1]), "at least 2 keys, got 1"),
        (lambda: incoherence(np.eye(3, dtype=int)), "float32 or float64 matrix"),
        (lambda: incoherence(np.ones(3)), "float32 or float64 matrix"),
        (lambda: incoherence_bound("gauss", 3, 3, 0.1), "kind must be one of gaussian"),
        (lambda: incoherence_bound("gaussian", 1, 3, 0.1), "tokens >= 2"),
        (lambda: incoherence_bound("gaussian", 3, 3, 0.0), r"in \(0, 1\), got 0.0"),
        (lambda: dim_needed(1, 0.5, 0.1), "tokens must be at least 2"),
        (lambda: dim_needed(5, 1.0, 0.1), r"incoherence must be in \(0, 1\)"),
        (lambda: dim_needed(5, 0.5, 1.0), r"failure_probability must be in \(0, 1\)"),
    ],
)
def test_wrong_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
