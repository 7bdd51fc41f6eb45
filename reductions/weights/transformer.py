"""INDEX compiled into the weights of a decoder-only transformer (theory 12).

The model needs no training: its matrices are selectors, written down as NumPy arrays under the names that
the open decoder-only models share. Facts and questions are rows of its embedding table, an attention head
is softmax attention over the facts, and the last layer multiplexes one bit of the answer to the output.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log, sqrt
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from kvfloor.reductions.encodings.protocol import Floats
from kvfloor.reductions.keys.projections import check_unit_rows, gaussian_keys
from kvfloor.reductions.problems.index import Index
from kvfloor.reductions.problems.strings import Symbols

__all__ = ["ONE", "ZERO", "Residual", "TransformerEncoding", "Weights"]

Weights: TypeAlias = dict[str, NDArray[np.float32]]

ZERO, ONE = 0, 1
"""The two tokens that the model answers with; facts and questions come after them."""

QUERY_NORM = 60.0
GATE = 40.0  # silu(GATE / 2) is GATE / 2 to 2e-9: an open gate; a closed one is exactly 0
SLACK = 49 / 48  # by how much RMSNorm may move a score, at most (theory 12)
WIDTH_MULTIPLE = 64


@dataclass(frozen=True, slots=True)
class Residual:
    """Where things lie in the residual stream.

    Parameters
    ----------
    dim : int
        d, the dimension of a head.
    bits : int
        R, the bits of a token: layers x key-value heads x d.
    """

    dim: int
    bits: int

    @property
    def key(self) -> slice:
        """The key of a fact, d channels."""
        return slice(0, self.dim)

    @property
    def query(self) -> slice:
        """The query of a question, d channels."""
        return slice(self.dim, 2 * self.dim)

    @property
    def value(self) -> slice:
        """The values of a fact, R channels."""
        return self._block(0)

    @property
    def out(self) -> slice:
        """What the attention heads write, R channels."""
        return self._block(1)

    @property
    def select(self) -> slice:
        """Which of the R bits a question asks for, R channels."""
        return self._block(2)

    @property
    def answer(self) -> int:
        """The channel whose sign is the bit."""
        return 2 * self.dim + 3 * self.bits

    @property
    def ballast(self) -> int:
        """The channel that gives every token the same length."""
        return self.answer + 1

    @property
    def width(self) -> int:
        """The number H of channels, a multiple of 64."""
        return -(-(self.ballast + 1) // WIDTH_MULTIPLE) * WIDTH_MULTIPLE

    def _block(self, index: int) -> slice:
        """Return one of the blocks of R channels that follow the query."""
        start = 2 * self.dim + index * self.bits
        return slice(start, start + self.bits)


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
        for name in ("layers", "kv_heads", "group", "query_norm"):
            if not getattr(self, name) >= 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        check_unit_rows(self.keys)
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
        query_norm: float = QUERY_NORM,
    ) -> TransformerEncoding:
        """Return an encoding with random keys.

        Parameters
        ----------
        tokens, dim : int
            Facts n >= 2 and dimension of a head, an even number of at least 4.
        rng : numpy.random.Generator
            Public coins.
        layers, kv_heads, group : int
            As in the class.
        query_norm : float
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
        if tokens < 2:
            raise ValueError(f"tokens must be at least 2, got {tokens}")
        if dim < 4 or dim % 2:
            raise ValueError(f"dim must be an even number of at least 4, got {dim}")
        keys = np.zeros((tokens, dim), np.float32)
        keys[:, :-1] = gaussian_keys(tokens, dim - 1, rng, dtype=np.float32)
        return cls(keys, layers, kv_heads, group, query_norm)

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
    def residual(self) -> Residual:
        """Where things lie in the residual stream."""
        return Residual(self.dim, self.bits_per_token)

    def required_query_norm(self, incoherence: float) -> float:
        """Return a query norm for which every bit of the whole cache is proved to decode (theory 12).

        Parameters
        ----------
        incoherence : float
            eps: no two keys have a larger inner product; in [0, 48/49).

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
            raise ValueError(f"incoherence must be in [0, 48/49), got {incoherence}")
        return (log(self.tokens - 1) + log(SLACK) / 2) / (1 / SLACK - incoherence)

    def encode(self, x: Symbols) -> NDArray[np.float32]:
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
        at = self.residual
        rows = np.zeros((self.tokens, at.width), np.float32)
        rows[:, at.key] = self.keys
        rows[:, at.value] = 2.0 * bits - 1.0
        rows[:, at.query.stop - 1] = 1.0
        return self._weighed(rows)

    def row_questions(self, tokens: Symbols) -> NDArray[np.float32]:
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
        rows = np.zeros((len(tokens), self.residual.width), np.float32)
        rows[:, self.residual.query] = self.keys[tokens]
        return self._weighed(rows)

    def bit_questions(self, indices: Symbols) -> NDArray[np.float32]:
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
        at = self.residual
        rows = np.zeros((len(token), at.width), np.float32)
        rows[:, at.query] = self.keys[token]
        rows[np.arange(len(token)), at.select.start + bit] = 1.0
        return self._weighed(rows)

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
        return (hidden[:, self.residual.out] > 0).astype(np.uint8)

    def weights(self) -> Weights:
        """Return the matrices of the model; they do not depend on x.

        Returns
        -------
        dict of str to ndarray of float32
            Under the names that Llama, Mistral, Qwen2 and Qwen3 share, without the embedding table.
            `q_norm` and `k_norm` are for classes that normalise queries and keys (Qwen3).
        """
        at, width = self.residual, self.residual.width
        found: Weights = {"model.norm.weight": np.ones(width, np.float32)}
        found["lm_head.weight"] = np.zeros((2, width), np.float32)
        found["lm_head.weight"][[ZERO, ONE], at.answer] = -1.0, 1.0
        for layer in range(self.layers):
            parts = {
                **self._attention(layer),
                **self._multiplexer(open=layer == self.layers - 1),
                "input_layernorm": np.ones(width, np.float32),
                "post_attention_layernorm": np.ones(width, np.float32),
            }
            found |= {f"model.layers.{layer}.{name}.weight": part for name, part in parts.items()}
        return found

    def _attention(self, layer: int) -> Weights:
        """Return the matrices of one attention layer: selectors of the residual stream's blocks."""
        at, dim = self.residual, self.dim
        heads, group = self.kv_heads, self.group
        own = at.value.start + layer * heads * dim
        key, value = np.zeros((2, heads * dim, at.width), np.float32)
        query = np.zeros((heads * group * dim, at.width), np.float32)
        # Inputs arrive halved by RMSNorm, and the model divides scores by sqrt d.
        query[np.arange(len(query)), at.query.start + np.arange(len(query)) % dim] = (
            4.0 * self.query_norm * sqrt(dim)
        )
        key[np.arange(len(key)), at.key.start + np.arange(len(key)) % dim] = 1.0
        value[np.arange(len(value)), own + np.arange(len(value))] = 1.0
        out = np.zeros((at.width, len(query)), np.float32)
        head, channel = np.divmod(np.arange(len(query)), dim)
        out[own - at.value.start + at.out.start + head // group * dim + channel, np.arange(len(query))] = (
            1.0 / group
        )
        return {
            "self_attn.q_proj": query,
            "self_attn.k_proj": key,
            "self_attn.v_proj": value,
            "self_attn.o_proj": out,
            "self_attn.q_norm": np.full(dim, self.query_norm / sqrt(dim), np.float32),
            "self_attn.k_norm": np.ones(dim, np.float32),
        }

    def _multiplexer(self, *, open: bool) -> Weights:
        """Return a SwiGLU that adds the selected bit's channel to the answer, or one that does nothing."""
        at = self.residual
        gate, up = np.zeros((2, self.bits_per_token, at.width), np.float32)
        down = np.zeros((at.width, self.bits_per_token), np.float32)
        if open:
            each = np.arange(self.bits_per_token)
            gate[each, at.select.start + each] = GATE
            up[each, at.out.start + each] = 1.0
            down[at.answer] = 1.0
        return {"mlp.gate_proj": gate, "mlp.up_proj": up, "mlp.down_proj": down}

    def _weighed(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Give every row the length 2 sqrt H, so that RMSNorm divides it by exactly 2."""
        squares: Any = np.square(rows, dtype=np.float64).sum(axis=1)
        rows[:, self.residual.ballast] = np.sqrt(4.0 * self.residual.width - squares)
        return rows
