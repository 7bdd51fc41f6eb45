"""Fresh processes: the one place where somebody else's code is run apart from the judge, who holds x.

The judge starts one interpreter, which imports libraries and waits; every call is a process of its own, forked
from it, that has seen nothing of any other. It has a folder, and when it is done, it and whatever it started
are killed and the folder is removed. Only parcels cross, as files: JSON values, arrays and bytes. The judge
never imports what is audited. What still leaks from one party to the next (a file somewhere, a process that
hid) buys nothing: the certificate then exceeds the wire bits and the verdict is `impossible`.
"""

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["CacheFailedError", "Parcel", "Parties"]

OURS = Path(__file__).parents[2]


class CacheFailedError(ValueError):
    """What is audited could not be imported, raised an error or died; the message says where."""


@dataclass(frozen=True, slots=True, eq=False)
class Parcel:
    """What crosses between the judge and a party.

    Parameters
    ----------
    facts : mapping
        JSON values.
    arrays : mapping of str to ndarray
        Plain arrays.
    payload : bytes
        A message.
    """

    facts: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    payload: bytes = b""

    def save(self, folder: Path) -> None:
        """Write the parcel into a new folder."""
        folder.mkdir()
        for name, array in self.arrays.items():
            np.save(folder / f"{name}.npy", array, allow_pickle=False)
        (folder / "payload").write_bytes(self.payload)
        (folder / "facts.json").write_text(json.dumps(dict(self.facts)))

    @classmethod
    def load(cls, folder: Path, *, mapped: bool = False) -> Self:
        """Return the parcel that lies in a folder; its arrays are read at once, or mapped."""
        mode: Literal["r"] | None = "r" if mapped else None
        arrays = {path.stem: np.load(path, mmap_mode=mode) for path in folder.glob("*.npy")}
        return cls(json.loads((folder / "facts.json").read_text()), arrays, (folder / "payload").read_bytes())


class Parties:
    """Runs parties, each in a fresh process; a context manager.

    Parameters
    ----------
    subject : str
        What is audited: errors begin with it.
    preload : sequence of str
        Modules to import before any party: heavy libraries, which are then paid for once. One that cannot
        be imported is passed over.
    """

    def __init__(self, subject: str, preload: Sequence[str] = ()) -> None:
        self._subject, self._preload = subject, preload
        self._nest: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, party: str, function: str, parcel: Parcel) -> Parcel:
        """Call a function in a fresh process.

        Parameters
        ----------
        party : str
            Whose process it is, such as "Alice's".
        function : str
            ``module:name`` of a function of ours from a parcel to a parcel.
        parcel : Parcel
            Its argument.

        Returns
        -------
        Parcel
            What it returned.

        Raises
        ------
        CacheFailedError
            If it raised an error, or its process died; one sentence.
        """
        nest = self._nest = self._nest or self._start()
        assert nest.stdin is not None
        assert nest.stdout is not None
        with tempfile.TemporaryDirectory(prefix="kvfloor-", ignore_cleanup_errors=True) as folder:
            parcel.save(Path(folder) / "given")
            with contextlib.suppress(BrokenPipeError):
                nest.stdin.write(json.dumps([function, folder]).encode() + b"\n")
                nest.stdin.flush()
            status = nest.stdout.readline().strip().decode() or "unknown"
            error = Path(folder) / "error"
            if error.exists():
                text = error.read_text()
                raise CacheFailedError(text if self._subject in text else f"{self._subject}: {text}")
            if status != "0":
                raise CacheFailedError(f"{self._subject}: {party} process ended with status {status}")
            return Parcel.load(Path(folder) / "reply")

    def close(self) -> None:
        """End the interpreter, and the party that it may be waiting for."""
        if self._nest is not None:
            self._nest.terminate()
            with contextlib.suppress(BrokenPipeError):
                self._nest.communicate()
        self._nest = None

    def _start(self) -> "subprocess.Popen[bytes]":
        """Start the interpreter that parties are forked from."""
        # -P keeps the current folder from shadowing what we import; for a party it comes first, as for a script.
        command = [sys.executable, "-P", "-m", "kvfloor.experiments.game.processes", *self._preload]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, start_new_session=True)


def _nest(preload: Sequence[str]) -> None:
    """Import what takes long; then fork a party for every line of input and tell how it ended."""
    asked, told, running = os.fdopen(os.dup(0)), os.dup(1), 0
    # Whatever a library or a cache reads or prints is no part of this conversation.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)

    def stop(*_: object) -> None:
        """End with the party that is running."""
        if running:
            _kill_group(running)
        os._exit(1)

    signal.signal(signal.SIGTERM, stop)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in preload:
            with contextlib.suppress(Exception):  # a party that needs it says what is wrong
                importlib.import_module(name)
    while line := asked.readline():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of threads: BLAS looks after its own
            running = os.fork()
        if not running:
            os.setpgid(0, 0)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.close(asked.fileno())
            os.close(told)
            function, folder = json.loads(line)
            _party(function, Path(folder))
        status = os.waitstatus_to_exitcode(os.waitpid(running, 0)[1])
        _kill_group(running)
        running = 0
        os.write(told, f"{status}\n".encode())


def _kill_group(leader: int) -> None:
    """Kill a party and every process of its group that it left behind."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def _party(name: str, folder: Path) -> None:
    """Do one party's work with what lies in the folder; leave a reply, or one sentence, and end."""
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    sys.path.insert(0, os.getcwd())
    module, _, function = name.partition(":")
    status = 0
    try:
        reply: Parcel = getattr(importlib.import_module(module), function)(
            Parcel.load(folder / "given", mapped=True)
        )
        reply.save(folder / "reply")
    except Exception as error:  # somebody else's code
        (folder / "error").write_text(_sentence(error))
        status = 1
    sys.stderr.flush()
    os._exit(status)  # the interpreter's own shutdown would wait for threads that a cache left behind


def _sentence(error: Exception) -> str:
    """Return an error in one sentence; with the place where it was raised, unless that is a sentence of ours."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    text = " ".join(str(error).split()) or "no message"
    if isinstance(error, ValueError) and Path(frame.filename).is_relative_to(OURS):
        return text
    kind = "" if type(error) is ValueError else f"{type(error).__name__}: "
    return f"{kind}{text} ({Path(frame.filename).name}, line {frame.lineno})"


if __name__ == "__main__":
    from kvfloor.experiments.game import processes  # under its own name, like all of ours

    processes._nest(sys.argv[1:])
