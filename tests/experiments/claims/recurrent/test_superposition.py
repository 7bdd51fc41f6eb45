"""The probability of a wrong sign against all signs, tried."""

import itertools

import numpy as np
import pytest

from kvfloor.experiments.claims.recurrent.superposition import sign_errors


def test_the_rate_is_that_of_all_signs():
    rng = np.random.default_rng(0)
    weights = rng.uniform(0.2, 0.7, (3, 16))
    signs = np.array(list(itertools.product([-1.0, 1.0], repeat=16)))
    exact = (1 + signs @ weights.T < 0).mean(axis=0)
    # So few weights leave something beyond the frequency at which the quadrature stops: at most this much.
    times = np.arange(9.0 / np.sqrt(np.square(weights).sum(axis=1)).max(), 100, 0.05)
    beyond = [
        (abs(np.cos(times[:, None] * each).prod(axis=1)) / times).sum() * 0.05 / np.pi for each in weights
    ]
    left_out = max(beyond)
    assert left_out < 0.01
    assert sign_errors(weights) == pytest.approx(exact, abs=left_out)
    assert sign_errors(1.2 * weights) != pytest.approx(exact, abs=left_out)


def test_many_small_weights_are_normal():
    from scipy.stats import norm

    assert sign_errors(np.full((1, 4000), 0.02)) == pytest.approx(norm.cdf(-1 / (0.02 * 4000**0.5)), abs=5e-3)
