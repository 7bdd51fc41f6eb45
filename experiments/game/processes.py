"""Alice and Bob as processes of their own, for audits: nothing but bytes and public coins between them.

The judge, who holds x, never imports the cache. Alice's process gets the tokens and the coins and leaves a
payload; it and whatever it started are then killed and its folder is removed. Bob's process gets the
payload, the coins, his token and the queries. A third process, where the cache's code may be run on public
values, solves for the values from his answers. What still leaks (a file somewhere, a process that hid) buys
nothing: the certificate then exceeds the wire bits and the verdict is `impossible`.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches import resolve
from kvfloor.attention.caches.base import Coins
from kvfloor.experiments.game.parties import Answered, ask, solve, write
from kvfloor.reductions.encodings.protocol import Stream, Tokens, stream_of

__all__ = ["CacheFailedError", "FreshProcesses"]


_NAMES = {"alice": "Alice's", "bob": "Bob's", "reader": "the reader's"}


class CacheFailedError(ValueError):
    """The audited cache could not be imported or raised an error; the message says where."""


@dataclass(frozen=True, slots=True)
class FreshProcesses:
    """Run Alice and Bob each in a fresh interpreter; see `kvfloor.experiments.game.parties.Channel`."""

    def send(self, cache: str, coins: Coins, tokens: Stream) -> bytes:
        """Run Alice's process and return the bytes she left."""
        return _run("alice", cache, coins, tokens, {})

    def receive(
        self, cache: str, coins: Coins, payload: bytes, token: Stream, queries: NDArray[Any]
    ) -> NDArray[Any]:
        """Run Bob's process and return his answers."""
        outputs = _run("bob", cache, coins, token, {"queries": queries}, payload=payload)
        return np.frombuffer(outputs, queries.dtype).reshape(len(queries), token.value_dim)

    def solve(self, cache: str, coins: Coins, readers: Sequence[str], answered: Answered) -> NDArray[Any]:
        """Run the process of those who solve for the values and return their estimates."""
        known = {"queries": answered.queries, "outputs": answered.outputs, "levels": answered.levels}
        found = _run("reader", cache, coins, answered.token, known, readers=readers)
        return np.frombuffer(found).reshape(len(readers), len(answered.keys), answered.outputs.shape[1])


def _run(
    role: str,
    cache: str,
    coins: Coins,
    stream: Stream,
    arrays: dict[str, NDArray[Any]],
    *,
    payload: bytes = b"",
    readers: Sequence[str] = (),
) -> bytes:
    """Run one party in a fresh interpreter and a folder of its own; return the bytes it left."""
    with tempfile.TemporaryDirectory(prefix="kvfloor-", ignore_cleanup_errors=True) as folder:
        path = Path(folder)
        for name, array in {**stream.named, **arrays, "coins": coins.keys}.items():
            if array is not None:
                np.save(path / f"{name}.npy", array, allow_pickle=False)
        (path / "payload").write_bytes(payload)
        request = {"cache": cache, "seed": coins.seed, "stream": [*stream.named]}
        (path / "request.json").write_text(json.dumps(request | ({"readers": [*readers]} if readers else {})))
        # -P keeps the current folder from shadowing what we import; for the cache it comes first, as for a script.
        party = subprocess.Popen(
            [sys.executable, "-P", "-m", "kvfloor.experiments.game.processes", role, folder],
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr.fileno() if _has_descriptor(sys.stderr) else subprocess.DEVNULL,
            env={**os.environ, "TMPDIR": folder},
            start_new_session=True,
        )
        try:
            status = party.wait()
        finally:
            _kill_group(party)
        if (path / "error").exists():
            raise CacheFailedError(f"{cache}: {(path / 'error').read_text()}")
        if status != 0:
            raise CacheFailedError(f"{cache}: {_NAMES[role]} process ended with status {status}")
        return (path / "reply").read_bytes()


def _has_descriptor(stream: Any) -> bool:
    """Return whether a stream stands for a file that a child process can write to."""
    try:
        stream.fileno()
    except (AttributeError, OSError, ValueError):
        return False
    return True


def _kill_group(party: "subprocess.Popen[bytes]") -> None:
    """Kill a party and every process of its group that it left behind."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(party.pid, signal.SIGKILL)
    party.wait()


def _party(role: str, path: Path) -> bytes:
    """Do one party's work with what lies in the folder and return the reply."""
    request = json.loads((path / "request.json").read_text())
    stream = stream_of({name: np.load(path / f"{name}.npy", mmap_mode="r") for name in request["stream"]})
    public = path / "coins.npy"
    coins = Coins(request["seed"], np.load(public, mmap_mode="r") if public.exists() else None)
    spec = resolve(request["cache"])
    if role == "alice":
        return write(spec.make(stream.dim, stream.value_dim, coins), stream)
    queries = np.load(path / "queries.npy")
    if role == "reader":
        outputs, levels = (np.load(path / f"{name}.npy") for name in ("outputs", "levels"))
        assert coins.keys is not None
        assert isinstance(stream, Tokens)
        answered = Answered(coins.keys, stream, queries, outputs, levels)
        return solve(spec, coins, request["readers"], answered).tobytes()
    cache = spec.restore((path / "payload").read_bytes(), stream.dim, stream.value_dim, coins)
    return ask(cache, stream, queries, stream.value_dim).tobytes()


def _main(role: str, folder: str) -> int:
    """Run one party; leave its reply, or one sentence on what went wrong, in the folder."""
    sys.path.insert(0, os.getcwd())
    path = Path(folder)
    try:
        (path / "reply").write_bytes(_party(role, path))
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(frame.filename).name}, line {frame.lineno}"
        text = " ".join(str(error).split()) or "no message"
        kind = "" if type(error) is ValueError else f"{type(error).__name__}: "
        (path / "error").write_text(f"{kind}{text} ({where})")
        return 1
    return 0


if __name__ == "__main__":
    # The interpreter's own shutdown would wait for threads that a cache left behind.
    status = _main(sys.argv[1], sys.argv[2])
    sys.stderr.flush()
    os._exit(status)
