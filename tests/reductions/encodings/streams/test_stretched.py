"""Short instances in long streams: worst-case noise, the weight of the rest, and what zero keys cost."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvfloor.reductions.accuracy import MARGIN_NATS, Accuracy
from kvfloor.reductions.encodings.streams.stretched import StretchedEncoding
from kvfloor.reductions.encodings.values import ValuesEncoding, interference, required_query_norm
from kvfloor.reductions.keys.kissing import KISSING
from kvfloor.reductions.keys.known import Keys
from kvfloor.reductions.keys.packings import equiangular_keys, orthoplex


def attention(queries, tokens):
    """Softmax attention in float64, from its definition."""
    scores = queries @ np.concatenate([t.keys for t in tokens]).T
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return weights @ np.concatenate([t.values for t in tokens]) / weights.sum(axis=1, keepdims=True)


def worst_errors(encoding, x, eta):
    """Count the bits that some (1 +- eta)-approximation gets wrong: decoders are monotone."""
    everything = np.arange(encoding.problem.length)
    exact = attention(encoding.queries(everything), [encoding.encode(x), encoding.reader_token()])
    return sum(
        np.count_nonzero(encoding.decode(factor * exact, everything) != x) for factor in (1 - eta, 1 + eta)
    )


def strings(problem, rng):
    """All zeros, all ones, a lone one, a lone zero, and a random string."""
    ones = np.ones(problem.length, np.uint8)
    lone = 0 * ones
    lone[rng.integers(len(lone))] = 1
    return [0 * ones, ones, lone, 1 - lone, problem.sample(rng)]


configurations = st.sampled_from(
    [equiangular_keys(5, 0.5), equiangular_keys(9, 0.0), KISSING["fcc"].keys(), orthoplex(4), Keys(np.eye(1))]
)


@given(
    configurations,
    st.integers(1, 70),
    st.sampled_from([0.0, 0.5, 0.9]),
    st.sampled_from(["repeated", "zero"]),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=60)
def test_every_bit_decodes_from_streams_of_every_length(keys, tokens, eta, rest, seed):
    rng = np.random.default_rng(seed)
    encoding = StretchedEncoding.build(keys, 3, tokens, Accuracy(eta), rest=rest)
    assert encoding.problem.length == 3 * min(tokens, len(keys))
    for x in strings(encoding.problem, rng):
        written = encoding.encode(x)
        assert len(written) == tokens == encoding.tokens
        assert np.array_equal(written.keys, encoding.public_keys)
        assert worst_errors(encoding, x, eta) == 0


@given(st.integers(1, 50), st.integers(1, 500), st.floats(0, 0.9), st.floats(0, 9))
def test_the_others_weigh_no_more_than_the_guarantee_allows(size, tokens, eps, norm):
    """For the token that came least often, all others with the largest product, and Bob's."""
    size = min(size, tokens)
    copies = tokens // size
    weight = ((tokens - copies) * np.exp(norm * eps) + 1) / (copies * np.exp(norm))
    assert weight <= interference(tokens // copies, norm, eps) * (1 + 1e-12)
    assert tokens // copies <= 2 * size - 1


@pytest.mark.parametrize("eta", [0.0, 0.5, 0.9])
def test_the_token_that_came_once_decodes_among_all_others_twice(eta):
    """The worst stream, n = 2P - 1 on equiangular keys: a lone zero and a lone one on the token that came once."""
    encoding = StretchedEncoding.build(equiangular_keys(200, 0.5), 1, 399, Accuracy(eta))
    for bit in (0, 1):
        x = np.full(200, 1 - bit, np.uint8)
        x[-1] = bit
        assert worst_errors(encoding, x, eta) == 0
        norm = encoding.query_norm - 4 * MARGIN_NATS
        short = StretchedEncoding.build(encoding.inside.keys, 1, 399, Accuracy(eta), norm)
        assert bit == 1 or worst_errors(short, x, eta) > 0  # the guarantee is tight


def test_the_query_norm_stays_bounded_unless_the_rest_are_zero_keys():
    keys = KISSING["e8"].keys()
    for tokens in (240, 241, 479, 480, 1000, 24_000, 240_000):
        norm = StretchedEncoding.build(keys, 1, tokens, Accuracy(0.5)).query_norm
        assert norm <= required_query_norm(479, keys.measured().incoherence(), 0.5) + 2 * MARGIN_NATS
        zeros = StretchedEncoding.build(keys, 1, tokens, Accuracy(0.5), rest="zero").query_norm
        assert zeros == pytest.approx(2 * np.log(tokens * 3) + 2 * MARGIN_NATS)
    assert StretchedEncoding.build(keys, 1, 480).query_norm == ValuesEncoding.build(keys, 1).query_norm


def test_zero_keys_drown_the_instance_at_the_bounded_norm():
    keys, rng = KISSING["hexagon"].keys(), np.random.default_rng(0)
    norm = StretchedEncoding.build(keys, 8, 6, Accuracy(0.5)).query_norm
    encoding = StretchedEncoding.build(keys, 8, 6000, Accuracy(0.5), norm, "zero")
    assert worst_errors(encoding, encoding.problem.sample(rng), 0.5) > 0


def test_the_stream_is_the_instance_round_and_round():
    encoding = StretchedEncoding.build(Keys(np.eye(3)), 2, 8)
    written = encoding.encode(np.array([0, 1, 1, 0, 1, 1]))
    assert np.array_equal(written.keys, np.eye(3)[[0, 1, 2, 0, 1, 2, 0, 1]])
    assert np.array_equal(written.values[[0, 3, 6]], [[0, 1]] * 3)
    zeros = StretchedEncoding.build(Keys(np.eye(3)), 2, 8, rest="zero").encode(np.array([0, 1, 1, 0, 1, 1]))
    assert not zeros.keys[3:].any()
    assert not zeros.values[3:].any()
    assert (encoding.dim, encoding.value_dim, encoding.guarantee.incoherence) == (3, 2, 0.0)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: StretchedEncoding.build(Keys(np.eye(3)), 2, 0), "tokens must be at least 1, got 0"),
    (lambda: StretchedEncoding.build(Keys(np.eye(3)), 2, 9, rest="noise"), "rest must be 'repeated' or 'zero', got 'noise'"),
    (lambda: StretchedEncoding.build(Keys(np.empty((0, 3))), 2, 9), "non-empty"),
    (lambda: StretchedEncoding.build(Keys(np.eye(3)), 2, 9, Accuracy(1.0)), "eta must be in"),
    (lambda: StretchedEncoding(ValuesEncoding.build(Keys(np.eye(3)), 2), 2), "at least the instance's 3, got 2"),
])  # fmt: skip
def test_wrong_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
