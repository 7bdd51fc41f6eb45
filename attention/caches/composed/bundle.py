"""Caches made of caches: several payloads in one."""

import copy
from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches.base import Cache, Coins, WireCache
from kvfloor.attention.caches.wire import Codes, Field, WireError
from kvfloor.attention.checks import Matrix

__all__ = ["Bundle", "CacheMaker"]

_LENGTH_BYTES = 6


class CacheMaker(Protocol):
    """What makes and restores a cache: `kvfloor.attention.caches.CacheSpec`, for one."""

    @property
    def spec(self) -> str:
        """What it is called."""

    def make(self, dim: int, value_dim: int, coins: Coins) -> Cache:
        """Return a new, empty cache."""

    def restore(self, payload: bytes, dim: int, value_dim: int, coins: Coins) -> Cache:
        """Return the cache whose state a payload carries."""


class Bundle(WireCache):
    """The frame of caches that pass parts of the stream on to others.

    A family calls `_compose` when it is made, and `_feed` with the blocks of its parts. On the wire are the
    payloads of the parts, each behind its length.

    Parameters
    ----------
    dim, value_dim : int
        Numbers of columns of keys and values.
    coins : Coins
        The public randomness.
    """

    count_names: ClassVar[tuple[str, ...]] = ("bytes",)

    def _compose(
        self, makers: Sequence[CacheMaker], dim: int, value_dim: int, coins: Sequence[Coins]
    ) -> None:
        """Make the parts, all of the same dimensions."""
        self._makers, self._sizes, self._part_coins = makers, (dim, value_dim), coins
        self._parts: list[Any] = [
            maker.make(dim, value_dim, its) for maker, its in zip(makers, coins, strict=True)
        ]

    def _feed(self, blocks: Sequence[tuple[Matrix, Matrix]]) -> None:
        """Append a block to every part, or to none if one of them cannot hold its own."""
        shared = {id(item): item for coins in self._part_coins for item in (coins, coins.keys)}
        before = [copy.deepcopy(part, dict(shared)) for part in self._parts[:-1]]
        for fed, (part, block) in enumerate(zip(self._parts, blocks, strict=True)):
            try:
                part.append(*block)
            except ValueError:
                self._parts[:fed] = before[:fed]
                raise

    def _state(self) -> tuple[tuple[int, ...], tuple[NDArray[Any], ...]]:
        payloads = [part.to_bytes() for part in self._parts]
        joined = b"".join(len(p).to_bytes(_LENGTH_BYTES, "little") + p for p in payloads)
        return (len(joined),), (np.frombuffer(joined, np.uint8),)

    def _layout(self, *counts: int) -> tuple[Field, ...]:
        return (Codes("payloads", (counts[0],), 256),)

    def _restore(self, counts: tuple[int, ...], arrays: list[NDArray[Any]]) -> None:
        joined, parts = arrays[0].tobytes(), []
        for maker, coins in zip(self._makers, self._part_coins, strict=True):
            length = int.from_bytes(joined[:_LENGTH_BYTES], "little")
            payload, joined = joined[_LENGTH_BYTES : _LENGTH_BYTES + length], joined[_LENGTH_BYTES + length :]
            if len(payload) < length:
                raise WireError(
                    f"the payload of a part should have {length} bytes, but {len(payload)} are left"
                )
            part: Any = maker.restore(payload, *self._sizes, coins)
            if isinstance(part, WireCache) and (part.dim, part.value_dim) != self._sizes:
                raise WireError(f"a part of {self.name!r} has other dimensions than its header says")
            parts.append(part)
        if joined:
            raise WireError(f"{len(joined)} bytes follow the last payload of {self.name!r}")
        self._parts = parts
