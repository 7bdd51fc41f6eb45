"""Models from matrices: every class attends as plain attention does, and wrong parts are told."""

import numpy as np
import pytest

from kvfloor.attention.engines.transformers.library import quiet
from kvfloor.attention.engines.transformers.model import ARCHITECTURES, FIRST_FREE, Model, build, set_rows


def test_a_model_is_parsed():
    assert Model.parse("llama") == Model()
    parsed = Model.parse("qwen3:layers=2,heads=4,kv_heads=2,dtype=bfloat16")
    assert parsed == Model("qwen3", 2, 4, 2, "bfloat16")
    assert (parsed.group, Model(heads=3).kv_heads) == (2, 3)


@pytest.mark.parametrize(("text", "sentence"), [
    ("lama", "architecture is 'lama', expected one of llama, mistral, qwen2, qwen3"),
    ("llama:layers=0", "layers is 0"),
    ("llama:layers=two", "layers is 'two'"),
    ("llama:depth=2", "expected one of layers, heads, kv_heads, dtype"),
    ("llama:heads=3,kv_heads=2", "kv_heads is 2, expected a divisor of the 3 heads"),
    ("llama:dtype=int8", "dtype is 'int8'"),
])  # fmt: skip
def test_a_wrong_model_is_one_sentence(text, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        Model.parse(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("architecture", ["llama", "mistral", "qwen2"])
def test_every_class_is_plain_attention_on_selector_matrices(torch, weights, architecture):
    built = build(Model(architecture, heads=2), weights, 8, 40)
    rows = np.random.default_rng(3).standard_normal((40, 64)).astype(np.float32)
    with torch.no_grad(), quiet():
        ids = set_rows(built, rows)
        hidden = built.model(input_ids=ids[None]).last_hidden_state[0].numpy()

    def norm(x):
        return x / np.sqrt(np.square(x).mean(axis=1, keepdims=True))

    x = rows.astype(np.float64)
    y, out = norm(x), x.copy()
    for head in range(2):
        at = slice(8 * head, 8 * head + 8)
        scores = np.where(np.tril(np.ones((40, 40), bool)), 900 * y[:, at] @ y[:, at].T / np.sqrt(8), -np.inf)
        attention = np.exp(scores - scores.max(axis=1, keepdims=True))
        values = y[:, 16 + 8 * head : 24 + 8 * head]
        out[:, 32 + 8 * head : 40 + 8 * head] += attention / attention.sum(axis=1, keepdims=True) @ values
    # Scores reach a few thousand; float32 keeps 24 bits of them: 1e-3 in the exponent.
    assert np.abs(hidden - norm(out)).max() < 1e-2


def test_the_table_holds_the_rows_and_nothing_else(torch, weights):
    built = build(Model(heads=2), weights, 8, 5)
    set_rows(built, np.ones((5, 64), np.float32))
    ids = set_rows(built, np.full((2, 64), 3, np.float32))
    table = built.model.embed_tokens.weight
    assert ids.tolist() == [FIRST_FREE, FIRST_FREE + 1]
    assert table[ids].eq(3).all()
    assert table.count_nonzero() == 2 * 64


def test_a_missing_or_misshapen_matrix_is_told(torch, weights):
    with pytest.raises(ValueError, match=r"Llama needs a matrix model\.layers\.1"):
        build(Model(layers=2, heads=2), weights, 8, 4)
    with pytest.raises(ValueError, match=r"q_proj.weight has shape \(16, 64\), expected \(32, 64\)"):
        build(Model(heads=4), weights, 8, 4)
    with pytest.raises(ValueError, match="llama has no sliding window"):
        build(Model(heads=2), weights, 8, 4, sliding_window=3)


def test_positions_do_not_matter(torch, weights):
    for architecture in ARCHITECTURES:
        built = build(Model(architecture, heads=2), weights, 8, 2)
        rotary = built.model.rotary_emb(torch.zeros(1, 1, 64), torch.tensor([[0, 1 << 19]]))
        assert rotary[0].eq(1).all(), architecture
        assert rotary[1].abs().max() < 1e-9, architecture
