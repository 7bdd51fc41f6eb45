"""State in files, wherever both sides may look."""

import os
from pathlib import Path

import numpy as np

from kvfloor.attention.caches.base import Coins
from kvfloor.experiments.game.cheats.base import Cheat

__all__: list[str] = []  # cheats are found through the package


class FixedFile(Cheat):
    """State in a file under a name that both sides know."""

    def hide(self, state: bytes) -> bytes:
        self.path(self.coins).write_bytes(state)
        return b""

    @classmethod
    def find(cls, sent: bytes, coins: Coins) -> bytes | None:
        path = cls.path(coins)
        if not path.exists():
            return None
        state = path.read_bytes()
        path.unlink()
        return state

    @staticmethod
    def path(coins: Coins) -> Path:
        """Return the file, in a folder that outlives the party's own."""
        return Path("/tmp") / f"kvfloor-cheat-{coins.seed}"


class TemporaryFolder(FixedFile):
    """State in a file in the folder for temporary files that the environment names."""

    @staticmethod
    def path(coins: Coins) -> Path:
        return Path(os.environ.get("TMPDIR", "/tmp")) / f"kvfloor-cheat-{coins.seed}"


class ModuleFolder(FixedFile):
    """State in a file beside the code."""

    @staticmethod
    def path(coins: Coins) -> Path:
        return Path(__file__).parent / f".kvfloor-cheat-{coins.seed}"


class SharedMemoryFile(FixedFile):
    """State in a file in memory."""

    @staticmethod
    def path(coins: Coins) -> Path:
        return Path("/dev/shm") / f"kvfloor-cheat-{coins.seed}"


class Snoop(Cheat):
    """No message at all: Bob's side searches for Alice's input on disk."""

    def hide(self, state: bytes) -> bytes:
        return b""

    @classmethod
    def find(cls, sent: bytes, coins: Coins) -> bytes | None:
        for folder in Path(os.environ.get("TMPDIR", "/tmp")).parent.glob("kvfloor-*"):
            try:
                keys, values = (np.load(folder / f"{name}.npy") for name in ("keys", "values"))
            except OSError:
                continue
            if len(keys) > 1:
                return np.hstack([keys, values]).astype(np.float32).tobytes()
        return None
