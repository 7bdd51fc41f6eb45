"""DISJOINTNESS and EQUALITY as attention: right under worst-case noise, and wrong where theory does not say so."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvfloor.reductions.encodings.beyond_index.disjointness import DisjointnessEncoding
from kvfloor.reductions.encodings.beyond_index.equality import EqualityEncoding
from kvfloor.reductions.keys.known import Keys

ETAS = st.sampled_from([0.0, 0.1, 0.5, 0.9])


def attention(encoding, x, questions):
    """Return exact attention over Alice's tokens and Bob's, by its definition."""
    hers, his = encoding.encode(x), encoding.reader_token()
    keys, values = np.vstack([hers.keys, his.keys]), np.vstack([hers.values, his.values])
    scores = encoding.queries(questions) @ keys.T
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return weights @ values / weights.sum(axis=1, keepdims=True)


def answers(encoding, x, questions, eta):
    """Return the answers at both ends of the noise."""
    outputs = attention(encoding, x, questions)
    return [encoding.decode(factor * outputs, questions).tolist() for factor in (1 - eta, 1 + eta)]


@given(st.integers(2, 40), st.integers(1, 5), ETAS, st.integers(0, 2**32 - 1))
def test_sets_are_told_disjoint_or_not(tokens, largest, eta, seed):
    rng = np.random.default_rng(seed)
    keys = Keys(np.linalg.qr(rng.standard_normal((tokens, tokens)))[0])
    largest = min(largest, tokens)
    encoding = DisjointnessEncoding(keys, largest, eta)
    x = encoding.problem.sample(rng)
    sizes = rng.integers(1, largest + 1, 30)
    sets = np.argsort(rng.random((30, tokens)), axis=1) < sizes[:, np.newaxis]
    right = encoding.problem.answer(x, sets).tolist()
    assert answers(encoding, x, sets, eta) == [right, right]


@given(st.integers(1, 3), ETAS, st.integers(0, 2**32 - 1))
def test_sets_are_told_with_keys_that_are_nearly_orthogonal(largest, eta, seed):
    rng = np.random.default_rng(seed)
    encoding = DisjointnessEncoding(Keys.drawn("gaussian", 16, 4096, rng), largest, eta)
    x = encoding.problem.sample(rng)
    sets = np.argsort(rng.random((30, 16)), axis=1) < largest
    right = encoding.problem.answer(x, sets).tolist()
    assert answers(encoding, x, sets, eta) == [right, right]


@given(st.integers(1, 12), st.integers(1, 5), ETAS, st.integers(0, 2**32 - 1))
def test_words_are_told_equal_or_not(tokens, width, eta, seed):
    rng = np.random.default_rng(seed)
    encoding = EqualityEncoding(Keys.drawn("gaussian", tokens, 32, rng), width, eta)
    x = encoding.problem.sample(rng)
    questions = encoding.problem.reconstruction(np.arange(encoding.problem.length))
    right = encoding.problem.answer(x, questions).tolist()
    assert sum(right) == tokens
    assert answers(encoding, x, questions, eta) == [right, right]


@dataclass(frozen=True, slots=True, eq=False)
class Cold(DisjointnessEncoding):
    """Asks with a tenth of the query norm."""

    @property
    def query_norm(self):
        return 0.1 * super(Cold, self).query_norm


@dataclass(frozen=True, slots=True, eq=False)
class Undecided(EqualityEncoding):
    """Lifts a match above Bob's token by next to nothing."""

    @property
    def nats(self):
        return 0.1


def test_a_norm_that_is_too_small_fails():
    rng = np.random.default_rng(0)
    for encoding in (
        Cold(Keys.drawn("gaussian", 64, 256, rng)),
        Undecided(Keys.drawn("gaussian", 64, 64, rng)),
    ):
        x = encoding.problem.sample(rng)
        questions = encoding.problem.reconstruction(np.arange(encoding.problem.length))
        right = encoding.problem.answer(x, questions).tolist()
        assert answers(encoding, x, questions, 0.0)[0] != right


@pytest.mark.parametrize("kind", [DisjointnessEncoding, EqualityEncoding])
def test_questions_that_repeat_are_asked_once(kind):
    rng = np.random.default_rng(1)
    encoding = kind(Keys.drawn("gaussian", 8, 64, rng))
    x = encoding.problem.sample(rng)
    questions = encoding.problem.reconstruction(np.arange(4))
    twice = np.concatenate([questions, questions[::-1]])
    assert len(encoding.queries(twice)) == len(questions)
    right = encoding.problem.answer(x, twice).tolist()
    assert answers(encoding, x, twice, 0.0)[0] == right


def test_wrong_input_is_refused():
    rng = np.random.default_rng(2)
    with pytest.raises(ValueError, match=r"sets of 4 elements need keys with \|<k_i, k_l>\| below 0.0769"):
        DisjointnessEncoding(Keys.drawn("gaussian", 16, 16, rng), largest=4)
    with pytest.raises(ValueError, match="addresses must differ"):
        EqualityEncoding(Keys(np.ones((2, 4)) / 2))
    keys = Keys.drawn("gaussian", 4, 64, rng)
    for kind in (DisjointnessEncoding, EqualityEncoding):
        with pytest.raises(ValueError, match=r"eta must be in \[0, 1\), got 1"):
            kind(keys, eta=1.0)
