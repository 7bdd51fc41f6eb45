"""State in the memory of a process: caught as soon as Bob's is another one."""

import os
import sys
from typing import Any, ClassVar

from kvfloor.attention.caches.base import Coins
from kvfloor.experiments.game.cheats.base import Cheat

__all__: list[str] = []  # cheats are found through the package

_stash: dict[int, bytes] = {}


class ModuleGlobal(Cheat):
    """State in a global of its module."""

    def hide(self, state: bytes) -> bytes:
        _stash[self.coins.seed] = state
        return b""

    @classmethod
    def find(cls, sent: bytes, coins: Coins) -> bytes | None:
        return _stash.pop(coins.seed, None)


class ClassAttribute(Cheat):
    """State in an attribute of its class."""

    kept: ClassVar[bytes | None] = None

    def hide(self, state: bytes) -> bytes:
        type(self).kept = state
        return b""

    @classmethod
    def find(cls, sent: bytes, coins: Coins) -> bytes | None:
        return cls.kept


def _closure() -> tuple[Any, Any]:
    """Return two functions that share a variable nobody else can reach."""
    kept: list[bytes] = []
    return kept.append, lambda: kept.pop() if kept else None


class Closure(Cheat):
    """State in a variable of a closure."""

    push, pull = map(staticmethod, _closure())

    def hide(self, state: bytes) -> bytes:
        self.push(state)
        return b""

    @classmethod
    def find(cls, sent: bytes, coins: Coins) -> bytes | None:
        return cls.pull()  # type: ignore[no-any-return]


class LoadedModules(Cheat):
    """State in the interpreter's table of loaded modules."""

    def hide(self, state: bytes) -> bytes:
        sys.modules["kvfloor_stash"] = state  # type: ignore[assignment]
        return b""

    @classmethod
    def find(cls, sent: bytes, coins: Coins) -> bytes | None:
        return sys.modules.pop("kvfloor_stash", None)  # type: ignore[return-value]


class EnvironmentVariable(Cheat):
    """State in an environment variable."""

    def hide(self, state: bytes) -> bytes:
        os.environ["KVFLOOR_STASH"] = state.hex()
        return b""

    @classmethod
    def find(cls, sent: bytes, coins: Coins) -> bytes | None:
        state = os.environ.pop("KVFLOOR_STASH", None)
        return None if state is None else bytes.fromhex(state)
