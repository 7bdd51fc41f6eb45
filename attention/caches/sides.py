"""Caches of tensor attention, which reads four arrays: keys and values of two sides (theory 7)."""

import copy
from typing import Any, ClassVar, Protocol, Self

import numpy as np

from attention.caches import wire
from attention.caches.base import Cache, Coins, WireCache
from attention.caches.wire import Codes, WireError
from attention.checks import Matrix, matrix, token_block
from attention.tensor import tensor_attention

__all__ = ["Sides", "TensorCache", "side_coins", "two_sides"]


class TensorCache(WireCache):
    """The frame of caches of tensor attention: checks the four arrays.

    A family gives `_append`, which reads checked tokens of both sides, `_answer`, which answers checked
    queries, and the three methods of `WireCache`.
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
        self._append(*both_sides(keys1, values1, keys2, values2, self.dim, self.value_dim))

    def attend(self, queries: object) -> Matrix:
        """Answer queries over all pairs of tokens; the state stays as it is.

        Parameters
        ----------
        queries : array_like, shape (m, dim)
            Queries; m >= 1.

        Returns
        -------
        ndarray, shape (m, value_dim)
            What the cache makes of tensor attention.

        Raises
        ------
        ValueError
            If the shape is wrong, an entry is not finite, or no token was read yet.
        """
        return self._answer(matrix("queries", queries, self.dim))

    def _append(self, keys1: Matrix, values1: Matrix, keys2: Matrix, values2: Matrix) -> None:
        """Read checked tokens; on ValueError the state is unchanged."""
        raise NotImplementedError

    def _answer(self, queries: Matrix) -> Matrix:
        """Answer checked queries; ValueError if the cache is empty."""
        raise NotImplementedError


class CacheMaker(Protocol):
    """What makes and restores the cache of one side."""

    @property
    def spec(self) -> str:
        """What it was resolved from."""

    def make(self, dim: int, value_dim: int, coins: Coins) -> Cache:
        """Return a new, empty cache."""

    def restore(self, payload: bytes, dim: int, value_dim: int, coins: Coins) -> Cache:
        """Return the cache whose state a payload carries."""


class Sides:
    """Two caches of ordinary attention, one a side: tensor attention over the tokens that stand for each.

    A subclass made by `two_sides` says which caches they are. Its payload is a header with the lengths of
    their payloads, and these.

    Parameters
    ----------
    dim, value_dim : int
        Numbers of columns of the keys and the values of either side.
    coins : Coins
        The public randomness; either side gets a seed of its own and its half of the keys.
    """

    name: ClassVar[str] = "sides"
    sides: ClassVar[int] = 2
    makers: ClassVar[tuple[CacheMaker, CacheMaker]]

    def __init__(self, dim: int, value_dim: int, coins: Coins) -> None:
        self.dim, self.value_dim = dim, value_dim
        self._coins = [side_coins(coins, side, dim) for side in range(2)]
        self._caches = [
            _exposing(maker, maker.make(dim, value_dim, its))
            for maker, its in zip(self.makers, self._coins, strict=True)
        ]

    def append(self, keys1: object, values1: object, keys2: object, values2: object) -> None:
        """Read the next tokens of the stream, on both sides; see `TensorCache.append`."""
        k1, v1, k2, v2 = both_sides(keys1, values1, keys2, values2, self.dim, self.value_dim)
        first, second = self._caches
        before = copy.deepcopy(
            first, {id(shared): shared for shared in (self._coins[0], self._coins[0].keys)}
        )
        first.append(k1, v1)
        try:
            second.append(k2, v2)
        except ValueError:
            self._caches[0] = before  # neither side has read what one of them cannot hold
            raise

    def attend(self, queries: object) -> Matrix:
        """Answer queries over all pairs of tokens that stand for the stream; see `TensorCache.attend`."""
        checked = matrix("queries", queries, self.dim)
        (keys1, values1), (keys2, values2) = (cache.stand_ins() for cache in self._caches)
        if not len(keys1) or not len(keys2):
            raise ValueError("the cache is empty: append tokens before attending")
        dtype = np.result_type(keys1, keys2)
        return tensor_attention(checked.astype(dtype, copy=False), keys1, values1, keys2, values2)

    def to_bytes(self) -> bytes:
        """Return the payload: the payloads of both sides behind a header."""
        payloads = [np.frombuffer(cache.to_bytes(), np.uint8) for cache in self._caches]
        lengths = [len(payload) for payload in payloads]
        counts = (self.dim, self.value_dim, *lengths)
        return wire.write(self.name, (), counts, _layout(*lengths), payloads)

    @classmethod
    def from_bytes(cls, payload: bytes, coins: Coins) -> Self:
        """Return the cache whose state a payload carries; WireError if it carries none."""
        message = wire.read(payload)
        if message.cache != cls.name:
            raise WireError(f"this is a payload of {message.cache!r}, not of {cls.name!r}")
        if message.parameters or len(message.counts) != 4:
            raise WireError(f"the header of {cls.name!r} has the wrong number of parameters or counts")
        dim, value_dim, *lengths = message.counts
        parts = wire.read_arrays(message.body, _layout(*lengths))
        try:
            cache = cls(dim, value_dim, coins)
        except ValueError as error:
            raise WireError(f"the header of {cls.name!r} cannot be right: {error}") from None
        cache._caches = [
            _exposing(maker, maker.restore(part.tobytes(), dim, value_dim, its))
            for maker, part, its in zip(cls.makers, parts, cache._coins, strict=True)
        ]
        sizes = {(side.dim, side.value_dim) for side in cache._caches if isinstance(side, WireCache)}
        if sizes - {(dim, value_dim)}:
            raise WireError("the header of 'sides' and its sides differ in their dimensions")
        return cache


def two_sides(first: CacheMaker, second: CacheMaker) -> type[Sides]:
    """Return the class of tensor caches with these caches as their sides.

    Parameters
    ----------
    first, second : CacheMaker
        What makes the cache of either side, such as `attention.caches.CacheSpec`.

    Returns
    -------
    type of Sides
        A factory of caches.
    """
    return type("Sides", (Sides,), {"makers": (first, second)})


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


def both_sides(
    keys1: object, values1: object, keys2: object, values2: object, dim: int, value_dim: int
) -> tuple[Matrix, Matrix, Matrix, Matrix]:
    """Return checked tokens of both sides.

    Parameters
    ----------
    keys1, values1, keys2, values2 : array_like
        Keys (b, dim) and values (b, value_dim) of either side.
    dim, value_dim : int
        The expected numbers of columns.

    Returns
    -------
    tuple of four ndarray
        The arrays.

    Raises
    ------
    ValueError
        If a shape is wrong, the sides are not equally long, or an entry is not finite.
    """
    first = token_block(keys1, values1, dim, value_dim)
    second = token_block(keys2, values2, dim, value_dim)
    if len(first[0]) != len(second[0]):
        raise ValueError(
            f"the first side has {len(first[0])} tokens and the second {len(second[0])}, expected equally many"
        )
    return (*first, *second)


def _layout(*lengths: int) -> tuple[Codes, Codes]:
    """Return the fields of two payloads."""
    first, second = lengths
    return Codes("first side", (first,), 256), Codes("second side", (second,), 256)


def _exposing(maker: CacheMaker, cache: Cache) -> Any:
    """Return the cache of a side if it shows the tokens that stand for its stream."""
    if not callable(getattr(cache, "stand_ins", None)):
        raise ValueError(
            f"{maker.spec!r} cannot be a side of tensor attention: it has no method stand_ins that returns tokens"
        )
    cache.stand_ins()  # type: ignore[attr-defined]  # those that keep no tokens say so at once
    return cache
