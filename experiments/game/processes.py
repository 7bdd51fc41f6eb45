"""Fresh processes: the one place where somebody else's code is run apart from the judge, who holds x.

Every party is an interpreter of its own that has seen nothing of any other, behind whatever isolation the
machine allows (`kvfloor.experiments.game.isolation`). It is given one parcel and leaves one reply, both in
files without a name; when it ends, or has taken too long, whatever it started is killed, and only then is the
reply read, under a limit and as bytes that anybody may have written. The judge never imports what is audited.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO, Any

from kvfloor.experiments.game.isolation import Isolation, isolation, visible_folders
from kvfloor.experiments.game.parcels import Parcel, ParcelError, nameless

__all__ = ["CacheFailedError", "Limits", "Parties"]

START = (
    "import json, sys; path, *rest = json.loads(sys.argv[1]); sys.path[:] = path; "
    "from kvfloor.experiments.game.party import main; main(*rest)"
)
SLACK_BYTES = 1 << 20  # of a reply, beside its arrays and its message
SHOWN_BYTES = 1 << 13  # of what a party printed
INHERITED = ("OPENBLAS_", "OMP_", "MKL_", "NPY_", "LLAMA_", "HF_", "TOKENIZERS_", "LD_LIBRARY_PATH")


class CacheFailedError(ValueError):
    """What is audited could not be imported, raised an error, died, or went beyond a limit; one sentence."""


def _most_memory() -> int:
    """Return three quarters of the machine's memory in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 3 // 4


@dataclass(frozen=True, slots=True)
class Limits:
    """What a party may take.

    Parameters
    ----------
    seconds : float
        Wall time, positive.
    memory_bytes : int
        Memory of its own, and the size of its message, positive; three quarters of the machine's by default.

    Raises
    ------
    ValueError
        If a limit is not positive.
    """

    seconds: float = 600.0
    memory_bytes: int = field(default_factory=_most_memory)

    def __post_init__(self) -> None:
        for name in ("seconds", "memory_bytes"):
            if not getattr(self, name) > 0:
                raise ValueError(f"the limit {name} must be positive, got {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class Parties:
    """Runs parties, each in a fresh process.

    Parameters
    ----------
    subject : str
        What is audited: errors begin with it.
    way : Isolation
        How they are kept apart; the best that works here by default.
    limits : Limits
        What each may take.
    """

    subject: str
    way: Isolation = field(default_factory=isolation)
    limits: Limits = field(default_factory=Limits)

    def call(self, party: str, function: str, parcel: Parcel, at_most: int | None = None) -> Parcel:
        """Call a function in a fresh process.

        Parameters
        ----------
        party : str
            Whose process it is, such as "Alice's".
        function : str
            ``module:name`` of a function of ours from a parcel to a parcel.
        parcel : Parcel
            Its argument.
        at_most : int, optional
            Bytes of the reply's arrays and message; the limit on memory by default.

        Returns
        -------
        Parcel
            What it returned.

        Raises
        ------
        CacheFailedError
            If it raised an error, died, took too long or left no such reply; one sentence.
        """
        largest = SLACK_BYTES + (self.limits.memory_bytes if at_most is None else at_most)
        with nameless() as given, nameless() as reply, nameless() as said:
            parcel.write(given)
            status = self._run(function, (given, reply, said), largest)
            _show(said)
            if status is None:
                raise self._failure(f"{party} process took more than {self.limits.seconds:g} seconds")
            try:
                found = Parcel.read(reply, largest)
            except ParcelError as error:
                names = {-number: number.name for number in signal.Signals}
                how = f"status {status}" if status >= 0 else names.get(status, f"signal {-status}")
                raise self._failure(f"{party} process ended with {how} and left {error}") from error
        if isinstance(sentence := found.facts.get("error"), str):
            raise self._failure(" ".join(sentence.split())[:1000])
        return found

    def _failure(self, sentence: str) -> CacheFailedError:
        """Return an error that begins with what is audited."""
        return CacheFailedError(sentence if self.subject in sentence else f"{self.subject}: {sentence}")

    def _run(self, function: str, files: tuple[IO[bytes], ...], largest: int) -> int | None:
        """Run a party to its end and kill what it started; return its exit status, None if it took too long."""
        current = os.getcwd()
        path = [each for each in sys.path if each and os.path.abspath(each) != current] + [current]
        given, reply, said = (file.fileno() for file in files)
        parent = os.getpid() if self.way.tool == "none" else None
        start = json.dumps([path, function, [given, reply], parent, self.limits.memory_bytes, largest])
        command = [os.path.abspath(sys.executable), "-P", "-c", START, start]
        party = subprocess.Popen(
            self.way.command(command, visible_folders(current)),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            env=self._environment(),
            pass_fds=(given, reply),
            start_new_session=True,
        )
        late = threading.Event()

        def end() -> None:
            """Kill the party and its group."""
            late.set()
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(party.pid, signal.SIGKILL)

        timer = threading.Timer(self.limits.seconds, end)
        timer.daemon = True
        timer.start()
        try:
            status = party.wait()
            took_too_long = late.is_set()
        finally:
            timer.cancel()
            end()
            party.wait()
        return None if took_too_long else status

    def _environment(self) -> Mapping[str, Any]:
        """Return the environment of every party."""
        kept = {name: value for name, value in os.environ.items() if name.startswith(INHERITED)}
        scratch = os.environ.get("TMPDIR", "/tmp") if self.way.tool == "none" else "/dev/shm"
        return {**kept, "PATH": os.defpath, "LANG": "C.UTF-8", "HOME": scratch, "TMPDIR": scratch}


def _show(said: IO[bytes]) -> None:
    """Pass the end of what a party printed on to standard error, without what could steer a terminal."""
    size = os.fstat(said.fileno()).st_size
    text = os.pread(said.fileno(), SHOWN_BYTES, max(0, size - SHOWN_BYTES)).decode(errors="replace")
    shown = "".join(each for each in text if each.isprintable() or each in "\n\t")
    if shown.strip():
        print(shown.rstrip(), file=sys.stderr)
