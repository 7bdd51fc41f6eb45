"""GAP-HAMMING as attention: overlaps from averages, and how far accuracy moves them."""

from math import tanh

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvfloor.reductions.encodings.beyond_index.gap_hamming import GapHammingEncoding
from kvfloor.reductions.keys.known import Keys


def orthonormal(tokens, dim, rng):
    return Keys(np.linalg.qr(rng.standard_normal((dim, dim)))[0][:tokens])


def attention(encoding, x, questions):
    """Return exact attention over Alice's tokens, by its definition."""
    hers = encoding.encode(x)
    weights = np.exp(encoding.queries(questions) @ hers.keys.T)
    return weights @ hers.values / weights.sum(axis=1, keepdims=True)


SCORES = st.floats(0.05, 3.0)


@given(st.integers(0, 5), SCORES, st.integers(0, 2**32 - 1))
def test_overlaps_are_read_exactly(log, rho, seed):
    rng = np.random.default_rng(seed)
    encoding = GapHammingEncoding(orthonormal(2**log, 2**log + 2, rng), rho, rounds=2, seed=seed)
    x = encoding.problem.sample(rng)
    questions = encoding.problem.reconstruction(np.arange(1))
    outputs = attention(encoding, x, questions)
    truth = encoding.problem.overlaps(x, questions)
    assert encoding.overlaps(outputs, questions) == pytest.approx(truth, abs=1e-9 / rho)
    clear = truth != 0
    answers = encoding.decode(outputs, questions)
    assert answers[clear].tolist() == encoding.problem.answer(x, questions)[clear].tolist()


@given(st.integers(1, 5), SCORES, st.floats(1e-4, 0.3), st.integers(0, 2**32 - 1))
def test_no_accuracy_moves_an_overlap_by_more_than_the_gap(log, rho, eps, seed):
    rng = np.random.default_rng(seed)
    encoding = GapHammingEncoding(orthonormal(2**log, 2**log, rng), rho, rounds=1, seed=seed)
    x = encoding.problem.sample(rng)
    questions = encoding.problem.reconstruction(np.arange(1))
    outputs, truth = attention(encoding, x, questions), encoding.problem.overlaps(x, questions)
    gap = encoding.decided_gap(eps)
    assert gap == pytest.approx(2 * eps * 2**log / tanh(rho))
    noise = rng.uniform(-eps, eps, outputs.shape)
    assert np.abs(encoding.overlaps(outputs + noise, questions) - truth).max() <= gap * (1 + 1e-9)
    worst = np.repeat([eps, -eps], len(questions))[:, np.newaxis]  # and this one attains it
    assert encoding.overlaps(outputs + worst, questions) - truth == pytest.approx(gap, rel=1e-6)


def test_wrong_input_is_refused():
    rng = np.random.default_rng(0)
    keys = orthonormal(4, 4, rng)
    with pytest.raises(ValueError, match=r"largest_score must be in \(0, inf\), got 0"):
        GapHammingEncoding(keys, 0.0)
    with pytest.raises(ValueError, match="length must be a power of two, got 3"):
        GapHammingEncoding(keys.first(3))
    with pytest.raises(
        ValueError, match=r"keys must be orthonormal to 1e-05, got a product that is 0\.6 off"
    ):
        GapHammingEncoding(Keys(np.array([[1.0, 0.0], [0.6, 0.8]])))
