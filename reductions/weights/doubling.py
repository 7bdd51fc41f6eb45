"""A transformer that doubles its reach a layer: POINTER CHASING by pointer jumping (theory 19).

Attention only, no norms. A node's row holds its address and, after layer j, the address of the node 2^j steps on:
a head whose query is that pointer finds the node it leads to and copies its pointer. A question's row holds an address,
where it stands; in the layers of the binary digits of k a second head moves it along the pointers of that layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import NamedTuple

import numpy as np

from kvfloor.reductions.checks import Floats, check_count
from kvfloor.reductions.keys.known import Keys
from kvfloor.reductions.problems.strings import Symbols
from kvfloor.reductions.weights.basis import Basis, Rows, linear, wires

__all__ = ["Doubling", "Head"]


class Head(NamedTuple):
    """The matrices of a head, each to be multiplied by a row from the left; scores are plain inner products."""

    query: Rows
    key: Rows
    value: Rows
    out: Rows


@dataclass(frozen=True, slots=True, eq=False)
class Doubling:
    """k steps among n nodes in as many layers as k has binary digits.

    Parameters
    ----------
    addresses : Keys
        n of d dimensions.
    hops : int
        k, at least 1.

    Raises
    ------
    ValueError
        If a number is out of its range, or two addresses coincide.
    """

    addresses: Keys
    hops: int = 1

    def __post_init__(self) -> None:
        check_count("hops", self.hops)
        if self.addresses.incoherence() >= 1:
            raise ValueError("addresses must differ, got two that coincide")

    @property
    def layers(self) -> int:
        """L = floor(log2 k) + 1."""
        return self.hops.bit_length()

    @property
    def query_norm(self) -> float:
        """C with C (1 - eps) >= ln n + 1 + ln(5 C L), for which every answer is right (theory 19)."""
        apart, tokens = 1 - self.addresses.incoherence(), len(self.addresses)
        norm = 1.0
        for _ in range(60):  # the right side is a contraction from here on
            norm = max(1.0, (log(tokens) + 1 + log(5 * norm * self.layers)) / apart)
        return 1.01 * norm

    @property
    def stream(self) -> Basis:
        """Named directions: address, a pointer a layer, and where a question stands after each move."""
        dim = self.addresses.dim
        return Basis.of(address=(dim,), pointer=(self.layers, dim), place=(self.hops.bit_count() + 1, dim))

    def table(self, f: Symbols) -> Rows:
        """Return the rows of the nodes: their addresses, and where f leads, shape (n, H)."""
        rows = self.addresses.rows
        pointers = np.zeros((len(rows), self.layers, rows.shape[1]), np.float32)
        pointers[:, 0] = rows[f]
        return self.stream.vectors(len(rows), address=rows, pointer=pointers)

    def questions(self, starts: Symbols) -> Rows:
        """Return the rows of questions, which stand at the start, shape (m, H)."""
        places = np.zeros((len(starts), self.hops.bit_count() + 1, self.addresses.dim), np.float32)
        places[:, 0] = self.addresses.rows[starts]
        return self.stream.vectors(len(starts), place=places)

    def jump(self, layer: int) -> Head | None:
        """Return the head that doubles the pointers of the nodes in a layer, or None in the last."""
        last = layer == self.layers - 1
        return None if last else self._head(("pointer", layer), ("pointer", layer), ("pointer", layer + 1))

    def walk(self, layer: int) -> Head | None:
        """Return the head that moves questions along the pointers of a layer, or None where k has the digit 0."""
        if not self.hops >> layer & 1:
            return None
        moves = (self.hops & ((1 << layer) - 1)).bit_count()
        return self._head(("place", moves), ("pointer", layer), ("place", moves + 1))

    def decode(self, rows: Floats) -> Symbols:
        """Return the nodes where questions stand in the end: those of the nearest addresses."""
        stands = self.stream.coordinates(rows, "place", self.hops.bit_count())
        nodes: Symbols = (stands @ self.addresses.rows.T).argmax(axis=1)
        return nodes

    def _head(self, query: tuple[str, int], value: tuple[str, int], out: tuple[str, int]) -> Head:
        """Return the head that looks a direction up among addresses and copies one to another."""
        stream, inner = self.stream, Basis.of(channel=(self.addresses.dim,))
        channels = inner.named("channel")

        def reads(name: str, *labels: int, weight: float = 1.0) -> Rows:
            return linear(stream, inner, wires(stream.named(name, *labels), channels, weight))

        return Head(
            reads(*query, weight=self.query_norm),
            reads("address"),
            reads(*value),
            linear(inner, stream, wires(channels, stream.named(*out), 1.0)),
        )
