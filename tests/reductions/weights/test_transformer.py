"""INDEX in a transformer's weights: a plain forward pass in NumPy decodes every bit, and knows when it cannot."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvfloor.reductions.keys.incoherence import incoherence
from kvfloor.reductions.weights.transformer import ONE, SLACK, ZERO, TransformerEncoding


def rms_norm(x, weight):
    """Divide rows by their root mean square."""
    mean = np.square(x).mean(axis=-1, keepdims=True)
    return weight * np.divide(x, np.sqrt(mean), out=np.zeros_like(x), where=mean > 0)


def forward(encoding, facts, questions, *, normalise=False):
    """Return last hidden states and logits of questions after facts: a decoder-only model, in float64."""
    weights = {name: w.astype(np.float64) for name, w in encoding.weights().items()}
    x = np.vstack([facts, questions]).astype(np.float64)
    dim, heads, group = encoding.dim, encoding.kv_heads, encoding.group
    # A question sees the facts and itself; a fact sees the facts up to itself.
    sees = np.tril(np.ones((len(x), len(x)), bool))
    sees[len(facts) :, len(facts) :] = np.eye(len(questions), dtype=bool)
    for layer in range(encoding.layers):
        w = {k.split(".", 3)[3]: v for k, v in weights.items() if k.startswith(f"model.layers.{layer}.")}
        y = rms_norm(x, w["input_layernorm.weight"])
        q = (y @ w["self_attn.q_proj.weight"].T).reshape(len(x), heads * group, dim)
        k = (y @ w["self_attn.k_proj.weight"].T).reshape(len(x), heads, dim)
        v = (y @ w["self_attn.v_proj.weight"].T).reshape(len(x), heads, dim)
        if normalise:
            q, k = rms_norm(q, w["self_attn.q_norm.weight"]), rms_norm(k, w["self_attn.k_norm.weight"])
        heads_out = []
        for head in range(heads * group):
            scores = np.where(sees, q[:, head] @ k[:, head // group].T / math.sqrt(dim), -np.inf)
            attention = np.exp(scores - scores.max(axis=1, keepdims=True))
            heads_out.append(attention / attention.sum(axis=1, keepdims=True) @ v[:, head // group])
        x = x + np.hstack(heads_out) @ w["self_attn.o_proj.weight"].T
        y = rms_norm(x, w["post_attention_layernorm.weight"])
        gate = y @ w["mlp.gate_proj.weight"].T
        x = x + (gate / (1 + np.exp(-gate)) * (y @ w["mlp.up_proj.weight"].T)) @ w["mlp.down_proj.weight"].T
    hidden = rms_norm(x, weights["model.norm.weight"])[len(facts) :]
    return hidden, hidden @ weights["lm_head.weight"].T


def drawn(seed=0, tokens=48, dim=16, **sizes):
    """Return an encoding and a string."""
    encoding = TransformerEncoding.draw(tokens, dim, np.random.default_rng(seed), **sizes)
    return encoding, encoding.problem.sample(np.random.default_rng(seed + 1))


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("sizes", [
    {}, {"layers": 3}, {"kv_heads": 2}, {"kv_heads": 2, "group": 3, "layers": 2},
])  # fmt: skip
def test_every_bit_decodes_both_ways(sizes, normalise):
    encoding, x = drawn(query_norm=200.0, **sizes)
    assert encoding.query_norm > encoding.required_query_norm(incoherence(encoding.keys))
    hidden, _ = forward(
        encoding, encoding.encode(x), encoding.row_questions(np.arange(48)), normalise=normalise
    )
    assert np.array_equal(encoding.read_rows(hidden).reshape(-1), x)
    indices = np.arange(0, encoding.problem.length, 7)
    _, logits = forward(encoding, encoding.encode(x), encoding.bit_questions(indices), normalise=normalise)
    assert np.array_equal(np.where(logits.argmax(axis=1) == ONE, 1, 0), x[indices])


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.integers(2, 40), st.integers(2, 12), st.integers(1, 3), st.integers(1, 2))
def test_the_guarantee_holds_whatever_the_size(seed, tokens, half, layers, kv_heads):
    encoding, x = drawn(seed, tokens, 2 * half, layers=layers, kv_heads=kv_heads)
    measured = max(0.0, incoherence(encoding.keys))
    if measured > 0.95:
        return
    needed = max(1.0, 1.000001 * encoding.required_query_norm(measured))
    exact = TransformerEncoding(encoding.keys, layers, kv_heads, query_norm=needed)
    hidden, _ = forward(exact, exact.encode(x), exact.row_questions(np.arange(tokens)))
    assert np.array_equal(exact.read_rows(hidden).reshape(-1), x)


def test_flat_queries_cannot_decode():
    encoding, x = drawn(tokens=256, query_norm=1.0)
    hidden, _ = forward(encoding, encoding.encode(x), encoding.row_questions(np.arange(256)))
    assert (encoding.read_rows(hidden).reshape(-1) != x).mean() > 0.2


def test_a_group_of_heads_and_a_head_say_the_same():
    alone, x = drawn(kv_heads=2)
    grouped, _ = drawn(kv_heads=2, group=4)
    questions = alone.row_questions(np.arange(48))
    one, many = (forward(e, e.encode(x), questions)[0] for e in (alone, grouped))
    assert np.allclose(one, many, atol=1e-12)


def test_every_row_is_halved_by_the_norm():
    encoding, x = drawn(layers=2)
    for rows in (
        encoding.encode(x),
        encoding.row_questions(np.arange(9)),
        encoding.bit_questions(np.arange(9)),
    ):
        # The ballast is rounded to float32, 6e-8 relative.
        assert np.allclose(np.square(rows, dtype=np.float64).mean(axis=1), 4.0, rtol=1e-6)


def test_questions_and_weights_know_nothing_of_x():
    encoding, x = drawn()
    facts = encoding.encode(x), encoding.encode(1 - x)
    at = encoding.residual
    assert np.array_equal(facts[0][:, at.key], facts[1][:, at.key])
    assert np.array_equal(facts[0][:, at.value], -facts[1][:, at.value])
    assert not encoding.row_questions(np.arange(4))[:, at.value].any()
    assert not encoding.bit_questions(np.arange(4))[:, at.value].any()


def test_the_blocks_do_not_overlap():
    for sizes in ({}, {"layers": 2, "kv_heads": 3}):
        at = drawn(**sizes)[0].residual
        channels = [
            c
            for block in (at.key, at.query, at.value, at.out, at.select)
            for c in range(block.start, block.stop)
        ]
        assert [*channels, at.answer, at.ballast] == list(range(at.ballast + 1))
        assert at.width % 64 == 0
        assert at.width > 3 * at.bits
    assert (ZERO, ONE) == (0, 1)


def test_the_slack_is_what_the_theorem_says():
    encoding, _ = drawn()
    assert encoding.required_query_norm(0.0) == pytest.approx(
        49 / 48 * (math.log(47) + math.log(49 / 48) / 2)
    )
    assert SLACK == 49 / 48


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
    with pytest.raises(ValueError, match="48/49"):
        TransformerEncoding(keys[:3]).required_query_norm(0.99)
