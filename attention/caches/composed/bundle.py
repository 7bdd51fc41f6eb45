"""Caches made of caches: several payloads in one."""

import copy
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches.base import CacheSpec, Coins, WireCache
from kvfloor.attention.caches.wire import Codes, Field, WireError
from kvfloor.attention.checks import Matrix

__all__ = ["Bundle"]

_LENGTH_BYTES = 6


class Bundle(WireCache):
    """The frame of caches that pass parts of the stream on to others.

    A family calls `_compose` when it begins, and `_feed` with the blocks of its parts. On the wire are the
    payloads of the parts, each behind its length.
    """

    count_names: ClassVar[tuple[str, ...]] = ("bytes",)

    def _compose(self, specs: Sequence[CacheSpec], dim: int, value_dim: int, coins: Sequence[Coins]) -> None:
        """Make the parts, all of the same dimensions."""
        self._part_coins = coins
        self._parts: list[Any] = [
            spec.make(dim, value_dim, its) for spec, its in zip(specs, coins, strict=True)
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
        for empty, coins in zip(self._parts, self._part_coins, strict=True):
            length = int.from_bytes(joined[:_LENGTH_BYTES], "little")
            payload, joined = joined[_LENGTH_BYTES : _LENGTH_BYTES + length], joined[_LENGTH_BYTES + length :]
            if len(payload) < length:
                raise WireError(
                    f"the payload of a part should have {length} bytes, but {len(payload)} are left"
                )
            part = type(empty).from_bytes(payload, coins)
            if isinstance(empty, WireCache) and _shape(part) != _shape(empty):
                raise WireError(f"a part of {self.name!r} has other dimensions or parameters than it should")
            parts.append(part)
        if joined:
            raise WireError(f"{len(joined)} bytes follow the last payload of {self.name!r}")
        self._parts = parts


def _shape(part: WireCache) -> tuple[object, ...]:
    """Return what a part's header says of it, but for the size of its state."""
    return (part.dim, part.value_dim, *part.parameters())
