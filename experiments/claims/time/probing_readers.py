"""Readers of n d_v stored bits: some fix beforehand which entries they read, one looks at the query (theory 6).

Keys are public coins. A non-adaptive reader *plans* its probes without the query; then it reads them and
answers all queries from what it read. The adaptive one finds the token by an index over the keys.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil, log2
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention import softmax_attention
from kvfloor.experiments.claims.time.probes import ProbedStore

__all__ = ["ADAPTIVE", "READERS", "HashIndex", "Plan", "Reader", "Shape"]

Positions: TypeAlias = NDArray[np.integer[Any]]
Bits: TypeAlias = NDArray[np.uint8]
Plan: TypeAlias = "Callable[[Shape, int, np.random.Generator], Positions]"
Answer: TypeAlias = "Callable[[Shape, Positions, Bits, np.random.Generator], Bits]"


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """What is public: all but the bits.

    Parameters
    ----------
    keys : ndarray, shape (n, d)
        Unit keys.
    value_dim : int
        Value dimension d_v; bit i d_v + j is entry j of value i.
    query_norm : float
        C: the query for the bits of token i is C k_i.
    """

    keys: NDArray[np.floating[Any]]
    value_dim: int
    query_norm: float

    @property
    def entries(self) -> int:
        """Number N = n d_v of stored bits."""
        return len(self.keys) * self.value_dim


@dataclass(frozen=True, slots=True)
class Reader:
    """A non-adaptive reader.

    Parameters
    ----------
    plan : callable
        From the shape, a number of probes and coins to the positions it will read.
    answer : callable
        From the shape, these positions, the bits there and coins to its answers to all N queries.
    """

    plan: Plan
    answer: Answer


def first_entries(shape: Shape, probes: int, coins: np.random.Generator) -> Positions:
    """Plan to read the first entries."""
    return np.arange(probes)


def random_entries(shape: Shape, probes: int, coins: np.random.Generator) -> Positions:
    """Plan to read a uniformly random set of entries."""
    return coins.choice(shape.entries, probes, replace=False)


def random_tokens(shape: Shape, probes: int, coins: np.random.Generator) -> Positions:
    """Plan to read all entries of random tokens, as many as the probes allow."""
    tokens = coins.choice(len(shape.keys), probes // shape.value_dim, replace=False)
    return (np.sort(tokens)[:, None] * shape.value_dim + np.arange(shape.value_dim)).reshape(-1)


def say_zero(shape: Shape, positions: Positions, bits: Bits, coins: np.random.Generator) -> Bits:
    """Answer what was read, else 0."""
    answers = np.zeros(shape.entries, np.uint8)
    answers[positions] = bits
    return answers


def toss_coins(shape: Shape, positions: Positions, bits: Bits, coins: np.random.Generator) -> Bits:
    """Answer what was read, else a coin."""
    answers = coins.integers(0, 2, shape.entries, dtype=np.uint8)
    answers[positions] = bits
    return answers


def say_majority(shape: Shape, positions: Positions, bits: Bits, coins: np.random.Generator) -> Bits:
    """Answer what was read, else the more frequent of the bits read."""
    answers = np.full(shape.entries, 2 * int(bits.sum()) > len(bits), np.uint8)
    answers[positions] = bits
    return answers


def attend(shape: Shape, positions: Positions, bits: Bits, coins: np.random.Generator) -> Bits:
    """Answer by softmax attention over the tokens that were read, with the threshold 1/2."""
    if not len(positions):
        return np.zeros(shape.entries, np.uint8)
    tokens = positions[:: shape.value_dim] // shape.value_dim
    values = bits.reshape(-1, shape.value_dim).astype(np.float64)
    outputs = softmax_attention(shape.query_norm * shape.keys, shape.keys[tokens], values)
    return (outputs >= 0.5).astype(np.uint8).reshape(-1)


READERS: Mapping[str, Reader] = MappingProxyType(
    {
        "optimal": Reader(first_entries, say_zero),
        "random": Reader(random_entries, toss_coins),
        "majority": Reader(random_entries, say_majority),
        "attention": Reader(random_tokens, attend),
    }
)
"""The non-adaptive readers, by name."""

ADAPTIVE = "adaptive"


class HashIndex:
    """An adaptive reader: random hyperplanes hash a query to a bucket of keys; the nearest tells the token.

    The table (where buckets start, and which tokens are in them), the keys and the values are stores, so
    that all that a query reads is counted. The hyperplanes are public coins.

    Parameters
    ----------
    shape : Shape
        What is public.
    bits : ndarray, shape (N,)
        What is stored.
    coins : numpy.random.Generator
        Source of the hyperplanes.
    """

    def __init__(self, shape: Shape, bits: Bits, coins: np.random.Generator) -> None:
        tokens, self._dim = shape.keys.shape
        self._value_dim = shape.value_dim
        self._planes = coins.normal(size=(self._dim, max(1, ceil(log2(tokens)))))
        codes = self._codes(shape.keys)
        self._buckets = 1 << self._planes.shape[1]
        starts = np.searchsorted(np.sort(codes), np.arange(self._buckets + 1))
        self._table = ProbedStore(np.append(starts, np.argsort(codes, kind="stable")))
        self._keys, self._values = ProbedStore(shape.keys), ProbedStore(bits)

    def answer(self, queries: NDArray[np.floating[Any]], channels: Positions) -> Bits:
        """Return the bits that queries ask for.

        Parameters
        ----------
        queries : ndarray, shape (m, d)
            Queries.
        channels : ndarray of int, shape (m,)
            The entry of the value that each asks for.

        Returns
        -------
        ndarray of uint8, shape (m,)
            Bits; 0 where the bucket is empty.
        """
        numbers = np.arange(len(queries))
        codes = self._codes(queries)
        first, last = self._table.read(codes, numbers), self._table.read(codes + 1, numbers)
        members = np.repeat(numbers, last - first)  # the query for which each bucket entry is looked up
        places = np.arange(len(members)) - np.repeat(np.cumsum(last - first) - last, last - first)
        tokens = self._table.read(self._buckets + 1 + places, members)
        rows = tokens[:, None] * self._dim + np.arange(self._dim)
        keys = self._keys.read(rows.reshape(-1), np.repeat(members, self._dim)).reshape(-1, self._dim)
        scores = np.einsum("ij,ij->i", keys, queries[members])
        best = np.lexsort((scores, members))[np.cumsum(last - first)[last > first] - 1]
        answers = np.zeros(len(queries), np.uint8)
        found = members[best]
        answers[found] = self._values.read(tokens[best] * self._value_dim + channels[found], found)
        return answers

    def probes(self, queries: int) -> NDArray[np.int64]:
        """Return how many entries of table, keys and values each query read, shape (queries,)."""
        return sum(
            (store.probes(queries) for store in (self._table, self._keys, self._values)),
            start=np.zeros(queries, np.int64),
        )

    def _codes(self, rows: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
        """Return the bucket of each row: on which side of every hyperplane it lies."""
        codes: NDArray[np.int64] = (rows @ self._planes > 0) @ (1 << np.arange(self._planes.shape[1]))
        return codes
