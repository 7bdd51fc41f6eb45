"""INDEX in the keys and in both sides, under the worst noise allowed, by a plain attention oracle."""

from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kvfloor.reductions.accuracy import EXACT, MARGIN_NATS, TYPICAL, Accuracy
from kvfloor.reductions.encodings.keys import (
    KeysEncoding,
    Layout,
    chosen_bit_norm,
    keys_guarantee,
    required_address_norm,
    required_bit_norm,
)
from kvfloor.reductions.keys.known import Keys
from kvfloor.reductions.keys.projections import PROJECTIONS

FOUR = Keys(np.eye(4))


def attention(queries, tokens):
    """Softmax attention in float64, from its definition."""
    scores = queries.astype(np.float64) @ np.concatenate([t.keys for t in tokens]).T.astype(np.float64)
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return weights @ np.concatenate([t.values for t in tokens]) / weights.sum(axis=1, keepdims=True)


def worst_errors(encoding, x, eta):
    """Symbols that some (1 +- eta)-approximation gets wrong: decoders are monotone, so the ends decide."""
    everything = np.arange(encoding.problem.length)
    exact = attention(encoding.queries(everything), [encoding.encode(x), encoding.reader_token()])
    wrong = np.zeros(len(x), dtype=bool)
    for factor in (1 - eta, 1 + eta):
        wrong |= encoding.decode(factor * exact, everything) != x
    return np.flatnonzero(wrong)


def equiangular_keys(tokens, eps):
    """Keys with <k_i, k_l> = eps for all i != l."""
    return Keys(np.hstack([np.full((tokens, 1), np.sqrt(eps)), np.sqrt(1 - eps) * np.eye(tokens)]))


def adversarial_strings(encoding, rng):
    """All zeros, all ones, one token unlike all others in either sense, random."""
    length, per_token = encoding.problem.length, encoding.layout.bits_per_token
    ones = np.ones(length, dtype=np.uint8)
    unlike = np.zeros_like(ones)
    unlike[:per_token] = 1
    return [0 * ones, ones, unlike, 1 - unlike, rng.integers(0, 2, length, dtype=np.uint8)]


@settings(max_examples=60)
@given(
    st.sampled_from(sorted(PROJECTIONS)),
    st.integers(1, 20),
    st.integers(17, 50),
    st.integers(1, 4),
    st.booleans(),
    st.sampled_from([0.0, 0.3, 0.9, 0.99]),
    st.sampled_from([np.float32, np.float64]),
    st.integers(0, 2**32 - 1),
)
def test_every_bit_decodes_under_worst_case_noise(kind, tokens, dim, value_dim, both, eta, dtype, seed):
    rng = np.random.default_rng(seed)
    addresses = Keys.drawn(kind, tokens, dim // 2, rng, dtype)
    assume(addresses.incoherence() <= 0.95)
    encoding = KeysEncoding.build(addresses, Layout(dim - 1 - dim // 2, value_dim, both), Accuracy(eta))
    assert encoding.dim == dim
    assert encoding.problem.length == tokens * (dim - 1 - dim // 2 + (value_dim if both else 0))
    for x in adversarial_strings(encoding, rng):
        assert worst_errors(encoding, x, eta).size == 0


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("eta", [0.0, 0.5, 0.95])
@pytest.mark.parametrize("eps", [0.0, 0.5, 0.9])
def test_equiangular_addresses_decode_at_the_chosen_norm(both, eta, eps):
    encoding = KeysEncoding.build(equiangular_keys(30, eps), Layout(5, 2, both), Accuracy(eta))
    for x in adversarial_strings(encoding, np.random.default_rng(0)):
        assert worst_errors(encoding, x, eta).size == 0


def worst_outputs(encoding, eta):
    """The largest noisy output of a key bit 0 and the least of a key bit 1, over the most adverse strings."""
    first = np.array([0])
    query = encoding.queries(first)

    def output(bit, others, values):
        x = np.full((encoding.tokens, encoding.layout.bits_per_token), others, dtype=np.uint8)
        x[:, encoding.layout.bit_dim :] = values
        x[0, 0] = bit
        return attention(query, [encoding.encode(x.ravel()), encoding.reader_token()])[0, 0]

    return (1 + eta) * output(0, 1, 1), (1 - eta) * output(1, 0, 0)


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("eta", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("eps", [0.0, 0.6])
def test_the_address_norm_is_nearly_tight(both, eta, eps):
    """Equiangular addresses meet the bound on zeros exactly; ones gain at most the others' e^{-C'} weight.

    With C' large that gain vanishes: a little below the required C no threshold exists.
    """
    tokens, bit_norm = 40, 12.0
    addresses, layout = equiangular_keys(tokens, eps), Layout(3, 1, both)
    lowest = layout.lowest(eta)
    required = required_address_norm(tokens, eps, eta, bit_norm, lowest)
    for change, possible in ((1e-6, True), (-1e-3, False)):
        encoding = KeysEncoding.build(
            addresses, layout, Accuracy(eta), required + change / (1 - eps), bit_norm
        )
        assert encoding.lowest == lowest
        most_of_zero, least_of_one = worst_outputs(encoding, eta)
        assert (most_of_zero < least_of_one) == possible


@given(st.floats(0, 0.95), st.booleans(), st.integers(2, 10**6), st.floats(0, 0.95))
def test_the_default_norms_are_those_of_the_module(eta, both, tokens, eps):
    rho = (1 + eta) / (1 - eta)
    lowest = 1 / (2 * rho) if both else 1.0
    assert required_bit_norm(eta, lowest) == pytest.approx(np.log(rho / lowest), abs=1e-12)
    bit_norm = chosen_bit_norm(eta, lowest)
    assert bit_norm == pytest.approx(np.log(2 * rho / lowest), abs=1e-12)
    assert Layout(3, 1, both).lowest(eta) == pytest.approx(lowest, rel=1e-12)
    required = required_address_norm(tokens, eps, eta, bit_norm, lowest)
    assert required <= (2 * bit_norm + np.log(tokens)) / (1 - eps) + 1e-9
    # The definition, step by step: at the required C the two worst outputs meet.
    u = np.exp(-bit_norm)
    w = u + (tokens - 1) * np.exp(bit_norm - required * (1 - eps))
    if required > 0:
        assert (1 - eta) * lowest / (1 + u) == pytest.approx((1 + eta) * w / (1 + w), rel=1e-9)
    if both:  # value bits: n e^{-C(1-eps)} < 1/rho - beta, with room to spare
        guarantee = keys_guarantee(tokens, eps, eta, bit_norm, lowest)
        assert guarantee.query_norm == pytest.approx(required + MARGIN_NATS / (1 - eps), rel=1e-12)
        assert tokens * np.exp(-required * (1 - eps)) < (1 / rho - lowest) / 2


def test_sixty_percent_of_the_guaranteed_norm_fails():
    for both, eta in product((False, True), (0.0, 0.5)):
        told = equiangular_keys(100, 0.4), Layout(4, 2, both), Accuracy(eta)
        good = KeysEncoding.build(*told)
        bad = KeysEncoding.build(*told, query_norm=0.6 * good.query_norm)
        x = np.ones(bad.problem.length, dtype=np.uint8)
        x[:: bad.layout.bits_per_token] = np.arange(100) % 2  # bit 0 of every second key is 0 among ones
        assert worst_errors(good, x, eta).size == 0
        assert worst_errors(bad, x, eta).size >= 40


def test_too_small_a_bit_norm_has_no_guarantee():
    told = Keys(np.eye(10)), Layout(3), Accuracy(0.5)
    least = required_bit_norm(0.5)
    assert keys_guarantee(10, 0.0, 0.5, least) is None
    with pytest.raises(ValueError, match="no query norm decodes"):
        KeysEncoding.build(*told, bit_norm=least)
    encoding = KeysEncoding.build(*told, query_norm=500.0, bit_norm=0.9 * least)
    assert encoding.guarantee is None
    assert worst_errors(encoding, np.arange(30) % 2, 0.5).size > 0


def test_instance_of_theory_3_decodes():
    """n = 4096, d1 = d2 = 64, C = 40, C' = 6, eta = 0.3; here for the bits of 64 of the tokens."""
    rng = np.random.default_rng(8)
    addresses = Keys.drawn("gaussian", 4096, 64, rng)
    encoding = KeysEncoding.build(addresses, Layout(64), Accuracy(0.3), query_norm=40.0, bit_norm=6.0)
    x = encoding.problem.sample(rng)
    indices = np.arange(64 * 64) + 777 * 64
    exact = attention(encoding.queries(indices), [encoding.encode(x), encoding.reader_token()])
    for factor in (0.7, 1.3):
        assert np.array_equal(encoding.decode(factor * exact, indices), x[indices])
    assert np.any(encoding.decode(0.1 * exact, indices) != x[indices])


@given(st.integers(1, 8), st.integers(1, 5), st.integers(1, 4), st.booleans(), st.data())
def test_any_subset_in_any_order_is_answered_by_distinct_queries(tokens, bit_dim, value_dim, both, data):
    encoding = KeysEncoding.build(Keys(np.eye(tokens)), Layout(bit_dim, value_dim, both), Accuracy(0.2))
    length = encoding.problem.length
    indices = np.array(data.draw(st.lists(st.integers(0, length - 1), min_size=1, max_size=25)))
    queries = encoding.queries(indices)
    assert len(np.unique(queries, axis=0)) == len(queries) <= len(set(indices.tolist()))
    x = encoding.problem.sample(np.random.default_rng(data.draw(st.integers(0, 99))))
    outputs = attention(queries, [encoding.encode(x), encoding.reader_token()])
    assert np.array_equal(encoding.decode(outputs, indices), x[indices])


def test_all_bits_of_a_value_share_one_query():
    encoding = KeysEncoding.build(Keys(np.eye(6)), Layout(3, 5, both=True))
    assert encoding.layout.bits_per_token == 8
    assert encoding.queries(np.arange(3, 8)).shape == (1, encoding.dim)
    assert encoding.queries(np.arange(8)).shape == (4, encoding.dim)


def test_every_string_of_a_tiny_instance_decodes():
    addresses = Keys.drawn("gaussian", 2, 8, np.random.default_rng(0))
    for both, eta in product((False, True), (0.0, 0.6)):
        encoding = KeysEncoding.build(addresses, Layout(3, 2, both), Accuracy(eta))
        for x in product((0, 1), repeat=encoding.problem.length):
            assert worst_errors(encoding, np.array(x), eta).size == 0


@given(st.integers(3, 40), st.booleans(), st.sampled_from(sorted(PROJECTIONS)), st.integers(0, 2**32 - 1))
def test_drawn_encodings_split_the_key_in_halves(dim, both, projection, seed):
    addresses = Keys.drawn(projection, 6, dim // 2, np.random.default_rng(seed))
    layout = Layout.of_half(dim, 2, both)
    encoding = KeysEncoding.build(addresses, layout, query_norm=50.0)
    assert encoding.dim == dim
    assert addresses.dim + layout.bit_dim + 1 == dim
    assert 0 <= addresses.dim - layout.bit_dim <= 1
    assert encoding.public_keys is None
    tokens = encoding.encode(encoding.problem.sample(np.random.default_rng(seed)))
    assert tokens.keys.shape == (6, dim)
    assert tokens.values.shape == (6, 2)
    assert np.allclose(np.linalg.norm(tokens.keys, axis=1), np.sqrt(2))
    assert np.array_equal(tokens.keys[:, : dim // 2], addresses.rows)


def test_drawn_encodings_can_state_their_incoherence_instead_of_measuring_it():
    addresses = Keys.drawn("gaussian", 50, 64, np.random.default_rng(0), failure_probability=1e-6)
    encoding = KeysEncoding.build(addresses, Layout.of_half(129))
    assert encoding.guarantee.failure_probability == 1e-6
    assert encoding.guarantee.incoherence > addresses.measured().incoherence()
    measured = KeysEncoding.build(Keys(addresses.rows), Layout.of_half(129))
    assert measured.guarantee.incoherence == addresses.measured().incoherence()
    assert measured.guarantee.failure_probability == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arrays_have_the_type_of_the_addresses(dtype):
    encoding = KeysEncoding.build(Keys(np.eye(4, dtype=dtype)), Layout(3, 2, both=True))
    x = encoding.problem.sample(np.random.default_rng(0))
    arrays = [encoding.queries(np.arange(9))]
    for tokens in (encoding.encode(x), encoding.reader_token()):
        arrays += [tokens.keys, tokens.values]
    assert {a.dtype for a in arrays} == {np.dtype(dtype)}
    assert encoding.reader_token().keys.tolist() == [[0.0] * 7 + [1.0]]
    assert not encoding.reader_token().values.any()


def build(addresses=FOUR, accuracy=EXACT, **norms):
    return KeysEncoding.build(addresses, Layout(3), accuracy, **norms)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Layout(0), "must be at least 1, got 0 and 1"),
        (lambda: Layout(3, 0), "must be at least 1, got 3 and 0"),
        (lambda: Layout.of_half(2), "dim must be at least 3"),
        (lambda: build(accuracy=TYPICAL), "only the guaranteed decoder, got 'typical'"),
        (lambda: build(Keys(np.ones((4, 1)))), "no query norm decodes"),
        (lambda: build(query_norm=-1.0), "query_norm must be finite and at least 0"),
        (lambda: build(bit_norm=-1.0, query_norm=9.0), "bit_norm must be finite and at least 0"),
        (lambda: build(bit_norm=float("inf")), "bit_norm must be finite"),
        (lambda: required_address_norm(0, 0.5, 0.0, 1.0), "tokens must be at least 1"),
        (lambda: required_address_norm(5, 0.5, 0.9, 1.0), "bit_norm must be finite and above"),
        (lambda: required_bit_norm(0.0, 0.0), r"lowest must be in \(0, 1\]"),
        (
            lambda: build().decode(np.ones((12, 2)), np.arange(12)),
            r"outputs must have shape \(12, 1\)",
        ),
        (lambda: build().queries(np.array([12])), "indices must lie in"),
    ],
)
def test_wrong_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
