"""Named directions: vectors that live in named bases, and matrices that carry one basis to another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Basis", "Direction", "Rows", "Wire", "linear", "wires"]

Rows: TypeAlias = NDArray[np.float32]


class Direction(NamedTuple):
    """One basis vector, by name and labels: channel 5 of head 1's value is ``Direction("value", (1, 5))``."""

    name: str
    labels: tuple[int, ...] = ()


Wire: TypeAlias = tuple[Direction, Direction, float]
"""From a direction, to a direction, with a weight."""


@dataclass(frozen=True, slots=True)
class Basis:
    """An ordered set of orthonormal directions.

    Parameters
    ----------
    directions : tuple of Direction
        Each once; the order is that of the coordinates.

    Raises
    ------
    ValueError
        If a direction comes twice.

    Examples
    --------
    >>> stream = Basis.of(key=(2,), answer=())
    >>> stream.vectors(1, key=[[3.0, 4.0]], answer=[1.0])
    array([[3., 4., 1.]], dtype=float32)
    >>> double = linear(stream, Basis.of(token=(2,)), wires(stream.named("key"), Basis.of(token=(2,)).named("token"), 2))
    >>> double.tolist()
    [[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]]
    """

    directions: tuple[Direction, ...]
    _places: dict[Direction, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_places", {d: place for place, d in enumerate(self.directions)})
        if len(self._places) != len(self.directions):
            raise ValueError(f"a direction comes twice among {len(self.directions)}")

    @classmethod
    def of(cls, **shapes: tuple[int, ...]) -> Basis:
        """Return the basis of these names, each labelled by the indices of an array of its shape.

        Parameters
        ----------
        **shapes : tuple of int
            ``()`` is a single direction without labels.

        Returns
        -------
        Basis
            In the order of the names, each in the order of its labels.
        """
        return cls(tuple(Direction(n, at) for n, s in shapes.items() for at in product(*map(range, s))))

    def __len__(self) -> int:
        return len(self.directions)

    def named(self, name: str, *labels: int) -> tuple[Direction, ...]:
        """Return the directions of a name whose labels start with these.

        Parameters
        ----------
        name : str
            One of the basis.
        *labels : int
            Such as the layer and the head.

        Returns
        -------
        tuple of Direction
            In order, at least one.

        Raises
        ------
        ValueError
            If there is none.
        """
        found = tuple(d for d in self.directions if d.name == name and d.labels[: len(labels)] == labels)
        if not found:
            raise ValueError(f"the basis has no {name!r} with labels {labels}")
        return found

    def vectors(self, count: int, **parts: Any) -> Rows:
        """Return vectors by the parts that are not 0.

        Parameters
        ----------
        count : int
            Number m of vectors.
        **parts : array_like
            For a name the coordinates along its directions: shape (m, ...) with as many entries a vector as
            the name has directions, or anything that broadcasts to that.

        Returns
        -------
        ndarray of float32, shape (m, len(self))
            One vector a row.
        """
        rows = np.zeros((count, len(self)), np.float32)
        for name, part in parts.items():
            at = self._at(self.named(name))
            part = np.asarray(part, np.float32)
            rows[:, at] = part.reshape(count, len(at)) if part.size == count * len(at) else part
        return rows

    def coordinates(self, vectors: NDArray[Any], name: str, *labels: int) -> NDArray[Any]:
        """Return the coordinates of vectors along the directions of `named`.

        Parameters
        ----------
        vectors : ndarray, shape (m, len(self))
            One vector a row.
        name : str
            As in `named`.
        *labels : int
            As in `named`.

        Returns
        -------
        ndarray, shape (m, k)
            A copy.
        """
        return np.asarray(vectors[:, self._at(self.named(name, *labels))])

    def place(self, direction: Direction) -> int:
        """Return which coordinate a direction is."""
        return self._places[direction]

    def _at(self, directions: Iterable[Direction]) -> list[int]:
        """Return which coordinates some directions are."""
        return [self._places[direction] for direction in directions]


def wires(sources: Iterable[Direction], targets: Iterable[Direction], weight: float) -> Iterator[Wire]:
    """Yield a wire from each source to the target at the same place, all of one weight.

    Parameters
    ----------
    sources, targets : iterable of Direction
        Equally many.
    weight : float
        What a source's coordinate is multiplied by.

    Yields
    ------
    Wire
        One a pair.
    """
    for source, target in zip(sources, targets, strict=True):
        yield source, target, weight


def linear(source: Basis, target: Basis, all_wires: Iterable[Wire]) -> Rows:
    """Return the matrix of the map that these wires make.

    Parameters
    ----------
    source, target : Basis
        Where vectors come from, and where they go.
    all_wires : iterable of Wire
        Wires of the same ends add up.

    Returns
    -------
    ndarray of float32, shape (len(target), len(source))
        To be multiplied by column vectors.

    Raises
    ------
    KeyError
        If a wire's end is not in its basis.
    """
    matrix = np.zeros((len(target), len(source)), np.float32)
    for start, end, weight in all_wires:
        matrix[target.place(end), source.place(start)] += weight
    return matrix
