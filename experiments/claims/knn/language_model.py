"""A small causal language model of one attention layer, trained with whatever gradients attention is given."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Protocol, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.checks import Matrix
from kvfloor.attention.gradients import Gradients, attention_gradients
from kvfloor.attention.inputs import Inputs

__all__ = ["Adam", "AttentionLayer", "ExactLayer", "Weights", "loss_and_gradients"]

Text: TypeAlias = NDArray[np.integer]
_Doubles: TypeAlias = NDArray[np.float64]

REACH = 3  # characters that a token's embedding sees: its own and the ones before


class AttentionLayer(Protocol):
    """How causal attention is computed, forward and backward."""

    def forward(self, inputs: Inputs) -> Matrix:
        """Return outputs, shape (n, d)."""

    def backward(self, inputs: Inputs, upstream: Matrix) -> Gradients:
        """Return gradients, given those of the outputs."""


class ExactLayer:
    """Causal softmax attention and its exact gradients, with the whole matrix of scores in memory."""

    def forward(self, inputs: Inputs) -> Matrix:
        """Return outputs, shape (n, d)."""
        scores = inputs.queries @ inputs.keys.T
        scores[np.triu_indices(len(scores), 1)] = -np.inf
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        outputs: Matrix = weights @ inputs.values / weights.sum(axis=1, keepdims=True)
        return outputs

    def backward(self, inputs: Inputs, upstream: Matrix) -> Gradients:
        """Return the exact gradients."""
        return attention_gradients(inputs, upstream, causal=True)


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """The weights of the model, or a gradient of their shapes.

    A token's state is the sum of the embeddings of its character and of the two before it; attention over
    the states adds to it, and a linear map reads the next character. The characters before let one layer
    look for the places where the present ones stood, and copy what came next.

    Parameters
    ----------
    embeddings : ndarray, shape (3, characters, d)
        One table for each place.
    queries, keys, values, outputs : ndarray, shape (d, d)
        The maps of the attention layer.
    readout : ndarray, shape (d, characters)
        Logits of the next character.
    """

    embeddings: _Doubles
    queries: _Doubles
    keys: _Doubles
    values: _Doubles
    outputs: _Doubles
    readout: _Doubles

    @classmethod
    def draw(cls, characters: int, dim: int, rng: np.random.Generator) -> Self:
        """Draw initial weights.

        Parameters
        ----------
        characters : int
            Size of the alphabet.
        dim : int
            Width d of the model.
        rng : numpy.random.Generator
            Source of randomness.

        Returns
        -------
        Weights
            Gaussian, with variances that keep states and outputs of order 1.
        """
        queries, keys, values, outputs = rng.normal(size=(4, dim, dim)) / dim**0.5
        embeddings = rng.normal(size=(REACH, characters, dim)) / REACH**0.5
        readout = rng.normal(size=(dim, characters)) / dim**0.5
        return cls(embeddings, queries, keys, values, outputs, readout)

    def arrays(self) -> list[_Doubles]:
        """List the arrays, in order."""
        return [getattr(self, field.name) for field in fields(self)]

    def map(self, function: Callable[..., _Doubles], *others: "Weights") -> "Weights":
        """Return the parameters that a function makes of these and others, array by array."""
        return Weights(*map(function, self.arrays(), *(other.arrays() for other in others)))


def loss_and_gradients(
    parameters: Weights, text: Text, layer: AttentionLayer, *, backward: bool = True
) -> tuple[float, Weights | None]:
    """Return the mean cross-entropy of the next character, and its gradient.

    Parameters
    ----------
    parameters : Weights
        The weights.
    text : ndarray of int, shape (n + 3,)
        Characters: the first two only give context, the last is only predicted.
    layer : AttentionLayer
        Computes attention over the n tokens.
    backward : bool
        Whether the gradient is wanted.

    Returns
    -------
    loss : float
        In nats a character.
    gradients : Weights or None
        Of the loss, with the layer's gradients of attention.
    """
    count = len(text) - REACH
    seen = [text[REACH - 1 - place : REACH - 1 - place + count] for place in range(REACH)]
    targets = text[REACH:]
    states = sum(table[row] for table, row in zip(parameters.embeddings, seen, strict=True))
    scale = len(parameters.queries) ** -0.5
    inputs = Inputs(
        scale * (states @ parameters.queries), states @ parameters.keys, states @ parameters.values
    )
    mixed = layer.forward(inputs)
    hidden = states + mixed @ parameters.outputs
    logits = hidden @ parameters.readout
    logits -= logits.max(axis=1, keepdims=True)
    chances = np.exp(logits)
    sums = chances.sum(axis=1)
    loss = float(np.mean(np.log(sums) - logits[np.arange(count), targets]))
    if not backward:
        return loss, None

    slopes = chances / sums[:, None]
    slopes[np.arange(count), targets] -= 1
    slopes /= count
    to_hidden = slopes @ parameters.readout.T
    to_mixed = to_hidden @ parameters.outputs.T
    inner = layer.backward(inputs, to_mixed)
    to_q = scale * inner.queries
    to_states = (
        to_hidden
        + to_q @ parameters.queries.T
        + inner.keys @ parameters.keys.T
        + inner.values @ parameters.values.T
    )
    tables = np.zeros_like(parameters.embeddings)
    for table, row in zip(tables, seen, strict=True):
        np.add.at(table, row, to_states)
    return loss, Weights(
        embeddings=tables,
        queries=states.T @ to_q,
        keys=states.T @ inner.keys,
        values=states.T @ inner.values,
        outputs=mixed.T @ to_hidden,
        readout=hidden.T @ slopes,
    )


class Adam:
    """Adam's steps for a set of parameters.

    Parameters
    ----------
    parameters : Weights
        Where to start.
    rate : float
        Length of a step, positive.

    References
    ----------
    D. P. Kingma, J. Ba. Adam: a method for stochastic optimization. ICLR 2015.
    """

    def __init__(self, parameters: Weights, rate: float) -> None:
        self.parameters, self.rate = parameters, rate
        self._means = self._squares = parameters.map(np.zeros_like)
        self._steps = 0

    def step(self, gradients: Weights) -> None:
        """Go one step against a gradient."""
        self._steps += 1
        first, second = 1 - 0.9**self._steps, 1 - 0.99**self._steps
        self._means = self._means.map(lambda m, g: 0.9 * m + 0.1 * g, gradients)
        self._squares = self._squares.map(lambda s, g: 0.99 * s + 0.01 * g * g, gradients)
        self.parameters = self.parameters.map(
            lambda p, m, s: p - self.rate * (m / first) / (np.sqrt(s / second) + 1e-8),
            self._means,
            self._squares,
        )
