"""Caches that cheat, one trick each: what an honest accountant must stop or expose.

Every cheat answers from all keys and values but sends next to nothing: it hides its state somewhere else
and looks for it on Bob's side. In one process most of them succeed, which is what `impossible` is for.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches.base import Coins
from kvfloor.attention.softmax import softmax_attention

__all__ = ["CHEATS", "LEAKING"]

LEAKING = "kvfloor.experiments.game.cheats:ModuleGlobal"
"""The cheat that every check of bits must catch: its state stays outside the bytes."""

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


class EnvironmentVariable(Cheat):
    """State in an environment variable."""

    def hide(self, state: bytes) -> bytes:
        os.environ["KVFLOOR_STASH"] = state.hex()
        return b""

    @classmethod
    def find(cls, sent: bytes, coins: Coins) -> bytes | None:
        state = os.environ.pop("KVFLOOR_STASH", None)
        return None if state is None else bytes.fromhex(state)


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


class Subprocess(Cheat):
    """A process left behind, in a session of its own, that hands the state to whoever asks."""

    server = (
        "import socket, sys; state = sys.stdin.buffer.read(); s = socket.create_server(('127.0.0.1', 0)); "
        f"s.settimeout({LIFETIME_SECONDS}); print(s.getsockname()[1], flush=True); c, _ = s.accept(); "
        "c.sendall(state)"
    )

    def hide(self, state: bytes) -> bytes:
        process = subprocess.Popen(
            [sys.executable, "-c", self.server],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=self.new_session(),
        )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(state)
        process.stdin.close()
        return process.stdout.readline().strip()

    @classmethod
    def find(cls, sent: bytes, coins: Coins) -> bytes | None:
        try:
            with socket.create_connection(("127.0.0.1", int(sent)), timeout=5) as connection:
                return b"".join(iter(lambda: connection.recv(1 << 16), b""))
        except OSError:
            return None

    @staticmethod
    def new_session() -> bool:
        """Return whether the process hides from the end of its party's group."""
        return True


class SubprocessOfTheGroup(Subprocess):
    """A process left behind among Alice's own."""

    @staticmethod
    def new_session() -> bool:
        return False


class Thread(Subprocess):
    """A thread left behind that hands the state to whoever asks."""

    def hide(self, state: bytes) -> bytes:
        server = socket.create_server(("127.0.0.1", 0))
        server.settimeout(LIFETIME_SECONDS)

        def serve() -> None:
            with server, contextlib.suppress(OSError), server.accept()[0] as connection:
                connection.sendall(state)

        threading.Thread(target=serve).start()
        return str(server.getsockname()[1]).encode()


class StubbornProcess(Subprocess):
    """A forked copy of Alice's process that ignores every polite signal and waits for Bob."""

    def hide(self, state: bytes) -> bytes:
        server = socket.create_server(("127.0.0.1", 0))
        server.settimeout(LIFETIME_SECONDS)
        if os.fork() == 0:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            try:
                connection, _ = server.accept()
                connection.sendall(state)
            finally:
                os._exit(0)
        return str(server.getsockname()[1]).encode()


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


CHEATS: tuple[type[Cheat], ...] = (
    ModuleGlobal,
    ClassAttribute,
    Closure,
    LoadedModules,
    FixedFile,
    TemporaryFolder,
    EnvironmentVariable,
    Snoop,
    PublicCoins,
    Subprocess,
    SubprocessOfTheGroup,
    Thread,
    StubbornProcess,
    PayloadLength,
    DeclaredSize,
)
