"""Packing numbers: caps by quadrature, the limit where it is known to be met, the collector exactly."""

from itertools import pairwise
from math import ceil, floor, gamma, pi, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from kvfloor.reductions.keys.packing_numbers import (
    cap_area,
    greedy_attempts,
    packing_bound,
    packing_growth,
    packing_limit,
)

dims = st.integers(2, 60)
products = st.floats(0, 0.95)


@given(st.integers(2, 40), st.floats(-0.99, 0.99))
def test_a_cap_has_the_area_of_its_integral(dim, cosine):
    density = gamma(dim / 2) / (sqrt(pi) * gamma((dim - 1) / 2))
    area = quad(lambda phi: density * np.sin(phi) ** (dim - 2), 0, np.arccos(cosine), epsabs=1e-13)[0]
    assert cap_area(dim, cosine) == pytest.approx(area, rel=1e-7, abs=1e-12)


def test_caps_of_circle_and_sphere():
    for cosine in (-1.0, -0.3, 0.0, 0.5, 0.9, 1.0):
        assert cap_area(2, cosine) == pytest.approx(np.arccos(cosine) / pi, abs=1e-15)
        assert cap_area(3, cosine) == pytest.approx((1 - cosine) / 2, abs=1e-15)


@given(dims, products)
def test_growth_is_below_the_bound_and_the_bound_below_the_limit(dim, eps):
    assert packing_growth(dim, eps) <= packing_bound(dim, eps) * (1 + 1e-12)
    assert packing_bound(dim, eps) <= packing_limit(dim, eps) * (1 + 1e-9)


def test_growth_is_exponential_with_its_constant():
    for a, b in pairwise(packing_growth(dim, 0.5) for dim in range(2, 200)):
        assert b / a == pytest.approx(sqrt(4 / 3), rel=1e-12)
    assert packing_growth(3, 0.5) == pytest.approx(8 / 3)


@pytest.mark.parametrize(("dim", "eps", "size"), [
    (2, 0.5, 6), (8, 0.5, 240), (24, 0.5, 196_560), (7, 1 / 3, 56), (6, 1 / 4, 27), (23, 1 / 3, 4600),
    (22, 1 / 4, 891), (22, 1 / 6, 275), (23, 1 / 5, 552), (3, 1 / sqrt(5), 12),
    (2, np.cos(2 * pi / 9), 9),
    *((dim, 0.0, 2 * dim) for dim in (2, 3, 8, 50)),
    *((dim, -1 / dim, dim + 1) for dim in (2, 3, 8, 50)),
    *((dim, -1 / k, k + 1) for dim, k in ((5, 2), (5, 1), (9, 4))),
])  # fmt: skip
def test_the_limit_is_met_by_the_configurations_known_to_meet_it(dim, eps, size):
    """Sharp configurations (Levenshtein 1992; Cohn and Kumar 2007, table 1)."""
    assert packing_limit(dim, eps) == pytest.approx(size, rel=1e-9)


@pytest.mark.parametrize(("dim", "size"), [(3, 12), (4, 24), (5, 40), (6, 72), (7, 126), (16, 4320)])
def test_the_limit_is_above_the_known_kissing_numbers(dim, size):
    assert size <= packing_limit(dim, 0.5) < 2 * size


@given(st.integers(2, 30), st.floats(-0.9, 0.9), st.floats(0, 0.09))
def test_the_limit_grows_with_the_product_allowed(dim, eps, more):
    assert packing_limit(dim, eps) <= packing_limit(dim, eps + more) * (1 + 1e-9)


@pytest.mark.parametrize(("dim", "eps"), [(2, 0.9), (8, 0.5), (12, 0.5), (5, 0.8)])
@pytest.mark.parametrize("probability", [0.3, 1e-3, 1e-6])
def test_a_collector_is_done_after_so_many_draws(dim, eps, probability):
    """The exact law of the number of coupons: too few with at most the stated probability, half is not enough."""
    coupons = floor(packing_bound(dim, eps))
    attempts = greedy_attempts(dim, eps, probability)

    def missing(draws):
        law = np.zeros(coupons + 1)
        law[0] = 1
        known = np.arange(coupons + 1) / coupons
        for _ in range(draws):
            law = law * known + np.concatenate([[0], (law * (1 - known))[:-1]])
        return law[:-1].sum()

    assert missing(attempts) <= probability
    assert missing(ceil(attempts / 2)) > probability


@pytest.mark.parametrize(("call", "message"), [
    (lambda: cap_area(1, 0.5), "dim must be at least 2, got 1"),
    (lambda: cap_area(3, 1.5), r"cosine must be in \[-1, 1\], got 1.5"),
    (lambda: packing_bound(3, 1.0), r"incoherence must be in \[-1, 1\), got 1.0"),
    (lambda: packing_growth(3, -0.1), r"incoherence must be in \[0, 1\), got -0.1"),
    (lambda: packing_growth(1, 0.5), "dim must be at least 2, got 1"),
    (lambda: packing_limit(3, float("nan")), "got nan"),
    (lambda: packing_limit(2, 1 - 1e-9), "needs a degree above 128"),
    (lambda: greedy_attempts(3, 0.5, 0.0), r"failure_probability must be in \(0, 1\), got 0.0"),
])  # fmt: skip
def test_wrong_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
