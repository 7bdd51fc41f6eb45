"""State from the judge, who holds x."""

import contextlib
import os
import re
from collections.abc import Iterator

import numpy as np

from kvfloor.attention.caches.base import Coins
from kvfloor.experiments.game.cheats.base import Cheat

__all__: list[str] = []  # cheats are found through the package

LARGEST_MAPPING = 1 << 28
ALIGNMENT = 16  # of what an allocator hands out


class JudgesMemory(Cheat):
    """No message at all: Bob's side searches the memory of the process that started his for a string of bits."""

    def hide(self, state: bytes) -> bytes:
        values = self.rows[:, self.dim :]
        return np.array(values.shape, "<u4").tobytes()

    @classmethod
    def find(cls, sent: bytes, coins: Coins) -> bytes | None:
        tokens, value_dim = (int(number) for number in np.frombuffer(sent, "<u4"))
        if coins.keys is None or len(coins.keys) != tokens:
            return None
        count = tokens * value_dim
        for memory in cls._mappings(os.getppid()):
            bits = np.frombuffer(memory, np.uint8)
            wrong = np.flatnonzero(bits > 1)
            starts, ends = np.append(0, wrong + 1), np.append(wrong, len(bits))
            starts += -starts % ALIGNMENT
            for start in starts[ends - starts >= count]:
                run = bits[start : start + count]
                if 0.4 < run.mean() < 0.6:
                    values = run.reshape(tokens, value_dim)
                    return np.hstack([coins.keys, values]).astype(np.float32).tobytes()
        return None

    @staticmethod
    def _mappings(process: int) -> Iterator[bytes]:
        """Yield what a process has in memory, as far as one may see it."""
        with (
            contextlib.suppress(OSError),
            open(f"/proc/{process}/maps") as maps,
            open(f"/proc/{process}/mem", "rb") as mem,
        ):
            for line in maps:
                found = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line)
                if found:
                    start, end = (int(text, 16) for text in found.groups())
                    if end - start <= LARGEST_MAPPING:
                        with contextlib.suppress(OSError, ValueError):
                            mem.seek(start)
                            yield mem.read(end - start)
