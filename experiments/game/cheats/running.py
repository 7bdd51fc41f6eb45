"""State in something left running, or in the kernel, that hands it to whoever asks."""

import contextlib
import ctypes
import os
import platform
import signal
import socket
import subprocess
import sys
import threading

from kvfloor.attention.caches.base import Coins
from kvfloor.experiments.game.cheats.base import LIFETIME_SECONDS, Cheat

__all__: list[str] = []  # cheats are found through the package


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


class AbstractSocket(Cheat):
    """A process left behind that listens under a name in no file system."""

    def hide(self, state: bytes) -> bytes:
        server = socket.socket(socket.AF_UNIX)
        server.bind(f"\0kvfloor-cheat-{self.coins.seed}")
        server.listen()
        server.settimeout(LIFETIME_SECONDS)
        if os.fork() == 0:
            os.setsid()
            with contextlib.suppress(OSError), server.accept()[0] as connection:
                connection.sendall(state)
            os._exit(0)
        return b""

    @classmethod
    def find(cls, sent: bytes, coins: Coins) -> bytes | None:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(f"\0kvfloor-cheat-{coins.seed}")
            return b"".join(iter(lambda: connection.recv(1 << 16), b""))
        return None


class SystemVMemory(Cheat):
    """A segment of System V's shared memory, which outlives every process."""

    def hide(self, state: bytes) -> bytes:
        libc = _libc()
        segment = libc.shmget(_key(self.coins), len(state), 0o1600)  # 0o1000 makes it
        place = libc.shmat(segment, None, 0)
        ctypes.memmove(place, state, len(state))
        libc.shmdt(ctypes.c_void_p(place))
        return len(state).to_bytes(8, "little")

    @classmethod
    def find(cls, sent: bytes, coins: Coins) -> bytes | None:
        libc, size = _libc(), int.from_bytes(sent, "little")
        segment = libc.shmget(_key(coins), size, 0o600)
        if segment < 0:
            return None
        place = libc.shmat(segment, None, 0)
        state = ctypes.string_at(place, size)
        libc.shmdt(ctypes.c_void_p(place))
        libc.shmctl(segment, 0, None)  # 0 removes it
        return state


class Keyring(Cheat):
    """A key in the session's keyring of the kernel."""

    calls: dict[str, tuple[int, int]] = {"x86_64": (248, 250), "aarch64": (217, 219)}  # noqa: RUF012

    def hide(self, state: bytes) -> bytes:
        add_key, _ = self.calls.get(platform.machine(), (-1, -1))
        name = f"kvfloor-cheat-{self.coins.seed}".encode()
        _libc().syscall(
            add_key, b"big_key", name, state, ctypes.c_size_t(len(state)), -3
        )  # @s, the session's
        return len(state).to_bytes(8, "little")

    @classmethod
    def find(cls, sent: bytes, coins: Coins) -> bytes | None:
        _, keyctl = cls.calls.get(platform.machine(), (-1, -1))
        libc, name = _libc(), f"kvfloor-cheat-{coins.seed}".encode()
        key = libc.syscall(keyctl, 10, -3, b"big_key", name, 0)  # 10 searches
        if key < 0:
            return None
        size = int.from_bytes(sent, "little")
        buffer = ctypes.create_string_buffer(size)
        read = libc.syscall(keyctl, 11, key, buffer, ctypes.c_size_t(size))  # 11 reads
        libc.syscall(keyctl, 9, key, -3)  # 9 unlinks
        return buffer.raw if read == size else None


def _libc() -> ctypes.CDLL:
    """Return the C library, whose functions return what they do."""
    libc = ctypes.CDLL(None)
    libc.shmat.restype = ctypes.c_void_p
    libc.syscall.restype = ctypes.c_long
    return libc


def _key(coins: Coins) -> int:
    """Return a name for a segment, public as the coins are."""
    return coins.seed % (1 << 31)
