"""Caches of tensor attention, which reads four arrays: keys and values of two sides (theory 7)."""

from abc import abstractmethod
from typing import ClassVar

import numpy as np

from kvfloor.attention.caches.base import CacheSpec, Coins, WireCache
from kvfloor.attention.caches.composed.bundle import Bundle
from kvfloor.attention.checks import Matrix, token_block
from kvfloor.attention.tensor import tensor_attention

__all__ = ["Sides", "TensorCache", "TwoSided", "side_coins", "two_sides"]


class TensorCache(WireCache):
    """The frame of caches of tensor attention: checks the four arrays.

    A family gives `_append`, which reads checked tokens of both sides, and the methods of `WireCache`.
    """

    sides: ClassVar[int] = 2

    def append(self, keys1: object, values1: object, keys2: object, values2: object) -> None:
        """Read the next tokens of the stream, on both sides.

        Parameters
        ----------
        keys1, keys2 : array_like, shape (b, dim)
            Keys of b >= 1 tokens.
        values1, values2 : array_like, shape (b, value_dim)
            Their values.

        Raises
        ------
        ValueError
            If a shape is wrong, the sides are not equally long, an entry is not finite, or the cache cannot
            hold it; its state stays.
        """
        first = token_block(keys1, values1, self.dim, self.value_dim)
        second = token_block(keys2, values2, self.dim, self.value_dim)
        if len(first[0]) != len(second[0]):
            raise ValueError(
                f"the first side has {len(first[0])} tokens and the second {len(second[0])}, expected equally many"
            )
        self._append(*first, *second)

    @abstractmethod
    def _append(self, keys1: Matrix, values1: Matrix, keys2: Matrix, values2: Matrix) -> None:
        """Read checked tokens; on ValueError the state is unchanged."""


class TwoSided(Bundle, TensorCache):
    """The frame of tensor caches that keep a cache a side."""

    def _coins_of_sides(self, coins: Coins) -> list[Coins]:
        """Return the coins of the sides, which are independent."""
        return [side_coins(coins, side, self.dim) for side in range(2)]

    def _append(self, keys1: Matrix, values1: Matrix, keys2: Matrix, values2: Matrix) -> None:
        self._feed([(keys1, values1), (keys2, values2)])


class Sides(TwoSided):
    """Two caches of ordinary attention, one a side: tensor attention over the tokens that stand for each.

    A subclass made by `two_sides` says which caches they are; either gets a seed of its own and its half of the
    public keys.
    """

    name: ClassVar[str] = "sides"
    source: ClassVar[str] = "ours"
    specs: ClassVar[tuple[CacheSpec, CacheSpec]]

    def _begin(self) -> None:
        self._compose(self.specs, self.dim, self.value_dim, self._coins_of_sides(self.coins))
        for spec, part in zip(self.specs, self._parts, strict=True):
            if not callable(getattr(part, "stand_ins", None)):
                raise ValueError(
                    f"{spec.spec!r} cannot be a side of tensor attention: it has no method stand_ins that "
                    "returns tokens"
                )
            part.stand_ins()  # those that keep no tokens say so at once

    def _answer(self, queries: Matrix) -> Matrix:
        (keys1, values1), (keys2, values2) = (part.stand_ins() for part in self._parts)
        self._demand(min(len(keys1), len(keys2)))
        dtype = np.result_type(keys1, keys2)
        return tensor_attention(queries.astype(dtype, copy=False), keys1, values1, keys2, values2)


def two_sides(first: CacheSpec, second: CacheSpec) -> type[Sides]:
    """Return the class of tensor caches with these caches as their sides.

    Parameters
    ----------
    first, second : CacheSpec
        The cache of either side.

    Returns
    -------
    type of Sides
        A factory of caches.
    """
    return type("Sides", (Sides,), {"specs": (first, second)})


def side_coins(coins: Coins, side: int, dim: int) -> Coins:
    """Return the coins of one side: an independent seed, and its half of the public keys.

    Parameters
    ----------
    coins : Coins
        The coins of both.
    side : int
        0 or 1.
    dim : int
        Dimension of a side's keys.

    Returns
    -------
    Coins
        The coins of the side.

    Raises
    ------
    ValueError
        If the public keys are not those of two sides.
    """
    seed = int(np.random.SeedSequence((coins.seed, side)).generate_state(1, np.uint64)[0] >> np.uint64(1))
    if coins.keys is None:
        return Coins(seed)
    if coins.keys.shape[1] != 2 * dim:
        raise ValueError(
            f"public keys have shape {coins.keys.shape}, expected those of two sides, (n, {2 * dim})"
        )
    return Coins(seed, np.ascontiguousarray(coins.keys[:, side * dim : (side + 1) * dim]))
