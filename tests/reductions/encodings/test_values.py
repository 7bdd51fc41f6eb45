"""Theorem B and the precision floor under the worst noise that they allow, by a plain attention oracle."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kvfloor.reductions.accuracy import EXACT, MARGIN_NATS, TYPICAL, Accuracy, Guarantee
from kvfloor.reductions.encodings.levels import BINARY, Levels, Reading
from kvfloor.reductions.encodings.protocol import Tokens
from kvfloor.reductions.encodings.values import (
    ValuesEncoding,
    interference,
    level_count,
    required_query_norm,
    values_guarantee,
)
from kvfloor.reductions.keys.known import Keys
from kvfloor.reductions.keys.projections import PROJECTIONS, gaussian_keys


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
    """Keys with <k_i, k_l> = eps for all i != l: sqrt(eps) u + sqrt(1 - eps) e_l."""
    return Keys(np.hstack([np.full((tokens, 1), np.sqrt(eps)), np.sqrt(1 - eps) * np.eye(tokens)]))


def adversarial_strings(tokens, value_dim, rng):
    """All zeros, all ones, a lone one, a lone zero, and a random string."""
    ones = np.ones(tokens * value_dim, dtype=np.uint8)
    lone = np.zeros_like(ones)
    lone[rng.integers(len(lone))] = 1
    return [0 * ones, ones, lone, 1 - lone, rng.integers(0, 2, len(ones), dtype=np.uint8)]


@given(
    st.sampled_from(sorted(PROJECTIONS)),
    st.integers(1, 40),
    st.integers(8, 64),
    st.integers(1, 5),
    st.sampled_from([0.0, 0.1, 0.5, 0.9, 0.99]),
    st.sampled_from([np.float32, np.float64]),
    st.integers(0, 2**32 - 1),
)
def test_theorem_b_decodes_every_bit_under_worst_case_noise(kind, tokens, dim, value_dim, eta, dtype, seed):
    rng = np.random.default_rng(seed)
    keys = Keys.drawn(kind, tokens, dim, rng, dtype)
    assume(keys.incoherence() <= 0.95)
    encoding = ValuesEncoding.build(keys, value_dim, accuracy=Accuracy(eta))
    for x in adversarial_strings(tokens, value_dim, rng):
        assert worst_errors(encoding, x, eta).size == 0


@pytest.mark.parametrize(("tokens", "dim"), [(256, 16), (1024, 64), (2048, 128)])
@pytest.mark.parametrize("eta", [0.0, 0.5, 0.9])
def test_theorem_b_at_the_sizes_of_theory_3(tokens, dim, eta):
    rng = np.random.default_rng([tokens, dim])
    encoding = ValuesEncoding.build(Keys.drawn("gaussian", tokens, dim, rng), 4, accuracy=Accuracy(eta))
    assert encoding.query_norm == encoding.guarantee.query_norm
    x = encoding.problem.sample(rng)
    assert worst_errors(encoding, x, eta).size == 0


@pytest.mark.parametrize("eps", [0.0, 0.3, 0.8])
@pytest.mark.parametrize("eta", [0.0, 0.3, 0.9])
def test_the_guarantee_is_nearly_tight_for_equiangular_keys(eps, eta):
    """Just below ln((n-1) rho)/(1-eps) no threshold at all tells a lone zero from a lone one."""
    tokens = 50
    keys, accuracy = replace(equiangular_keys(tokens, eps), bound=eps), Accuracy(eta)
    lone = np.eye(1, tokens, 7, dtype=np.uint8)[0]

    def outputs(query_norm):
        encoding = ValuesEncoding.build(keys, 1, accuracy=accuracy, query_norm=query_norm)
        seventh = encoding.queries(np.array([7]))
        zero, one = (
            attention(seventh, [encoding.encode(x), encoding.reader_token()])[0, 0] for x in (1 - lone, lone)
        )
        return (1 + eta) * zero, (1 - eta) * one

    required = required_query_norm(tokens, eps, eta)
    most_of_zero, least_of_one = outputs(required)
    assert most_of_zero < least_of_one
    impossible = required - (np.log(tokens / (tokens - 1)) + 1e-6) / (1 - eps)
    most_of_zero, least_of_one = outputs(impossible)
    assert most_of_zero > least_of_one


@pytest.mark.parametrize("decoder", ["guaranteed", "typical"])
@pytest.mark.parametrize("eta", [0.0, 0.5])
def test_sixty_percent_of_the_guaranteed_norm_fails(decoder, eta):
    tokens, eps = 200, 0.4
    keys = equiangular_keys(tokens, eps)
    low = 0.6 * required_query_norm(tokens, eps, eta)
    encoding = ValuesEncoding.build(keys, 1, accuracy=Accuracy(eta, decoder), query_norm=low)
    x = (np.arange(tokens) % 5 < 2).astype(np.uint8)  # a minority of ones drowns among the zeros
    assert worst_errors(encoding, x, eta).size >= 0.4 * tokens
    guaranteed = ValuesEncoding.build(keys, 1, accuracy=Accuracy(eta))
    assert worst_errors(guaranteed, x, eta).size == 0


def test_repeated_keys_fail_however_large_the_norm():
    keys = np.repeat(gaussian_keys(20, 16, np.random.default_rng(1)), 2, axis=0)
    with pytest.raises(ValueError, match="no query norm"):
        ValuesEncoding.build(Keys(keys), 4)
    with pytest.raises(ValueError, match="no query norm"):
        ValuesEncoding.build(Keys(keys, 1.0), 4)  # 1 says nothing
    encoding = ValuesEncoding.build(Keys(keys, 0.9), 4)  # a false claim
    x = encoding.problem.sample(np.random.default_rng(2))
    assert worst_errors(encoding, x, 0.0).size > 0


def test_the_guaranteed_threshold_is_off_by_nothing():
    """At the chosen norm the worst outputs of 0 and 1 straddle the threshold with equal, known room."""
    tokens, eps, eta = 300, 0.3, 0.5
    encoding = ValuesEncoding.build(equiangular_keys(tokens, eps), 1, accuracy=Accuracy(eta))
    kappa = interference(tokens, encoding.query_norm, encoding.guarantee.incoherence)
    zero, one = (1 + eta) * kappa / (1 + kappa), (1 - eta) / (1 + kappa)
    assert np.log(one / zero) == pytest.approx(MARGIN_NATS, rel=1e-9)
    assert encoding.reading.thresholds[0] == pytest.approx((zero + one) / 2, rel=1e-12)


@pytest.mark.parametrize(("eta", "bits"), [(0.5, 3.70), (0.1, 6.11), (0.01, 9.43), (0.001, 12.75)])
def test_precision_floor_of_theory_3_decodes(eta, bits):
    """n = 1024, d = 64, C = 80, x_min = 1e-6: the listed bits per value, and every symbol is read."""
    rng = np.random.default_rng(6)
    keys = Keys.drawn("gaussian", 1024, 64, rng).measured()
    eps = keys.incoherence()
    levels = Levels.geometric(level_count(eta, 80.0, 1024, eps))
    encoding = ValuesEncoding.build(keys, 4, levels, Accuracy(eta), 80.0)
    assert encoding.problem.alphabet == len(levels)
    assert np.log2(level_count(eta, 80.0, 1024, 0.55)) == pytest.approx(bits, abs=0.005)
    assert required_query_norm(1024, eps, eta, encoding.levels) <= 80.0
    for x in (encoding.problem.sample(rng), encoding.problem.sample(rng)):
        assert worst_errors(encoding, x, eta).size == 0


@pytest.mark.parametrize("eta", [0.5, 0.1, 0.01])
def test_one_more_level_than_the_floor_cannot_be_told_apart(eta):
    count = level_count(eta, 200.0, 64, 0.0)
    levels = Levels.geometric(count + 1)
    with pytest.raises(ValueError, match="too coarse"):
        required_query_norm(64, 0.0, eta, levels)
    assert values_guarantee(64, 0.0, eta, levels) is None
    encoding = ValuesEncoding.build(Keys(np.eye(64), 0.0), 1, levels, Accuracy(eta), 200.0)
    x = np.arange(64) % (count + 1)
    assert worst_errors(encoding, x, eta).size > 0


@settings(max_examples=50)
@given(
    st.integers(2, 30),
    st.floats(0, 0.8),
    st.sampled_from([0.0, 0.01, 0.1, 0.5]),
    st.integers(2, 13),
    st.integers(0, 2**32 - 1),
)
def test_levels_decode_at_their_required_norm(tokens, eps, eta, alphabet, seed):
    """Equiangular keys, all other values at the top: the interference is what the proof allows."""
    keys = replace(equiangular_keys(tokens, eps), bound=eps)
    lowest = 1e-6 if alphabet > 5 else 1e-3
    assume((1 + eta) / (1 - eta) < 0.99 * lowest ** (-1 / (alphabet - 1)))
    encoding = ValuesEncoding.build(keys, 2, Levels.geometric(alphabet, lowest), Accuracy(eta))
    rng = np.random.default_rng(seed)
    top = np.full(2 * tokens, alphabet - 1)
    for lone in range(alphabet):
        x = top.copy()
        x[rng.integers(len(x))] = lone
        assert worst_errors(encoding, x, eta).size == 0
    assert worst_errors(encoding, encoding.problem.sample(rng), eta).size == 0


@given(st.floats(0, 0.95), st.floats(0, 0.9), st.integers(1, 10**6))
def test_the_required_norm_is_the_formula_of_theorem_b(eta, eps, tokens):
    formula = np.log(tokens * (1 + eta) / (1 - eta)) / (1 - eps)
    assert required_query_norm(tokens, eps, eta) == pytest.approx(formula, rel=1e-12, abs=1e-12)
    assert required_query_norm(tokens + 1, eps, eta) > required_query_norm(tokens, eps, eta)
    guarantee = values_guarantee(tokens, eps, eta, failure_probability=0.01)
    assert guarantee == Guarantee(
        required_query_norm(tokens, eps, eta) + MARGIN_NATS / (1 - eps), eps, eta, 0.01
    )


@given(
    st.floats(0.001, 0.9), st.floats(1e-9, 0.5), st.integers(1, 10**6), st.floats(0, 0.9), st.floats(0, 500)
)
def test_level_count_is_the_most_that_fit(eta, lowest, tokens, eps, query_norm):
    kappa = interference(tokens, query_norm, eps)
    ratio = (1 + eta) / (1 - eta) * (1 + kappa) * (1 + kappa / lowest)
    count = level_count(eta, query_norm, tokens, eps, lowest)
    assert count >= 1
    assert lowest * ratio ** (count - 1) <= 1 + 1e-9
    assert lowest * ratio**count >= 1 - 1e-9


def test_typical_thresholds():
    assert BINARY.thresholds(TYPICAL).tolist() == [0.5]
    assert Levels.of([0.01, 0.04, 1.0]).thresholds(TYPICAL).tolist() == pytest.approx([0.02, 0.2])
    # Exact attention with no interference: the guaranteed threshold is the typical one for bits.
    assert BINARY.thresholds(EXACT).tolist() == [0.5]


def test_typical_decoding_works_below_the_guarantee_and_fails_in_low_dimension():
    """Theory 3: n = 2048, C = 8, threshold 1/2: nearly all bits at d = 16, little better than chance at d = 4."""
    right = {}
    for dim in (4, 16):
        rng = np.random.default_rng(dim)
        keys = Keys.drawn("gaussian", 2048, dim, rng)
        encoding = ValuesEncoding.build(keys, 4, accuracy=TYPICAL, query_norm=8.0)
        assert encoding.guarantee is None  # nothing is measured, nothing is claimed
        x = encoding.problem.sample(rng)
        right[dim] = 1 - worst_errors(encoding, x, 0.0).size / len(x)
    assert right[16] > 0.99
    assert right[4] < 0.7


@given(st.integers(1, 12), st.integers(1, 6), st.integers(2, 5), st.data())
def test_any_subset_in_any_order_is_answered_by_distinct_queries(tokens, value_dim, alphabet, data):
    keys = np.eye(tokens)
    encoding = ValuesEncoding.build(
        Keys(keys, 0.0), value_dim, Levels.of(np.arange(alphabet) + 1), query_norm=3.0
    )
    length = encoding.problem.length
    indices = np.array(data.draw(st.lists(st.integers(0, length - 1), min_size=1, max_size=30)))
    queries = encoding.queries(indices)
    asked = sorted(set((indices // value_dim).tolist()))
    assert np.array_equal(queries, 3.0 * keys[asked])
    x = encoding.problem.sample(np.random.default_rng(data.draw(st.integers(0, 99))))
    # Outputs that are the very values of the tokens asked for decode to the symbols.
    outputs = encoding.encode(x).values[asked]
    thresholds = (encoding.levels.values[1:] + encoding.levels.values[:-1]) / 2
    plain = replace(encoding, reading=Reading(3.0, thresholds))
    assert np.array_equal(plain.decode(outputs, indices), x[indices])


def test_decoding_is_monotone_and_ties_go_up():
    encoding = ValuesEncoding.build(Keys(np.eye(1), 0.0), 1, Levels.equal(3), query_norm=5.0)
    outputs = np.sort(np.concatenate([np.linspace(-1, 2, 200), encoding.reading.thresholds]))
    decoded = [encoding.decode(np.array([[o]]), np.array([0]))[0] for o in outputs]
    assert np.all(np.diff(np.array(decoded, dtype=int)) >= 0)
    assert encoding.decode(encoding.reading.thresholds[:1, None], np.array([0]))[0] == 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arrays_have_the_type_of_the_keys(dtype):
    encoding = ValuesEncoding.build(Keys(np.eye(4, dtype=dtype)), 3)
    x = encoding.problem.sample(np.random.default_rng(0))
    arrays = [encoding.queries(np.arange(5)), encoding.public_keys]
    for tokens in (encoding.encode(x), encoding.reader_token()):
        arrays += [tokens.keys, tokens.values]
    assert {a.dtype for a in arrays} == {np.dtype(dtype)}
    assert len(encoding.encode(x)) == encoding.tokens == 4
    assert not encoding.reader_token().keys.any()
    assert not encoding.reader_token().values.any()
    assert encoding.decode(np.zeros((2, 3)), np.arange(5)).dtype == np.uint8


def test_given_incoherence_is_taken_at_its_word():
    keys = gaussian_keys(50, 32, np.random.default_rng(0))
    encoding = ValuesEncoding.build(Keys(keys, 0.9, 1e-6), 2)
    assert encoding.guarantee.incoherence == 0.9
    assert encoding.guarantee.failure_probability == 1e-6
    assert ValuesEncoding.build(Keys(keys), 2).guarantee.failure_probability == 0


def build(value_dim=2, accuracy=EXACT, query_norm=None):
    return ValuesEncoding.build(Keys(np.eye(3)), value_dim, accuracy=accuracy, query_norm=query_norm)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: build(value_dim=0), "value_dim must be at least 1, got 0"),
        (lambda: build(query_norm=-1.0), "query_norm must be finite and at least 0"),
        (lambda: build(query_norm=float("inf")), "query_norm must be finite and at least 0"),
        (lambda: build(query_norm=float("nan"), accuracy=TYPICAL), "query_norm must be finite"),
        (
            lambda: ValuesEncoding.build(Keys(np.eye(3)), 1, Levels.geometric(4), Accuracy(0.999)),
            "no query norm",
        ),
        (
            lambda: ValuesEncoding.build(Keys(np.eye(4)), 2, reader_tokens=0),
            "reader_tokens must be at least 1",
        ),
        (lambda: required_query_norm(0, 0.5), "tokens must be at least 1"),
        (lambda: interference(0, 1.0, 0.5), "tokens must be at least 1"),
        (lambda: build().decode(np.zeros((3, 3)), np.arange(6)), r"outputs must have shape \(3, 2\)"),
        (lambda: build().queries(np.array([6])), "indices must lie in"),
        (lambda: build().encode(np.zeros(5, int)), "must hold 6 integers"),
        (lambda: Tokens(np.eye(3), np.ones((2, 1))), "one row per token"),
        (lambda: Tokens(np.eye(3), np.ones(3)), "one row per token"),
    ],
)
def test_wrong_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_thresholds_must_fit_the_levels():
    for thresholds in (np.array([0.5, 0.6]), np.array([])):
        with pytest.raises(ValueError, match="thresholds must be 1 ascending"):
            ValuesEncoding(Keys(np.eye(2)), 1, BINARY, Reading(1.0, thresholds))


def test_every_string_of_a_tiny_instance_decodes():
    for eta, dtype in product((0.0, 0.6), (np.float32, np.float64)):
        keys = Keys.drawn("gaussian", 3, 8, np.random.default_rng(0), dtype)
        encoding = ValuesEncoding.build(keys, 2, accuracy=Accuracy(eta))
        for x in product((0, 1), repeat=6):
            assert worst_errors(encoding, np.array(x), eta).size == 0
