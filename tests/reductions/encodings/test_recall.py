"""Associative recall as attention: right by the guarantee, wrong without it, and INDEX in disguise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvfloor.reductions.encodings.recall import RecallEncoding
from kvfloor.reductions.keys.known import Keys


def attention(encoding, x, indices):
    """Return exact attention over Alice's tokens and Bob's, by its definition."""
    hers, his = encoding.encode(x), encoding.reader_token()
    keys, values = np.vstack([hers.keys, his.keys]), np.vstack([hers.values, his.values])
    weights = np.exp(encoding.queries(indices) @ keys.T - encoding.query_norm)
    return weights @ values / weights.sum(axis=1, keepdims=True)


@given(st.integers(1, 30), st.integers(1, 4), st.integers(2, 9), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_every_word_is_read(tokens, width, levels, words, seed):
    rng = np.random.default_rng(seed)
    encoding = RecallEncoding(Keys.drawn("gaussian", tokens, 16, rng), width, levels, words)
    problem = encoding.problem
    assert (problem.length, problem.alphabet) == (tokens * words, levels**width)
    x = problem.sample(rng)
    indices = rng.integers(0, problem.length, 20)
    assert encoding.decode(attention(encoding, x, indices), indices).tolist() == x[indices].tolist()


@given(st.floats(0, 0.999), st.integers(0, 2**32 - 1))
def test_signs_are_read_at_every_relative_accuracy(eta, seed):
    rng = np.random.default_rng(seed)
    encoding = RecallEncoding(Keys.drawn("gaussian", 20, 16, rng), 8)
    x, every = encoding.problem.sample(rng), np.arange(20)
    for factor in (1 - eta, 1 + eta):
        assert encoding.decode(factor * attention(encoding, x, every), every).tolist() == x.tolist()


def test_a_norm_that_is_too_small_fails():
    rng = np.random.default_rng(0)
    keys = Keys.drawn("gaussian", 64, 16, rng)
    x = RecallEncoding(keys, 12).problem.sample(rng)
    cold = RecallEncoding(keys, 12, norm=2.0)
    assert (cold.decode(attention(cold, x, np.arange(64)), np.arange(64)) != x).any()


def test_the_guarantee_is_tight_for_equiangular_keys():
    # Two opposite words under keys whose every product is eps: kappa is (n - 1) e^{-C (1 - eps)} + e^{-C}.
    eps, tokens = 0.5, 9
    gram = np.full((tokens, tokens), eps) + (1 - eps) * np.eye(tokens)
    keys = Keys(np.linalg.cholesky(gram))
    x = np.array([1] + [0] * (tokens - 1))
    needed = RecallEncoding(keys, 1).query_norm
    for norm, right in ((needed, True), (needed - 0.5, False)):
        encoding = RecallEncoding(keys, 1, norm=norm)
        assert (encoding.decode(attention(encoding, x, np.arange(1)), np.arange(1))[0] == 1) == right


@pytest.mark.parametrize(("arguments", "message"), [
    ((25,), "words of 25 digits on 2 levels are none of 2 to 16777216 values"),
    ((0,), "words of 0 digits"),
    ((1, 1), "on 1 levels"),
    ((1, 2, 0), "words must be at least 1, got 0"),
])  # fmt: skip
def test_wrong_input_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        RecallEncoding(Keys(np.eye(4)), *arguments)


def test_two_keys_that_are_the_same_need_a_norm():
    keys = Keys(np.array([[1.0, 0.0], [1.0, 0.0]]))
    with pytest.raises(ValueError, match="two keys are the same"):
        RecallEncoding(keys)
    assert RecallEncoding(keys, norm=3.0).guarantee is None
