"""The forward pass of a decoder-only model in float32, with whatever attention is given."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.engines.plain.files import Trained

__all__ = ["Attention", "LayerTrace", "causal_attention", "hidden_states", "logits", "traces"]

Floats: TypeAlias = NDArray[np.float32]
Attention: TypeAlias = Callable[[Floats, Floats, Floats], Floats]
"""``attention(queries, keys, values)`` of one head, each (n, d): causal outputs (n, d); scores are <q, k>/sqrt d."""


@dataclass(frozen=True, slots=True, eq=False)
class LayerTrace:
    """What one layer's attention was given.

    Parameters
    ----------
    queries : ndarray of float32, shape (heads, n, d)
        Rotated by position.
    keys, values : ndarray of float32, shape (kv_heads, n, d)
        Keys rotated by position.
    """

    queries: Floats
    keys: Floats
    values: Floats


def causal_attention(queries: Floats, keys: Floats, values: Floats) -> Floats:
    """Return exact causal attention; see `Attention`."""
    scores = queries @ keys.T / np.float32(np.sqrt(keys.shape[1]))
    scores[np.triu_indices(len(scores), 1)] = -np.inf
    scores -= scores.max(axis=1, keepdims=True)
    np.exp(scores, out=scores)
    outputs: Floats = scores @ values / scores.sum(axis=1, keepdims=True)
    return outputs


def hidden_states(
    model: Trained,
    tokens: NDArray[Any],
    attention: Attention = causal_attention,
    watch: Callable[[LayerTrace], None] = lambda trace: None,
) -> Floats:
    """Return the last hidden states of a text.

    Parameters
    ----------
    model : Trained
        The model.
    tokens : ndarray of int, shape (n,)
        The text, from position 0 on.
    attention : callable
        See `Attention`.
    watch : callable
        Called with each layer's `LayerTrace`, from the first to the last.

    Returns
    -------
    ndarray of float32, shape (n, H)
        Before the last norm.
    """
    weights, states = model.weights, model.weights["embed"][tokens]
    turn = _rotation(len(tokens), model.dim, model.rotation_base)
    for layer in range(model.layers):
        normed = _normed(states, weights[f"{layer}.attention_norm"], model.epsilon)
        queries, keys, values = (
            (normed @ weights[f"{layer}.{name}"].T).reshape(len(tokens), -1, model.dim).transpose(1, 0, 2)
            for name in ("query", "key", "value")
        )
        trace = LayerTrace(_turned(queries, turn), _turned(keys, turn), values)
        watch(trace)
        outputs = [
            attention(trace.queries[head], trace.keys[head // model.group], values[head // model.group])
            for head in range(model.heads)
        ]
        states = states + np.concatenate(outputs, axis=1) @ weights[f"{layer}.output"].T
        normed = _normed(states, weights[f"{layer}.mlp_norm"], model.epsilon)
        gate = normed @ weights[f"{layer}.gate"].T
        gate /= 1 + np.exp(-gate)
        states = states + (gate * (normed @ weights[f"{layer}.up"].T)) @ weights[f"{layer}.down"].T
    return np.asarray(states)


def logits(model: Trained, states: Floats) -> Floats:
    """Return what the model says after last hidden states.

    Parameters
    ----------
    model : Trained
        The model.
    states : ndarray of float32, shape (m, H)
        Some of what `hidden_states` returned.

    Returns
    -------
    ndarray of float32, shape (m, V)
        A logit for every token.
    """
    return np.asarray(_normed(states, model.weights["norm"], model.epsilon) @ model.weights["unembed"].T)


def traces(model: Trained, tokens: NDArray[Any]) -> list[LayerTrace]:
    """Return what every layer's attention is given on a text.

    Parameters
    ----------
    model : Trained
        The model.
    tokens : ndarray of int, shape (n,)
        The text.

    Returns
    -------
    list of LayerTrace
        One a layer.
    """
    found: list[LayerTrace] = []
    hidden_states(model, tokens, watch=found.append)
    return found


def _normed(states: Floats, gain: Floats, epsilon: float) -> Floats:
    """Divide rows by their root mean square."""
    return np.asarray(states / np.sqrt(np.square(states).mean(axis=1, keepdims=True) + epsilon) * gain)


def _rotation(tokens: int, dim: int, base: float) -> NDArray[np.complex64]:
    """Return by what positions turn pairs of channels, shape (n, d/2)."""
    frequencies = base ** (-np.arange(0, dim, 2) / dim)
    angles = np.arange(tokens)[:, None] * frequencies
    return np.asarray(np.exp(1j * angles), np.complex64)


def _turned(rows: Floats, turn: NDArray[np.complex64]) -> Floats:
    """Turn neighbouring channels, each pair a complex number."""
    pairs = np.ascontiguousarray(rows, np.float32).view(np.complex64)
    return np.asarray((pairs * turn).view(np.float32))
