"""INDEX in both values of tensor attention, under the worst noise allowed, by a plain Kronecker oracle."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kvfloor.reductions.accuracy import TYPICAL, Accuracy
from kvfloor.reductions.encodings.protocol import TensorTokens, Tokens, stream_of
from kvfloor.reductions.encodings.tensor import TensorEncoding, address_dim, required_tensor_norm
from kvfloor.reductions.keys.known import Keys
from kvfloor.reductions.keys.packings import equiangular_keys
from kvfloor.reductions.keys.projections import PROJECTIONS, gaussian_keys


def attention(queries, *streams):
    """Tensor attention in float64, from its definition."""
    k1, v1, k2, v2 = (
        np.concatenate(part).astype(np.float64) for part in zip(*(s.arrays for s in streams), strict=True)
    )
    keys, values = ((a[:, None] * b[None]).reshape(-1, a.shape[1]) for a, b in ((k1, k2), (v1, v2)))
    scores = queries.astype(np.float64) @ keys.T
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return weights @ values / weights.sum(axis=1, keepdims=True)


def worst_errors(encoding, x, eta):
    """Symbols that some (1 +- eta)-approximation gets wrong: decoders are monotone, so the ends decide."""
    everything = np.arange(encoding.problem.length)
    exact = attention(encoding.queries(everything), encoding.encode(x), encoding.reader_token())
    wrong = [encoding.decode(factor * exact, everything) != x for factor in (1 - eta, 1 + eta)]
    return np.flatnonzero(np.logical_or(*wrong))


def adversarial_strings(encoding, rng):
    """All zeros, all ones, one token unlike the others on either side, one side zero, random."""
    length, half, token = encoding.problem.length, encoding.problem.length // 2, encoding.value_dim
    zeros, unlike, side, one = (np.zeros(length, np.uint8) for _ in range(4))
    one[:token] = unlike[:token] = unlike[half : half + token] = 1
    side[:half] = 1
    random = rng.integers(0, 2, length, dtype=np.uint8)
    return [zeros, 1 - zeros, unlike, 1 - unlike, one, 1 - one, side, 1 - side, random]


@settings(max_examples=60)
@given(
    st.sampled_from(sorted(PROJECTIONS)),
    st.integers(1, 15),
    st.integers(12, 30),
    st.integers(1, 3),
    st.sampled_from([0.0, 0.3, 0.9, 0.99]),
    st.sampled_from([np.float32, np.float64]),
    st.integers(0, 2**32 - 1),
)
def test_every_bit_decodes_under_worst_case_noise(kind, tokens, dim, value_dim, eta, dtype, seed):
    rng = np.random.default_rng(seed)
    addresses = Keys.drawn(kind, tokens + 1, dim, rng, dtype)
    assume(addresses.incoherence() <= 0.95)
    encoding = TensorEncoding.build(addresses, value_dim, Accuracy(eta))
    assert (encoding.tokens, encoding.dim, encoding.problem.length) == (
        tokens,
        2 * dim,
        2 * tokens * value_dim,
    )
    for x in adversarial_strings(encoding, rng):
        assert worst_errors(encoding, x, eta).size == 0


@pytest.mark.parametrize("eta", [0.0, 0.5, 0.95])
@pytest.mark.parametrize("eps", [0.0, 0.5, 0.9])
def test_equiangular_addresses_make_the_bound_tight(eps, eta):
    addresses = equiangular_keys(21, eps)
    required = required_tensor_norm(20, eps, eta)

    def errors(norm):
        encoding = TensorEncoding.build(addresses, 2, Accuracy(eta), norm)
        strings = adversarial_strings(encoding, np.random.default_rng(0))
        return sum(worst_errors(encoding, x, eta).size for x in strings)

    assert errors(required * (1 + 1e-6)) == 0
    assert errors(required * (1 - 1e-3)) > 0


@pytest.mark.parametrize("eta", [0.0, 0.9])
@pytest.mark.parametrize("rounds", [2, 3, 20])
def test_rounds_need_no_larger_norm_than_two_of_them(rounds, eta):
    addresses = equiangular_keys(7, 0.5)
    encoding = TensorEncoding.build(addresses, 2, Accuracy(eta), rounds=rounds)
    assert encoding.query_norm == TensorEncoding.build(addresses, 2, Accuracy(eta), rounds=2).query_norm
    assert (encoding.tokens, encoding.problem.length) == (7 * rounds, 24)
    assert len(encoding.encode(np.zeros(24, np.uint8))) == len(encoding.public_keys) == 7 * rounds
    for x in adversarial_strings(encoding, np.random.default_rng(0)):
        assert worst_errors(encoding, x, eta).size == 0


def test_without_the_sentinel_bits_are_lost():
    addresses = Keys.drawn("gaussian", 17, 32, np.random.default_rng(0))
    encoding = TensorEncoding.build(addresses, 8, sentinel=False)
    x = np.ones(encoding.problem.length, np.uint8)
    assert worst_errors(encoding, x, 0.0).size == len(x)


def test_the_typical_threshold_is_one_half_wherever_the_worst_outputs_are():
    addresses = equiangular_keys(21, 0.5)
    typical = TensorEncoding.build(addresses, 2, TYPICAL)
    guaranteed = TensorEncoding.build(addresses, 2, Accuracy(0.9))
    assert typical.reading.thresholds.tolist() == [0.5]
    assert guaranteed.reading.thresholds[0] < 0.1


def test_any_subset_in_any_order_reads_the_same():
    rng = np.random.default_rng(1)
    encoding = TensorEncoding.build(Keys.drawn("gaussian", 9, 24, rng), 3)
    x = encoding.problem.sample(rng)
    for _ in range(10):
        indices = rng.integers(0, encoding.problem.length, rng.integers(1, 60))
        queries = encoding.queries(indices)
        assert len(np.unique(queries, axis=0)) == len(queries)
        outputs = attention(queries, encoding.encode(x), encoding.reader_token())
        assert np.array_equal(encoding.decode(outputs, indices), x[indices])


def test_public_keys_are_those_of_the_stream():
    encoding = TensorEncoding.build(Keys.drawn("gaussian", 9, 24, np.random.default_rng(1)), 3)
    tokens = encoding.encode(encoding.problem.sample(np.random.default_rng(2)))
    assert np.array_equal(encoding.public_keys, np.hstack([tokens.keys1, tokens.keys2]))


def test_streams_are_checked_and_told_by_their_names():
    k, v = np.zeros((3, 4)), np.zeros((3, 2))
    for stream in (Tokens(k, v), TensorTokens(k, v, k, v)):
        again = stream_of(stream.named)
        assert type(again) is type(stream)
        assert (len(again), again.dim, again.value_dim) == (3, 4, 2)
    with pytest.raises(ValueError, match="one row per token"):
        TensorTokens(k, v, k[1:], v[1:])
    with pytest.raises(ValueError, match="same columns"):
        TensorTokens(k, v, k[:, 1:], v)
    with pytest.raises(ValueError, match="no stream consists of keys, queries"):
        stream_of({"keys": k, "queries": v})


@pytest.mark.parametrize("dim", [-2, 0, 1, 7])
def test_a_dimension_that_cannot_be_halved_is_told(dim):
    with pytest.raises(ValueError, match=f"dim must be even, .* got {dim}$"):
        address_dim(dim)


def test_wrong_arguments_are_told():
    addresses = gaussian_keys(5, 8, np.random.default_rng(0))
    with pytest.raises(ValueError, match="sentinel"):
        TensorEncoding.build(Keys(addresses[:1], 0.5), 2, query_norm=1.0)
    with pytest.raises(ValueError, match="value_dim"):
        TensorEncoding.build(Keys(addresses), 0)
    with pytest.raises(ValueError, match="apart"):
        TensorEncoding.build(Keys(np.repeat(addresses, 2, axis=0)), 2)
    with pytest.raises(ValueError, match="eta"):
        required_tensor_norm(4, 0.5, 1.0)
    with pytest.raises(ValueError, match="incoherence"):
        required_tensor_norm(4, 1.0)
    with pytest.raises(ValueError, match="tokens"):
        required_tensor_norm(0, 0.5)
