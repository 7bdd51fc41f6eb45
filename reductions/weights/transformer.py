"""INDEX as the input of a decoder-only transformer, and its output as bits (theory 12).

The model needs no training: `kvfloor.reductions.weights.compiler` wires its matrices. Facts and questions are
rows of its input (of its embedding table, where it has no other way in), an attention head is softmax
attention over the facts, and the last layer multiplexes one bit of the answer to the output.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log

import numpy as np

from kvfloor.reductions.checks import Floats, check_count
from kvfloor.reductions.keys.incoherence import check_unit_rows
from kvfloor.reductions.keys.projections import gaussian_keys
from kvfloor.reductions.problems.index import Index
from kvfloor.reductions.problems.strings import Symbols
from kvfloor.reductions.weights.basis import Basis, Rows
from kvfloor.reductions.weights.compiler import (
    DIVISOR,
    ONE,
    ZERO,
    Shape,
    Weights,
    compiled,
    residual_stream,
    weighed,
)

__all__ = ["ONE", "ZERO", "TransformerEncoding", "Weights"]

QUERY_NORM = 60.0
SLACK = 1 + 1 / (3 * DIVISOR**2)  # by how much RMSNorm may move a score, at most (theory 12)


@dataclass(frozen=True, slots=True, eq=False)
class TransformerEncoding:
    """INDEX in the values of every layer and head of a transformer; the keys are public.

    Parameters
    ----------
    keys : ndarray, shape (n, d)
        Unit rows whose last channel is 0: that channel is the query of the facts, which ask nothing.
    layers : int
        Number of layers, at least 1.
    kv_heads : int
        Key-value heads of a layer, at least 1.
    group : int
        Query heads that share a key-value head, at least 1.
    query_norm : float
        beta: a question (i, j) scores the fact l at beta <k_i, k_l>.

    Raises
    ------
    ValueError
        If the keys are not of that shape, or a number is below 1.
    """

    keys: Floats
    layers: int = 1
    kv_heads: int = 1
    group: int = 1
    query_norm: float = QUERY_NORM

    def __post_init__(self) -> None:
        if not self.query_norm >= 1:
            raise ValueError(f"query_norm must be at least 1, got {self.query_norm}")
        check_unit_rows(self.keys)
        _ = self.shape  # tells of wrong sizes
        if len(self.keys) < 2 or self.keys[:, -1].any():
            raise ValueError(
                "keys must be at least 2 rows whose last channel is 0, "
                f"got {len(self.keys)} rows, the last channel up to {np.abs(self.keys[:, -1]).max():g}"
            )

    @classmethod
    def draw(
        cls,
        tokens: int,
        dim: int,
        rng: np.random.Generator,
        *,
        layers: int = 1,
        kv_heads: int = 1,
        group: int = 1,
    ) -> TransformerEncoding:
        """Return an encoding with random keys, at the query norm of the class.

        Parameters
        ----------
        tokens, dim : int
            Facts n >= 2 and dimension of a head, an even number of at least 4.
        rng : numpy.random.Generator
            Public coins.
        layers, kv_heads, group : int
            As in the class.

        Returns
        -------
        TransformerEncoding
            With Gaussian keys on d - 1 channels.

        Raises
        ------
        ValueError
            If a size is out of range.
        """
        check_count("tokens", tokens, 2)
        if dim < 4 or dim % 2:
            raise ValueError(f"dim must be an even number of at least 4, got {dim}")
        keys = np.zeros((tokens, dim), np.float32)
        keys[:, :-1] = gaussian_keys(tokens, dim - 1, rng, dtype=np.float32)
        return cls(keys, layers, kv_heads, group)

    @property
    def tokens(self) -> int:
        """Number n of facts."""
        return len(self.keys)

    @property
    def dim(self) -> int:
        """Dimension d of a head."""
        return int(self.keys.shape[1])

    @property
    def bits_per_token(self) -> int:
        """R = layers x kv_heads x d: the bits that the values of one fact hold."""
        return self.layers * self.kv_heads * self.dim

    @property
    def problem(self) -> Index:
        """INDEX on n R bits; the bit (i, j) is at position i R + j."""
        return Index(self.tokens * self.bits_per_token)

    @property
    def shape(self) -> Shape:
        """The sizes of the model."""
        return Shape(self.layers, self.kv_heads, self.group, self.dim)

    @property
    def stream(self) -> Basis:
        """The named directions of the model's residual stream."""
        return residual_stream(self.shape, shared=True, answer=True)

    def required_query_norm(self, incoherence: float) -> float:
        """Return a query norm for which every bit of the whole cache is proved to decode (theory 12).

        Parameters
        ----------
        incoherence : float
            eps: no two keys have a larger inner product; in [0, 768/769).

        Returns
        -------
        float
            Decoding is right for every larger `query_norm`, and for every (1 +- eta)-approximation of the
            heads' outputs with eta < 1: values are +-1, and a relative error never moves a sign.

        Raises
        ------
        ValueError
            If the incoherence is out of range.
        """
        if not 0 <= incoherence < 1 / SLACK:
            raise ValueError(f"incoherence must be in [0, 768/769), got {incoherence}")
        return (log(self.tokens - 1) + log(SLACK) / 2) / (1 / SLACK - incoherence)

    def encode(self, x: Symbols) -> Rows:
        """Return Alice's facts, the rows of her embedding table.

        Parameters
        ----------
        x : ndarray of int, shape (N,)
            Alice's bits.

        Returns
        -------
        ndarray of float32, shape (n, H)
            One row per fact.
        """
        bits = self.problem.check_string(x).reshape(self.tokens, self.bits_per_token)
        stream = self.stream
        asks_nothing = np.eye(self.dim)[-1]
        rows = stream.vectors(self.tokens, key=self.keys, value=2.0 * bits - 1.0, query=asks_nothing)
        return weighed(stream, rows)

    def row_questions(self, tokens: Symbols) -> Rows:
        """Return questions for all bits of some facts at once.

        Parameters
        ----------
        tokens : ndarray of int, shape (m,)
            Facts, each in 0..n-1.

        Returns
        -------
        ndarray of float32, shape (m, H)
            One question per fact: `read_rows` decodes the model's last hidden states.
        """
        stream = self.stream
        return weighed(stream, stream.vectors(len(tokens), query=self.keys[tokens]))

    def bit_questions(self, indices: Symbols) -> Rows:
        """Return questions for single bits, which the model answers with the token `ZERO` or `ONE`.

        Parameters
        ----------
        indices : ndarray of int, shape (m,)
            Positions in 0..N-1.

        Returns
        -------
        ndarray of float32, shape (m, H)
            One question per bit.
        """
        token, bit = np.divmod(self.problem.check_indices(indices), self.bits_per_token)
        stream, selected = self.stream, np.arange(self.bits_per_token) == bit[:, None]
        return weighed(stream, stream.vectors(len(token), query=self.keys[token], select=selected))

    def read_rows(self, hidden: Floats) -> Symbols:
        """Return the bits that stand in last hidden states.

        Parameters
        ----------
        hidden : ndarray, shape (m, H)
            The model's last hidden states at the questions of `row_questions`.

        Returns
        -------
        ndarray of uint8, shape (m, R)
            A positive channel is a 1.
        """
        return (self.stream.coordinates(hidden, "out") > 0).astype(np.uint8)

    def weights(self) -> Weights:
        """Return the matrices of the model; they do not depend on x.

        Returns
        -------
        dict of str to ndarray of float32
            Under the names of `kvfloor.reductions.weights.compiler.Weights`, without the embedding table.
        """
        return compiled(self.shape, self.stream, self.query_norm)
