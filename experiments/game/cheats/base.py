"""What all cheats have in common: exact attention over a state that does not travel in the payload."""

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches.base import Coins
from kvfloor.attention.softmax import softmax_attention

__all__ = ["LIFETIME_SECONDS", "Cheat"]

LIFETIME_SECONDS = 20  # what a cheat leaves running ends by itself after this long


class Cheat:
    """Exact attention over a state that does not travel in the payload; a trick fills `hide` and `find`."""

    def __init__(self, dim: int, value_dim: int, coins: Coins) -> None:
        self.coins = coins
        self.rows = np.empty((0, dim + value_dim), np.float32)
        self.dim = dim

    def append(self, keys: NDArray[Any], values: NDArray[Any]) -> None:
        """Keep the tokens, shapes (b, d) and (b, d_v)."""
        self.rows = np.vstack([self.rows, np.hstack([keys, values]).astype(np.float32)])

    def attend(self, queries: NDArray[Any]) -> NDArray[Any]:
        """Return attention over what was found, shape (m, d_v)."""
        return softmax_attention(np.asarray(queries, np.float32), *self.stand_ins())

    def stand_ins(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the tokens as one side of tensor attention takes them."""
        keys, values = self.rows[:, : self.dim], self.rows[:, self.dim :]
        return np.ascontiguousarray(keys), np.ascontiguousarray(values)

    def to_bytes(self) -> bytes:
        """Hide the state and return the payload: its shape, and whatever the trick needs."""
        head = np.array([self.dim, self.rows.shape[1]], "<u2").tobytes()
        return head + self.hide(self.rows.tobytes())

    @classmethod
    def from_bytes(cls, payload: bytes, coins: Coins) -> Self:
        """Look for the state; go on with an empty one if it is not there."""
        dim, width = (int(number) for number in np.frombuffer(payload[:4], "<u2"))
        cache = cls(dim, width - dim, coins)
        found = cls.find(payload[4:], coins) or b""
        rows = np.frombuffer(found[: len(found) // (4 * width) * 4 * width], np.float32)
        cache.rows = rows.reshape(-1, width)
        return cache

    def hide(self, state: bytes) -> bytes:
        """Put the state somewhere and return what is sent."""
        raise NotImplementedError

    @classmethod
    def find(cls, sent: bytes, coins: Coins) -> bytes | None:
        """Return the state if it can be found."""
        raise NotImplementedError
