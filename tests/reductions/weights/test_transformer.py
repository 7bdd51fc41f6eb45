"""INDEX in a transformer's weights: a plain forward pass in NumPy decodes every bit, and knows when it cannot."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvfloor.reductions.keys.incoherence import incoherence
from kvfloor.reductions.weights.compiler import DIVISOR
from kvfloor.reductions.weights.transformer import ONE, QUERY_NORM, SLACK, TransformerEncoding


@pytest.fixture(scope="session")
def answers(forward):
    """Return what gives last hidden states and logits of questions after Alice's facts."""
    return lambda encoding, x, questions, **how: forward(
        encoding.shape, encoding.weights(), encoding.encode(x), questions, **how
    )


def drawn(seed=0, tokens=48, dim=16, query_norm=QUERY_NORM, **sizes):
    """Return an encoding and a string."""
    encoding = TransformerEncoding.draw(tokens, dim, np.random.default_rng(seed), **sizes)
    encoding = replace(encoding, query_norm=query_norm)
    return encoding, encoding.problem.sample(np.random.default_rng(seed + 1))


def test_every_bit_decodes_both_ways(answers, model_case):
    # Keys of few channels come close: the query norm is as large as they need, and exact in float64.
    encoding, x = drawn(dim=model_case.dim, query_norm=900.0, **model_case.sizes)
    assert encoding.query_norm > encoding.required_query_norm(incoherence(encoding.keys))
    hidden, _ = answers(encoding, x, encoding.row_questions(np.arange(48)), normalise=model_case.normalises)
    assert np.array_equal(encoding.read_rows(hidden).reshape(-1), x)
    indices = np.arange(0, encoding.problem.length, 7)
    _, logits = answers(encoding, x, encoding.bit_questions(indices), normalise=model_case.normalises)
    assert np.array_equal(np.where(logits.argmax(axis=1) == ONE, 1, 0), x[indices])


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32), tokens=st.integers(2, 40), half=st.integers(2, 12),
    layers=st.integers(1, 3), kv_heads=st.integers(1, 2),
)  # fmt: skip
def test_the_guarantee_holds_whatever_the_size(answers, seed, tokens, half, layers, kv_heads):
    encoding, x = drawn(seed, tokens, 2 * half, layers=layers, kv_heads=kv_heads)
    measured = max(0.0, incoherence(encoding.keys))
    if measured > 0.95:
        return
    needed = max(1.0, 1.000001 * encoding.required_query_norm(measured))
    exact = TransformerEncoding(encoding.keys, layers, kv_heads, query_norm=needed)
    hidden, _ = answers(exact, x, exact.row_questions(np.arange(tokens)))
    assert np.array_equal(exact.read_rows(hidden).reshape(-1), x)


def test_flat_queries_cannot_decode(answers):
    encoding, x = drawn(tokens=256, query_norm=1.0)
    hidden, _ = answers(encoding, x, encoding.row_questions(np.arange(256)))
    assert (encoding.read_rows(hidden).reshape(-1) != x).mean() > 0.2


def test_a_group_of_heads_and_a_head_say_the_same(answers):
    alone, x = drawn(kv_heads=2)
    grouped, _ = drawn(kv_heads=2, group=4)
    questions = alone.row_questions(np.arange(48))
    one, many = (answers(e, x, questions)[0] for e in (alone, grouped))
    assert np.allclose(one, many, atol=1e-12)


def test_every_row_is_divided_by_the_same_power_of_two():
    encoding, x = drawn(layers=2)
    for rows in (
        encoding.encode(x),
        encoding.row_questions(np.arange(9)),
        encoding.bit_questions(np.arange(9)),
    ):
        # The ballast is rounded to float32, 6e-8 relative.
        assert np.allclose(np.square(rows, dtype=np.float64).mean(axis=1), DIVISOR**2, rtol=1e-6)


def test_questions_and_weights_know_nothing_of_x():
    encoding, x = drawn()
    facts = encoding.encode(x), encoding.encode(1 - x)
    keys, values = ([encoding.stream.coordinates(f, name) for f in facts] for name in ("key", "value"))
    assert np.array_equal(keys[0], keys[1])
    assert np.array_equal(values[0], -values[1])
    for questions in (encoding.row_questions(np.arange(4)), encoding.bit_questions(np.arange(4))):
        assert not encoding.stream.coordinates(questions, "value").any()


def test_the_slack_is_what_the_theorem_says():
    encoding, _ = drawn()
    assert encoding.required_query_norm(0.0) == pytest.approx(
        769 / 768 * (math.log(47) + math.log(769 / 768) / 2)
    )
    assert SLACK == 769 / 768
    assert len(encoding.stream) > 3 * encoding.bits_per_token


@pytest.mark.parametrize(("arguments", "sentence"), [
    ({"tokens": 1}, "tokens must be at least 2, got 1"),
    ({"dim": 7}, "even number of at least 4, got 7"),
    ({"layers": 0}, "layers must be at least 1, got 0"),
    ({"kv_heads": 0}, "kv_heads must be at least 1, got 0"),
    ({"group": 0}, "group must be at least 1, got 0"),
    ({"query_norm": float("nan")}, "query_norm must be at least 1, got nan"),
])  # fmt: skip
def test_wrong_sizes_are_one_sentence(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        drawn(**arguments)


def test_keys_must_leave_the_last_channel_free():
    keys = np.eye(4)
    with pytest.raises(ValueError, match="last channel is 0"):
        TransformerEncoding(keys)
    with pytest.raises(ValueError, match="unit vectors"):
        TransformerEncoding(2 * keys[:3])
    with pytest.raises(ValueError, match="768/769"):
        TransformerEncoding(keys[:3]).required_query_norm(0.999)
