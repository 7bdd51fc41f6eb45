"""INDEX in a window, by a plain attention that masks the keys before it to zero; worst streams, worst noise."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvfloor.reductions.accuracy import MARGIN_NATS, Accuracy
from kvfloor.reductions.encodings.protocol import Tokens
from kvfloor.reductions.encodings.streams.windowed import (
    WindowEncoding,
    required_window_norm,
    window_interference,
)
from kvfloor.reductions.keys.known import Keys
from kvfloor.reductions.keys.packings import equiangular_keys


def outputs(encoding, x, window_tokens=None):
    """Window attention from its definition, in float64: keys before the window are zero, values count."""
    tokens = encoding.encode(x)
    everything = np.arange(encoding.problem.length)
    keys = tokens.keys.astype(np.float64)
    keys[: len(keys) - (window_tokens or encoding.inside.tokens)] = 0
    scores = encoding.queries(everything).astype(np.float64) @ keys.T
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return weights @ tokens.values / weights.sum(axis=1, keepdims=True)


def worst_errors(encoding, x, eta, window_tokens=None):
    everything, exact = np.arange(encoding.problem.length), outputs(encoding, x, window_tokens)
    wrong = [encoding.decode(factor * exact, everything) != x for factor in (1 - eta, 1 + eta)]
    return np.flatnonzero(wrong[0] | wrong[1])


def earlier(tokens, dim, value_dim, value, dtype=np.float64):
    """Tokens before the window: their keys would drown everything if their scores counted."""
    return Tokens(np.full((tokens, dim), 5.0, dtype), np.full((tokens, value_dim), value, dtype))


@given(
    st.integers(1, 30),
    st.sampled_from([0, 1, 7, 1000]),
    st.sampled_from([0.0, 0.3, 0.8]),
    st.sampled_from([0.0, 0.1, 0.5, 0.9]),
    st.sampled_from([np.float32, np.float64]),
    st.integers(0, 2**32),
)
def test_every_bit_decodes_after_the_worst_streams(window, before, eps, eta, dtype, seed):
    rng = np.random.default_rng(seed)
    keys = equiangular_keys(window, eps, dtype)
    for value in (0.0, 1.0):
        stream = earlier(before, keys.dim, 2, value, dtype)
        encoding = WindowEncoding.build(keys, 2, stream, Accuracy(eta))
        assert encoding.query_norm == encoding.guarantee.query_norm
        for lone in (0, 1):  # a lone bit among its opposites: all interference pulls the wrong way
            x = np.full(2 * window, 1 - lone, np.uint8)
            x[rng.integers(len(x))] = lone
            assert worst_errors(encoding, x, eta).size == 0
        x = encoding.problem.sample(rng)
        assert worst_errors(encoding, x, eta).size == 0


@pytest.mark.parametrize(("window", "before", "eps"), [(50, 0, 0.5), (2, 4000, 0.0), (50, 4000, 0.5)])
@pytest.mark.parametrize("eta", [0.0, 0.5, 0.9])
def test_equiangular_keys_meet_the_interference_and_decode_while_it_is_below_the_ratio(
    window, before, eps, eta
):
    """Equiangular keys reach kappa; where kappa exceeds 1/rho, no threshold tells a lone 0 from a lone 1."""
    keys = equiangular_keys(window, eps)
    required = required_window_norm(window, before, eps, eta)
    rho = (1 + eta) / (1 - eta)
    for norm, possible in ((required * (1 + 1e-6), True), (required - np.log(2.01) / (1 - eps), False)):
        ends = []
        for lone in (0, 1):
            stream = earlier(before, keys.dim, 1, 1 - lone)
            encoding = WindowEncoding.build(keys, 1, stream, query_norm=norm)
            x = np.full(window, 1 - lone, np.uint8)
            x[0] = lone
            ends.append(outputs(encoding, x)[0, 0])
        kappa = window_interference(window, before, norm, eps)
        assert ends == pytest.approx([kappa / (1 + kappa), 1 / (1 + kappa)], rel=1e-9)
        assert ((1 + eta) * ends[0] < (1 - eta) * ends[1]) == possible == (kappa < 1 / rho)


def test_the_length_of_the_stream_costs_no_crowding():
    assert required_window_norm(64, 10**9, 0.5) == pytest.approx(np.log(2e9))
    assert required_window_norm(64, 10, 0.5) == pytest.approx(np.log(126) / 0.5)
    assert required_window_norm(1, 0, 0.5) == 0


def test_a_window_one_token_short_loses_exactly_the_oldest_token():
    """What Bob's own token would do: the oldest of the W tokens leaves, the others stay."""
    keys = Keys.drawn("gaussian", 20, 64, np.random.default_rng(0))
    encoding = WindowEncoding.build(keys, 8, earlier(100, 64, 8, 0.0), Accuracy(0.5))
    x = np.ones(160, np.uint8)
    assert worst_errors(encoding, x, 0.5).size == 0
    assert worst_errors(encoding, x, 0.5, window_tokens=19).tolist() == list(range(8))


def test_every_string_of_a_tiny_instance_decodes():
    keys = Keys.drawn("gaussian", 3, 8, np.random.default_rng(0))
    for eta, value in product((0.0, 0.6), (0.0, 0.5, 1.0)):
        encoding = WindowEncoding.build(keys, 2, earlier(5, 8, 2, value), Accuracy(eta))
        for x in product((0, 1), repeat=6):
            assert worst_errors(encoding, np.array(x), eta).size == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arrays_have_the_type_of_the_keys(dtype):
    encoding = WindowEncoding.build(Keys(np.eye(4, dtype=dtype)), 3, earlier(2, 4, 3, 1.0))
    tokens, reader = (
        encoding.encode(encoding.problem.sample(np.random.default_rng(0))),
        encoding.reader_token(),
    )
    assert {a.dtype for a in (tokens.values, reader.keys, reader.values, encoding.queries(np.arange(3)))} == {
        np.dtype(dtype)
    }
    assert (encoding.tokens, encoding.inside.tokens, encoding.dim, encoding.value_dim) == (6, 4, 4, 3)
    assert len(tokens) == len(encoding.public_keys) == 6
    assert len(reader) == 0
    assert encoding.problem.length == 12
    assert encoding.guarantee.query_norm == required_window_norm(4, 2, 0.0) + MARGIN_NATS


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: WindowEncoding.build(Keys(np.eye(3)), 2, earlier(4, 5, 2, 0.0)),
            "dimensions 3 and 2, got 5 and 2",
        ),
        (
            lambda: WindowEncoding.build(Keys(np.eye(3)), 2, earlier(4, 3, 1, 0.0)),
            "dimensions 3 and 2, got 3 and 1",
        ),
        (
            lambda: WindowEncoding.build(Keys(np.eye(3)), 2, earlier(4, 3, 2, 1.5)),
            "must lie in .0, 1., got values",
        ),
        (
            lambda: WindowEncoding.build(Keys(np.eye(3)[[0, 0]]), 2, earlier(1, 3, 2, 0.0)),
            "no query norm tells two keys .* coincide",
        ),
        (
            lambda: WindowEncoding.build(Keys(np.eye(3)), 0, earlier(1, 3, 1, 0.0)),
            "value_dim must be at least 1",
        ),
        (lambda: required_window_norm(0, 1, 0.5), "window_tokens must be at least 1, got 0"),
        (lambda: required_window_norm(1, -1, 0.5), "earlier_tokens must be at least 0, got -1"),
        (lambda: required_window_norm(1, 1, 1.0), r"incoherence must be in \[0, 1\), got 1.0"),
        (lambda: required_window_norm(2, 1, 0.0, 1.0), r"eta must be in \[0, 1\), got 1.0"),
        (lambda: window_interference(2, 1, -1.0, 0.0), "query_norm must be finite and at least 0, got -1.0"),
    ],
)
def test_wrong_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
