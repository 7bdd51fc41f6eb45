"""Single tokens by differences: right at every temperature up to the accuracy that theory says, and not beyond."""

from math import exp, expm1

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvfloor.reductions.encodings.differences import DifferencesEncoding
from kvfloor.reductions.encodings.levels import Levels
from kvfloor.reductions.keys.known import Keys


def orthonormal(tokens, rng):
    return Keys(np.linalg.qr(rng.standard_normal((tokens + 1, tokens + 1)))[0][:tokens])


def attention(encoding, x, indices):
    """Return exact attention over Alice's tokens, by its definition."""
    hers = encoding.encode(x)
    weights = np.exp(encoding.queries(indices) @ hers.keys.T)
    return weights @ hers.values / weights.sum(axis=1, keepdims=True)


def worst(outputs, eps):
    """Yield the two ways to move every difference as far as accuracy allows."""
    lone = np.arange(len(outputs)) < len(outputs) - 1
    for sign in (-1, 1):
        yield outputs + sign * eps * np.where(lone, 1, -1)[:, np.newaxis]


@given(
    st.integers(1, 30), st.integers(1, 3), st.integers(2, 6), st.floats(0.05, 9), st.integers(0, 2**32 - 1)
)
def test_levels_are_read_up_to_the_accuracy_and_no_further(tokens, value_dim, levels, rho, seed):
    rng = np.random.default_rng(seed)
    encoding = DifferencesEncoding(orthonormal(tokens, rng), value_dim, rho, Levels.equal(levels))
    x, indices = encoding.problem.sample(rng), rng.integers(0, tokens * value_dim, 20)
    outputs = attention(encoding, x, indices)
    assert outputs.shape == (len(np.unique(indices // value_dim)) + 1, value_dim)
    eps = expm1(rho) / (2 * (levels - 1) * (exp(rho) + 2 * tokens - 1))
    for moved in worst(outputs, 0.99 * eps):
        assert encoding.decode(moved, indices).tolist() == x[indices].tolist()
    read = [encoding.decode(moved, indices) for moved in worst(outputs, 1.01 * eps)]
    assert ((read[0] != x[indices]) | (read[1] != x[indices])).all()


def test_wrong_input_is_refused():
    keys = orthonormal(4, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"largest_score must be in \(0, 80\], got 81"):
        DifferencesEncoding(keys, largest_score=81.0)
    with pytest.raises(ValueError, match="value_dim must be at least 1, got 0"):
        DifferencesEncoding(keys, value_dim=0)
    with pytest.raises(ValueError, match="keys must be orthonormal"):
        DifferencesEncoding(Keys(np.array([[1.0, 0.0], [0.6, 0.8]])))
