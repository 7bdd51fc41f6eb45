"""Readers on arrays: what they recover, what they must not, and the likeliest string against trying all."""

import itertools

import numpy as np
import pytest

from kvfloor.reductions.bounds import readers
from kvfloor.reductions.bounds.readers import least_squares, likeliest, probed_weights, softmax_weights

BITS = np.array([0.0, 1.0])


def linear(seed, queries, tokens, value_dim):
    """Return a random linear cache: its weights, and the answers as a function of the values."""
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.ones(tokens) / 4, queries)
    values = rng.integers(0, 2, (tokens, value_dim)).astype(float)
    return weights, values, lambda v: weights @ v


def test_softmax_weights_are_those_of_attention():
    rng = np.random.default_rng(0)
    keys, own, queries = rng.normal(size=(5, 3)), np.zeros((1, 3)), rng.normal(size=(4, 3))
    found = softmax_weights(keys, own, queries)
    for row, query in zip(found, queries, strict=True):
        total = sum(np.exp(query @ key) for key in keys) + 1  # the reader's zero key
        assert np.allclose(row, [np.exp(query @ key) / total for key in keys], rtol=1e-12)


def test_probing_finds_the_map_of_an_affine_cache():
    weights, _, answers = linear(1, 7, 11, 4)
    found, offset = probed_weights(11, 4, lambda values: answers(values) + 0.25)
    assert np.allclose(found, weights, atol=1e-14)
    assert np.allclose(offset, 0.25)


@pytest.mark.parametrize("levels", [BITS, np.geomspace(0.1, 1, 5)])
def test_least_squares_inverts_what_can_be_inverted(levels):
    rng = np.random.default_rng(2)
    weights = rng.dirichlet(np.ones(30) / 8, 40)
    values = levels[rng.integers(0, len(levels), (30, 6))]
    found = least_squares(weights, weights @ values, levels)
    assert np.allclose(found, values, atol=1e-5)
    # The answers themselves are far from the values: there was something to invert.
    assert abs((weights @ values)[:30] - values).max() > 0.2


def test_noise_is_weighed_against_weak_directions():
    """Where inverting would drown the values in noise, the estimate stays finite and better than guessing.

    The posterior mean's error is below the prior variance 1/4 unless the noise is misjudged; plain least
    squares multiplies the noise by the inverse of the least singular value.
    """
    rng = np.random.default_rng(3)
    weights, values, _ = linear(3, 60, 60, 32)
    noisy = weights @ values + 0.02 * rng.normal(size=(60, 32))
    ridge = np.square(least_squares(weights, noisy, BITS) - values).mean()
    plain = np.square(np.linalg.lstsq(weights, noisy)[0] - values).mean()
    assert ridge < 0.2
    assert ridge < plain / 2


def test_what_was_not_answered_falls_to_the_mean():
    weights = np.eye(4)[:2]
    found = least_squares(weights, np.array([[0.0], [1.0]]), BITS)
    assert np.allclose(found[:, 0], [0, 1, 0.5, 0.5], atol=1e-6)


@pytest.mark.parametrize("levels", [BITS, np.array([0.1, 0.4, 1.0])])
def test_the_likeliest_of_few_strings_is_found_by_trying_all(levels):
    rng = np.random.default_rng(4)
    for seed in range(5):
        weights = linear(seed, 2, 3, 2)[0]  # two answers for three tokens: not to be inverted
        outputs = rng.random((2, 2))
        found = likeliest(np.zeros((3, 2)), outputs, levels, lambda v, w=weights: w @ v)
        distances = {
            string: np.square(weights @ np.array(string).reshape(3, 2) - outputs).sum()
            for string in itertools.product(levels, repeat=6)
        }
        assert tuple(found.ravel()) == min(distances, key=lambda string: distances[string])


def test_the_search_near_a_start_ends_where_no_single_move_helps(monkeypatch):
    monkeypatch.setattr(readers, "MOST_STRINGS", 1)
    monkeypatch.setattr(readers, "SWEEPS", 100)
    rng = np.random.default_rng(5)
    _, values, answers = linear(5, 8, 8, 3)
    outputs = answers(values) + 0.1 * rng.normal(size=(8, 3))
    found = likeliest(np.full((8, 3), 0.5), outputs, BITS, answers)
    best = np.square(answers(found) - outputs).sum(axis=0)
    for token in range(8):
        moved = found.copy()
        moved[token] = 1 - moved[token]
        assert (np.square(answers(moved) - outputs).sum(axis=0) >= best).all()
    assert set(np.unique(found)) <= {0.0, 1.0}


def test_the_search_reads_a_cache_that_is_not_linear():
    """Answers are the square of a mix: least squares has no map to go by, the search simulates the cache."""
    errors = np.zeros(2, int)
    for seed in range(6, 12):
        weights, values, _ = linear(seed, 24, 16, 4)

        def answers(v, weights=weights):
            return (weights @ v) ** 2

        start = least_squares(probed_weights(16, 4, answers)[0], answers(values), BITS)
        found = likeliest(start, answers(values), BITS, answers)
        errors += ((start > 0.5) != values).sum(), (found != values).sum()
        rounded = np.square(answers(np.round(start)) - answers(values)).sum()
        assert np.square(answers(found) - answers(values)).sum() < rounded
    assert errors[1] < errors[0] / 2
