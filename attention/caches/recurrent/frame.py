"""The frame of recurrent states: what is rounded, what is on the wire, and features of keys."""

import itertools
import math
from abc import abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches.base import StreamCache, word
from kvfloor.attention.caches.base.projection import norms
from kvfloor.attention.caches.wire import Field, Floats
from kvfloor.attention.caches.wire.formats import FORMATS, round_to
from kvfloor.attention.checks import LARGEST, Matrix

__all__ = ["RecurrentCache", "directions", "power_columns", "powers"]

Doubles = NDArray[np.float64]


class RecurrentCache(StreamCache):
    """A state of a few matrices, in float64 while a token is read and rounded after it.

    A family gives four methods: `_shapes` names the matrices, `_features` turns keys and queries into what the
    state is written and read by, `_step` reads one token, and `_read` answers.
    """

    dtype: str = word("number format of the state, rounded to after every token", FORMATS, default="float32")

    def _begin(self) -> None:
        self._count = 0
        self._memory: tuple[Doubles, ...] = ()  # made with the first token

    def _append(self, keys: Matrix, values: Matrix) -> None:
        memory = self._memory or tuple(np.zeros(shape) for shape in self._shapes().values())
        for feature, value in zip(self._features(keys), values.astype(np.float64), strict=True):
            if feature.any():
                stepped = self._step(memory, feature, value)
                memory = tuple(round_to(self.dtype, each, "states").astype(np.float64) for each in stepped)
        if any(np.abs(each).max() > LARGEST for each in memory):
            raise ValueError(f"the state exceeds {LARGEST:g} in magnitude")
        self._memory, self._count = memory, self._count + len(keys)

    def _answer(self, queries: Matrix) -> Matrix:
        self._demand(self._count)
        return self._read(self._memory, self._features(queries))

    def _state(self) -> tuple[tuple[int, ...], tuple[NDArray[Any], ...]]:
        return (self._count,), tuple(round_to(self.dtype, each, "states") for each in self._memory)

    def _layout(self, *counts: int) -> tuple[Field, ...]:
        shapes = self._shapes() if counts[0] else {}
        return tuple(Floats(name, shape, self.dtype) for name, shape in shapes.items())

    def _restore(self, counts: tuple[int, ...], arrays: list[NDArray[Any]]) -> None:
        self._count, self._memory = counts[0], tuple(each.astype(np.float64) for each in arrays)

    @abstractmethod
    def _shapes(self) -> dict[str, tuple[int, int]]:
        """Return the names and shapes of the matrices."""

    @abstractmethod
    def _features(self, rows: Matrix) -> Doubles:
        """Return a row of features for each key or query; a row of zeros for a row of zeros."""

    @abstractmethod
    def _step(self, memory: tuple[Doubles, ...], feature: Doubles, value: Doubles) -> tuple[Doubles, ...]:
        """Return the matrices after a token; those before it stay as they are."""

    @abstractmethod
    def _read(self, memory: tuple[Doubles, ...], features: Doubles) -> Matrix:
        """Return the answers to queries, shape (m, value_dim)."""


def directions(rows: Matrix) -> Doubles:
    """Return rows at unit length; zeros stay zeros.

    Parameters
    ----------
    rows : ndarray, shape (n, d)
        Vectors.

    Returns
    -------
    ndarray of float64, shape (n, d)
        The same for a row whatever comes with it.
    """
    lengths = norms(rows)
    units: Doubles = rows / np.where(lengths > 0, lengths, 1.0)
    return units


def powers(rows: Doubles, degree: int) -> Doubles:
    """Return features whose inner products are powers of those of the rows.

    Parameters
    ----------
    rows : ndarray, shape (n, d)
        Vectors.
    degree : int
        The power p, at least 1.

    Returns
    -------
    ndarray of float64, shape (n, m)
        Products of p coordinates, each kind once and with the root of how often it occurs; m is `power_columns`.
    """
    if degree == 1:
        return rows
    kinds = list(itertools.combinations_with_replacement(range(rows.shape[1]), degree))
    repeats = [
        math.factorial(degree) / math.prod(math.factorial(kind.count(i)) for i in set(kind)) for kind in kinds
    ]
    chosen = np.array(kinds)
    products = rows[:, chosen[:, 0]] * np.sqrt(repeats)
    for factor in chosen.T[1:]:
        products = products * rows[:, factor]
    return products


def power_columns(dim: int, degree: int) -> int:
    """Return the number m of columns of `powers`, binom(d + p - 1, p)."""
    return math.comb(dim + degree - 1, degree)
