"""The least cache, alone and through the command's own channels."""

import numpy as np
import pytest

from kvfloor.attention.caches import resolve
from kvfloor.attention.caches.base import Cache, Coins
from kvfloor.attention.caches.wire import WireError
from kvfloor.attention.softmax import softmax_attention_reference
from kvfloor.experiments.claims.optimum.codebook import family_outputs
from kvfloor.experiments.game.hosts.isolated import Isolated
from kvfloor.experiments.game.hosts.numpy_caches import NumpyCache
from kvfloor.reductions.accuracy import TYPICAL
from kvfloor.reductions.encodings.values import ValuesEncoding
from kvfloor.reductions.keys.known import Keys
from kvfloor.reductions.keys.projections import gaussian_keys

KEYS = gaussian_keys(3, 2, np.random.default_rng(0))
COINS = Coins(0, KEYS)
SPEC = "kvfloor.experiments.claims.optimum.codebook:optimal:query_norm=2.0,eta=0.3"


def encoding(value_dim=2):
    """Return the family: 6 bits in 3 tokens."""
    return ValuesEncoding.build(Keys(KEYS), value_dim, accuracy=TYPICAL, query_norm=2.0)


def test_a_family_is_all_streams_under_plain_attention():
    posed = encoding()
    outputs = family_outputs(posed)
    assert outputs.shape == (64, 3, 2)
    for stream in (0, 5, 63):
        tokens = posed.encode(stream >> np.arange(6) & 1)
        exact = softmax_attention_reference(posed.queries(np.arange(6)), tokens.keys, tokens.values)
        np.testing.assert_allclose(outputs[stream], exact, rtol=1e-14)


@pytest.mark.parametrize("later", [0, 1, 3])
def test_any_later_token_and_any_block_leaves_the_answer_within_eta(later):
    posed, rng = encoding(), np.random.default_rng(1)
    queries = posed.queries(np.arange(6))
    for stream in range(0, 64, 5):
        tokens = posed.encode(stream >> np.arange(6) & 1)
        cache = resolve(SPEC).make(2, 2, COINS)
        assert isinstance(cache, Cache)
        for row in range(3):
            cache.append(tokens.keys[row : row + 1], tokens.values[row : row + 1])
        restored = resolve(SPEC).restore(cache.to_bytes(), 2, 2, COINS)
        keys, values = rng.standard_normal((later, 2)), rng.random((later, 2))
        restored.append(keys, values)
        exact = softmax_attention_reference(
            queries, np.vstack([tokens.keys, keys]), np.vstack([tokens.values, values])
        )
        assert (np.abs(restored.attend(queries) - exact) <= (0.3 + 1e-11) * exact).all()


def test_fresh_processes_find_the_same_codebook():
    posed, host = encoding(), Isolated(NumpyCache(SPEC))
    tokens, token = posed.encode(np.array([1, 0, 1, 1, 0, 0])), posed.reader_token()
    queries = posed.queries(np.arange(6))
    payload = host.write(tokens, COINS).payload
    assert len(payload) == 1
    answers = host.ask(payload, token, queries, COINS)
    exact = softmax_attention_reference(
        queries, np.vstack([tokens.keys, token.keys]), np.vstack([tokens.values, token.values])
    )
    assert (np.abs(answers - exact) <= (0.3 + 1e-11) * exact).all()


def test_one_message_needs_no_byte():
    cache = resolve(f"{SPEC},messages=1").make(2, 2, COINS)
    cache.append(KEYS, np.zeros((3, 2)))
    assert cache.to_bytes() == b""


def test_wrong_use_is_one_sentence():
    made = resolve(SPEC).make(2, 2, COINS)
    cases = [
        (lambda: made.to_bytes(), "all tokens"),
        (lambda: made.attend(2.0 * KEYS), "after all tokens"),
        (lambda: made.append(2 * KEYS, np.zeros((3, 2))), "another key"),
        (lambda: made.append(KEYS, np.full((3, 2), 0.5)), "0 and 1"),
        (lambda: made.to_bytes(), "all tokens"),  # what was refused left no trace
        (lambda: resolve(SPEC).make(2, 2, Coins(0)), "public keys"),
        (lambda: resolve(SPEC).make(2, 4, COINS), "at most 10 bits; got 12"),
        (lambda: resolve(f"{SPEC},messages=0").make(2, 2, COINS), "at least 1; got 0"),
        (lambda: resolve(SPEC).restore(b"\xff", 2, 2, COINS), "messages"),
    ]
    for call, sentence in cases:
        with pytest.raises(ValueError, match=sentence):
            call()
    with pytest.raises(WireError):
        type(made).from_bytes(b"\x00\x00", COINS)
    fresh = resolve(SPEC).make(2, 2, COINS)
    fresh.append(KEYS, np.zeros((3, 2)))
    with pytest.raises(ValueError, match="nothing else"):
        fresh.attend(np.ones((1, 2)))
    fresh.append(KEYS, np.zeros((3, 2)))
    with pytest.raises(ValueError, match="no more"):
        fresh.to_bytes()
