"""The plain forward pass that all weights are tested against."""

import math

import numpy as np
import pytest


def rms_norm(x, gain=1.0):
    """Divide rows by their root mean square."""
    mean = np.square(x).mean(axis=-1, keepdims=True)
    return gain * np.divide(x, np.sqrt(mean), out=np.zeros_like(x), where=mean > 0)


def run(shape, weights, facts, questions, *, normalise=False):
    """Return last hidden states and logits of questions after facts: a decoder-only model, in float64."""
    weights = {name: w.astype(np.float64) for name, w in weights.items()}
    x = np.vstack([facts, questions]).astype(np.float64)
    dim, heads, group = shape.dim, shape.kv_heads, shape.group
    # A question sees the facts and itself; a fact sees the facts up to itself.
    sees = np.tril(np.ones((len(x), len(x)), bool))
    sees[len(facts) :, len(facts) :] = np.eye(len(questions), dtype=bool)
    for layer in range(shape.layers):
        w = {k.partition(".")[2]: v for k, v in weights.items() if k.startswith(f"{layer}.")}
        y = rms_norm(x)
        q = (y @ w["query"].T).reshape(len(x), heads * group, dim)
        k = (y @ w["key"].T).reshape(len(x), heads, dim)
        v = (y @ w["value"].T).reshape(len(x), heads, dim)
        if normalise:
            q, k = rms_norm(q, w["query_gain"]), rms_norm(k, w["key_gain"])
        heads_out = []
        for head in range(heads * group):
            scores = np.where(sees, q[:, head] @ k[:, head // group].T / math.sqrt(dim), -np.inf)
            attention = np.exp(scores - scores.max(axis=1, keepdims=True))
            heads_out.append(attention / attention.sum(axis=1, keepdims=True) @ v[:, head // group])
        x = x + np.hstack(heads_out) @ w["output"].T
        y = rms_norm(x)
        gate = y @ w["gate"].T
        x = x + (gate / (1 + np.exp(-gate)) * (y @ w["up"].T)) @ w["down"].T
    hidden = rms_norm(x)[len(facts) :]
    return hidden, hidden @ weights["unembed"].T


@pytest.fixture(scope="session")
def forward():
    """Return the forward pass."""
    return run
