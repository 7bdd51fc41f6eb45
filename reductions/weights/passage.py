"""Any stream of keys and values through a transformer: each head of each layer is an attention of its own.

A token's row holds a key and a value for every head, a question's row a query for every head; the model's
logits are the heads' outputs. So every encoding into ordinary attention meets whatever engine runs the model.
The ballast is so long that what a layer adds to a row moves no later layer's scale by more than 1/(5 A^2),
A the divisor (theory 12).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kvfloor.reductions.checks import Floats
from kvfloor.reductions.encodings.protocol import Tokens
from kvfloor.reductions.weights.basis import Basis, Rows
from kvfloor.reductions.weights.compiler import Shape, Weights, compiled, residual_stream, weighed

__all__ = ["Passage"]


@dataclass(frozen=True, slots=True)
class Passage:
    """Attention of several heads as the input and output of a model.

    Columns of keys, values, queries and outputs are labelled by layer, head and channel, in this order.

    Parameters
    ----------
    shape : Shape
        The model.
    query_norm : float
        The length of the longest query of a head, positive: rows hold queries in units of it.
    divisor : float
        A: what RMSNorm divides rows by, a power of two.
    """

    shape: Shape
    query_norm: float
    divisor: float = 256.0

    def __post_init__(self) -> None:
        if not 0 < self.query_norm < np.inf:
            raise ValueError(f"query_norm must be positive and finite, got {self.query_norm}")

    @property
    def stream(self) -> Basis:
        """The named directions of the model's residual stream."""
        return residual_stream(self.shape, shared=False, answer=False)

    def weights(self) -> Weights:
        """Return the model's matrices; they depend on the sizes and the query norm alone.

        Returns
        -------
        dict of str to ndarray of float32
            Under the names of `kvfloor.reductions.weights.compiler.Weights`.
        """
        return compiled(self.shape, self.stream, self.query_norm, self.divisor)

    def tokens(self, tokens: Tokens) -> Rows:
        """Return tokens as rows of the model's input.

        Parameters
        ----------
        tokens : Tokens
            n keys and values of all heads side by side.

        Returns
        -------
        ndarray of float32, shape (n, H)
            They ask nothing: their queries are 0.
        """
        stream = self.stream
        rows = stream.vectors(len(tokens), key=tokens.keys, value=tokens.values)
        return weighed(stream, rows, self.divisor)

    def questions(self, queries: Floats) -> Rows:
        """Return queries as rows of the model's input.

        Parameters
        ----------
        queries : ndarray, shape (m, heads x d)
            Queries of all heads side by side.

        Returns
        -------
        ndarray of float32, shape (m, H)
            They hold nothing: their keys and values are 0.
        """
        stream = self.stream
        rows = stream.vectors(len(queries), query=queries / self.query_norm)
        return weighed(stream, rows, self.divisor)

    def outputs(self, logits: Floats, questions: Rows) -> Floats:
        """Return the heads' outputs by the model's logits.

        The model's last norm multiplies all channels alike; the ballast, which no layer touches, says by what.

        Parameters
        ----------
        logits : ndarray, shape (m, heads x d + 1)
            Of the questions.
        questions : ndarray of float32, shape (m, H)
            What was asked.

        Returns
        -------
        ndarray of float64, shape (m, heads x d)
            Outputs of all heads side by side.
        """
        ballast = self.stream.coordinates(questions, "ballast").astype(np.float64)
        return np.asarray(logits[:, :-1] * (ballast / logits[:, -1:]))
