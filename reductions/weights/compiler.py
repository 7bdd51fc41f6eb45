"""The compiler: a decoder-only transformer whose heads answer attention over the rows it is fed (theory 12).

A row of the model's input holds a key, a query and a value a head as coordinates along named directions of
the residual stream, and a ballast that gives all rows one length, so that RMSNorm divides each by the same
power of two. Every matrix wires directions to directions: head h of layer l reads "key", "query" and "value"
of its own and writes to "out" of its own; a SwiGLU in the last layer copies the one coordinate of "out" that
"select" points at to "answer".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt
from typing import TypeAlias

import numpy as np

from kvfloor.reductions.weights.basis import Basis, Direction, Rows, Wire, linear, wires

__all__ = ["DIVISOR", "ONE", "ZERO", "Shape", "Weights", "compiled", "residual_stream", "weighed"]

Weights: TypeAlias = dict[str, Rows]
"""The matrices of a model. For each layer "0.query", "0.key", "0.value" (heads d, H) and "0.output" (H, heads d);
"0.gate" and "0.up" (M, H), "0.down" (H, M); "0.query_gain" and "0.key_gain" (d,) for models that normalise queries
and keys; "unembed" (V, H). Norms have no gains but these; whatever else a framework has (biases, rotation) is 0."""

ZERO, ONE = 0, 1
"""The two tokens that a model with an answer says; facts and questions come after them."""

DIVISOR = 16.0
"""What RMSNorm divides a row by, the length of a row in units of sqrt(H)."""

OPEN_GATE = 20.0  # silu(20) is 20 to 5e-8: an open gate; a closed one is exactly 0
WIDTH_MULTIPLE = 64


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a decoder-only model.

    Parameters
    ----------
    layers : int
        Number of layers, at least 1.
    kv_heads : int
        Key-value heads of a layer, at least 1.
    group : int
        Query heads that share a key-value head, at least 1.
    dim : int
        Dimension d of a head, at least 1.

    Raises
    ------
    ValueError
        If a number is below 1.
    """

    layers: int = 1
    kv_heads: int = 1
    group: int = 1
    dim: int = 64

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    @property
    def channels(self) -> tuple[int, int, int]:
        """Layers, key-value heads, d: what labels a coordinate of a token's values."""
        return self.layers, self.kv_heads, self.dim


def residual_stream(shape: Shape, *, shared: bool, answer: bool) -> Basis:
    """Return the directions of a model's residual stream.

    Parameters
    ----------
    shape : Shape
        The model.
    shared : bool
        Whether all heads have the same keys and queries: "key" and "query" are then labelled by the channel
        alone, else, like "value" and "out", by layer, head and channel.
    answer : bool
        Whether a question can select one coordinate, to be answered by a token.

    Returns
    -------
    Basis
        Their number H is a multiple of 64.
    """
    own = shape.channels
    address = (shape.dim,) if shared else own
    blocks: dict[str, tuple[int, ...]] = {"key": address, "query": address, "value": own, "out": own}
    if answer:
        blocks |= {"select": own, "answer": ()}
    used = len(Basis.of(**blocks, ballast=()))
    return Basis.of(**blocks, ballast=(), unused=(-used % WIDTH_MULTIPLE,))


def weighed(stream: Basis, rows: Rows, divisor: float = DIVISOR) -> Rows:
    """Give every row the length divisor x sqrt(H) by its ballast.

    Parameters
    ----------
    stream : Basis
        The residual stream, H directions.
    rows : ndarray of float32, shape (m, H)
        Without ballast, shorter than that; changed in place.
    divisor : float
        What RMSNorm is to divide the rows by.

    Returns
    -------
    ndarray of float32, shape (m, H)
        The same array.

    Raises
    ------
    ValueError
        If a row is too long.
    """
    room = divisor**2 * len(stream) - np.square(rows, dtype=np.float64).sum(axis=1)
    if room.min(initial=1.0) <= 0:
        raise ValueError(f"a row is longer than {divisor} sqrt({len(stream)})")
    (ballast,) = stream.named("ballast")
    rows[:, stream.place(ballast)] = np.sqrt(room)
    return rows


def compiled(shape: Shape, stream: Basis, gain: float, divisor: float = DIVISOR) -> Weights:
    """Return the matrices of the model.

    Parameters
    ----------
    shape : Shape
        The model.
    stream : Basis
        Its `residual_stream`.
    gain : float
        A head scores a token by gain x <query, key> of the rows' coordinates.
    divisor : float
        What RMSNorm divides rows by, as in `weighed`.

    Returns
    -------
    Weights
        With an answer the model says `ZERO` or `ONE`: the sign of the selected coordinate. Without one its
        logits are the coordinates of "out", in order, and of "ballast".
    """
    found: Weights = {}
    answers = any(d.name == "answer" for d in stream.directions)
    for layer in range(shape.layers):
        parts = _attention(shape, stream, layer, gain, divisor)
        parts |= _multiplexer(stream, divisor, answers=answers, last=layer == shape.layers - 1)
        parts |= {
            "query_gain": np.full(shape.dim, gain / sqrt(shape.dim), np.float32),
            "key_gain": np.ones(shape.dim, np.float32),
        }
        found |= {f"{layer}.{name}": part for name, part in parts.items()}
    if answers:
        tokens, (answer,) = Basis.of(token=(2,)), stream.named("answer")
        signs = zip(tokens.named("token"), (-1.0, 1.0), strict=True)
        found["unembed"] = linear(stream, tokens, ((answer, token, sign) for token, sign in signs))
    else:
        shown = stream.named("out") + stream.named("ballast")
        found["unembed"] = linear(stream, Basis(shown), wires(shown, shown, 1.0))
    return found


def _attention(shape: Shape, stream: Basis, layer: int, gain: float, divisor: float) -> Weights:
    """Return the matrices of one attention layer: heads read their directions and write to their own."""
    own = len(stream.named("key")[0].labels) > 1
    stored = shape.kv_heads, shape.dim
    keys, values = Basis.of(key=stored), Basis.of(value=stored)
    heads = Basis.of(head=(shape.kv_heads, shape.group, shape.dim))  # a group of query heads a key-value head

    def read(name: str, into: Basis, weight: float) -> Iterator[Wire]:
        for kv_head in range(shape.kv_heads):
            labels = (layer, kv_head) if own or name == "value" else ()
            yield from wires(stream.named(name, *labels), into.named(name, kv_head), weight)

    def grouped(name: str) -> Iterator[tuple[Direction, Direction]]:
        for kv_head, member in np.ndindex(shape.kv_heads, shape.group):
            labels = (layer, kv_head) if own or name == "out" else ()
            yield from zip(stream.named(name, *labels), heads.named("head", kv_head, member), strict=True)

    # Rows arrive divided by RMSNorm, and the model divides scores by sqrt d.
    scale = gain * divisor * sqrt(shape.dim)
    return {
        "query": linear(stream, heads, ((query, head, scale) for query, head in grouped("query"))),
        "key": linear(stream, keys, read("key", keys, divisor)),
        "value": linear(stream, values, read("value", values, divisor)),
        "output": linear(heads, stream, ((head, out, 1.0 / shape.group) for out, head in grouped("out"))),
    }


def _multiplexer(stream: Basis, divisor: float, *, answers: bool, last: bool) -> Weights:
    """Return a SwiGLU that adds the selected coordinate of "out" to the answer, or one that does nothing."""
    inner = Basis.of(bit=(len(stream.named("out")) if answers else 1,))
    gate: Iterator[Wire] = iter(())
    up = down = gate
    if answers and last:
        bits, (answer,) = inner.named("bit"), stream.named("answer")
        gate = wires(stream.named("select"), bits, OPEN_GATE * divisor)
        up = wires(stream.named("out"), bits, 1.0)
        down = ((bit, answer, 1.0) for bit in bits)
    return {
        "gate": linear(stream, inner, gate),
        "up": linear(stream, inner, up),
        "down": linear(inner, stream, down),
    }
