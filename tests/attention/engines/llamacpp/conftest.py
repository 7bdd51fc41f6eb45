"""What these tests share: they need the extra `llamacpp`."""

import numpy as np
import pytest

from kvfloor.attention.engines.llamacpp.library import EXTRA


@pytest.fixture(scope="session")
def engine():
    """Skip where the extra is not installed."""
    for package in EXTRA:
        pytest.importorskip(package, reason=f"needs the extra llamacpp: {package} is not installed")


WIDTH, DIM, HEADS = 192, 32, 2


@pytest.fixture(scope="session")
def weights():
    """Return matrices of two key-value heads, each read by two query heads, that attend and do no more."""
    eye = np.eye(WIDTH)
    keys, values, out = eye[:64], eye[64:128], eye[:, 128:]
    grouped = np.concatenate([keys[:32], keys[:32], keys[32:], keys[32:]])
    mixed = np.concatenate([out[:, :32], out[:, :32], out[:, 32:], out[:, 32:]], axis=1) / 2
    layer = {
        "query": 20 * grouped, "key": keys, "value": values, "output": mixed,
        "gate": np.zeros((1, WIDTH)), "up": np.zeros((1, WIDTH)), "down": np.zeros((WIDTH, 1)),
    }  # fmt: skip
    matrices = {"unembed": eye[128:]} | {f"0.{name}": part for name, part in layer.items()}
    return {name: part.astype(np.float32) for name, part in matrices.items()}


def attended(facts, questions, *, gain=20.0, seen=None):
    """Return the logits of questions after facts: plain attention in float64, the two heads apart."""
    x = np.concatenate([facts, questions]).astype(np.float64)
    y = x / np.sqrt(np.square(x).mean(axis=1, keepdims=True))
    sees = np.tril(np.ones((len(x), len(x)), bool))
    if seen is not None:
        sees &= np.arange(len(x)) > np.arange(len(x))[:, None] - seen
    for head in range(HEADS):
        at = slice(DIM * head, DIM * head + DIM)
        scores = np.where(sees, gain * y[:, at] @ y[:, at].T / np.sqrt(DIM), -np.inf)
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        values = y[:, 64 + DIM * head : 64 + DIM * head + DIM]
        x[:, 128 + DIM * head : 128 + DIM * head + DIM] += (
            weights / weights.sum(axis=1, keepdims=True)
        ) @ values
    hidden = x / np.sqrt(np.square(x).mean(axis=1, keepdims=True))
    return hidden[len(facts) :, 128:]


@pytest.fixture(scope="session")
def plain():
    """Return plain attention."""
    return attended
