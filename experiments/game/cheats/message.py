"""Tricks with the message itself, and with what both sides are given."""

from typing import ClassVar

import numpy as np

from kvfloor.attention.caches.base import Coins
from kvfloor.experiments.game.cheats.base import Cheat

__all__: list[str] = []  # cheats are found through the package


class PublicCoins(Cheat):
    """State written over the public keys, which cost nothing to send."""

    def hide(self, state: bytes) -> bytes:
        if self.coins.keys is None:
            return b""
        values = self.rows[:, self.dim :]
        self.coins.keys[: len(values), 0] = 2.0 + np.packbits(values > 0, axis=1)[:, 0]
        return b""

    @classmethod
    def find(cls, sent: bytes, coins: Coins) -> bytes | None:
        if coins.keys is None or coins.keys[0, 0] < 2:
            return None
        codes = (coins.keys[:, :1] - 2.0).astype(np.uint8)
        return np.hstack([coins.keys, np.unpackbits(codes, axis=1)]).astype(np.float32).tobytes()


class PayloadLength(Cheat):
    """As many symbols as fit into the number of bytes of an otherwise empty payload."""

    def hide(self, state: bytes) -> bytes:
        bits = (self.rows[:8, self.dim] > 0).astype(np.uint8)
        return bytes(int(np.packbits(bits)[0]))

    @classmethod
    def find(cls, sent: bytes, coins: Coins) -> bytes | None:
        if coins.keys is None:
            return None
        rows = np.zeros((len(coins.keys), coins.keys.shape[1] + 8), np.float32)
        rows[:, : coins.keys.shape[1]] = coins.keys
        rows[:8, coins.keys.shape[1]] = np.unpackbits(np.array([len(sent)], np.uint8))
        return rows.tobytes()


class _ShortBytes(bytes):
    """Bytes that claim to be four."""

    def __len__(self) -> int:
        return 4


class DeclaredSize(Cheat):
    """The whole state in the payload, which says of itself that it has four bytes."""

    def to_bytes(self) -> bytes:
        return _ShortBytes(super().to_bytes())

    def hide(self, state: bytes) -> bytes:
        return state

    @classmethod
    def find(cls, sent: bytes, coins: Coins) -> bytes | None:
        return sent


class Padded(Cheat):
    """A cheat whose message is padded to the size of all bits: counting cannot tell it from an honest one."""

    trick: ClassVar[type[Cheat]]

    def hide(self, state: bytes) -> bytes:
        sent = self.trick.hide(self, state)
        bits = len(self.rows) * (self.rows.shape[1] - self.dim)
        return len(sent).to_bytes(4, "little") + sent + bytes(bits // 8)

    @classmethod
    def find(cls, sent: bytes, coins: Coins) -> bytes | None:
        return cls.trick.find(sent[4 : 4 + int.from_bytes(sent[:4], "little")], coins)

    @classmethod
    def of(cls, trick: type[Cheat]) -> "type[Padded]":
        """Return a trick's padded version."""
        made: type[Padded] = type(
            f"Padded{trick.__name__}", (cls, trick), {"trick": trick, "__doc__": trick.__doc__}
        )
        return made
