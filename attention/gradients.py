"""Gradients of softmax attention, exact; `kvfloor.attention.knn.backward` estimates them (theory 9)."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from kvfloor.attention.checks import Matrix
from kvfloor.attention.inputs import Inputs, demand_causal

__all__ = ["Gradients", "attention_gradients"]

_QUERY_BLOCK = 256


@dataclass(frozen=True, slots=True, eq=False)
class Gradients:
    """Gradients of a loss with respect to the three inputs of attention.

    Parameters
    ----------
    queries : ndarray, shape (m, d)
        dQ.
    keys : ndarray, shape (n, d)
        dK.
    values : ndarray, shape (n, d_v)
        dV.
    """

    queries: Matrix
    keys: Matrix
    values: Matrix

    @classmethod
    def zeros(cls, inputs: Inputs) -> Self:
        """Return gradients to be added to."""
        return cls(*(np.zeros_like(array) for array in (inputs.queries, inputs.keys, inputs.values)))


def attention_gradients(inputs: Inputs, upstream: object, *, causal: bool = False) -> Gradients:
    """Return the exact gradients, a block of queries at a time.

    With O = P V and D_i = <G_i, O_i>: dV = P^T G, A_ij = P_ij (<G_i, V_j> - D_i), dQ = A K, dK = A^T Q.

    Parameters
    ----------
    inputs : Inputs
        Queries, keys and values.
    upstream : array_like, shape (m, d_v)
        G, the gradient of the loss with respect to the outputs.
    causal : bool
        Whether query i sees tokens 0..i only.

    Returns
    -------
    Gradients
        In the common type of the arguments.

    Raises
    ------
    ValueError
        If shapes disagree or an entry is not finite.
    """
    inputs, g = inputs.with_upstream(upstream)
    q, k, v = inputs.queries, inputs.keys, inputs.values
    if causal:
        demand_causal(q, k)
    found = Gradients.zeros(inputs)
    for start in range(0, len(q), _QUERY_BLOCK):
        rows = slice(start, start + _QUERY_BLOCK)
        weights = q[rows] @ k.T
        if causal:
            weights[np.arange(len(k)) > np.arange(start, start + len(weights))[:, None]] = -np.inf
        weights = np.exp(weights - weights.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        found.values[:] += weights.T @ g[rows]
        slopes = g[rows] @ v.T
        slopes -= np.einsum("ij,ij->i", weights, slopes)[:, None]  # D_i
        slopes *= weights
        found.queries[rows] = slopes @ k
        found.keys[:] += slopes.T @ q[rows]
    return found
