"""Kill anything, at any moment, with any signal: the next run goes on, and nothing is left behind.

A handful of random kills by default; KVFLOOR_KILLS says how many (`make test-all` takes a hundred).
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="processes are found through /proc")

KILLS = int(os.environ.get("KVFLOOR_KILLS", "4"))
CLAIM = "index-barrier"
SIGNALS = ("SIGKILL", "SIGINT", "SIGTERM", "SIGHUP", "SIGSTOP")
PATIENCE = 60.0  # seconds in which a run that is left alone must end, on a busy machine


@dataclass(frozen=True)
class Run:
    """A run of the command in a folder of its own, and every process that it starts."""

    folder: Path
    mark: str
    process: "subprocess.Popen[str]"

    @classmethod
    def start(cls, folder, *options):
        """Start the command."""
        mark = f"{os.getpid()}-{time.monotonic_ns()}"
        (folder / "tmp").mkdir(exist_ok=True)
        command = [
            "reproduce",
            CLAIM,
            "--workers",
            "2",
            "--results",
            "r.sqlite",
            "--figures",
            "figures",
            "--json",
        ]
        environment = {**os.environ, "KVFLOOR_TEST_MARK": mark, "TMPDIR": str(folder / "tmp")}
        process = subprocess.Popen([sys.executable, "-m", "kvfloor", *command, *options], cwd=folder,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)  # fmt: skip
        return cls(folder, f"KVFLOOR_TEST_MARK={mark}\0", process)

    def processes(self):
        """Return the ids of all processes of the run that are not dead."""
        found = []
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                if self.mark.encode() in Path(f"/proc/{name}/environ").read_bytes():
                    found.append(int(name))
            except OSError:  # it ended meanwhile, or is not ours
                continue
        return found

    def begun(self):
        """Wait until Python's own way to die of Ctrl-C, which prints a traceback, is no longer in force."""
        seen = False
        while self.process.poll() is None:
            caught = self.handles(signal.SIGINT)
            if seen and not caught:
                return
            seen |= caught
            time.sleep(0.001)

    def handles(self, number):
        """Return whether the process has a handler for a signal."""
        try:
            status = Path(f"/proc/{self.process.pid}/status").read_text()
        except OSError:
            return False
        mask = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
        return bool(int(mask, 16) >> (number - 1) & 1)

    def left(self):
        """Return what is still there some time after the command has ended."""
        deadline = time.monotonic() + 10.0
        while (alive := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.02)
        files = [path.name for path in self.folder.rglob("*") if path.is_file()]
        expected = {"r.sqlite", "r.sqlite-wal", "r.sqlite-shm", f"{CLAIM}.svg", f"{CLAIM}.png"}
        return alive, sorted(set(files) - expected), list((self.folder / "tmp").iterdir())


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Return how long a run takes, its verdict and its figures."""
    folder = tmp_path_factory.mktemp("undisturbed")
    start = time.monotonic()
    run = Run.start(folder)
    shown, told = run.process.communicate()
    assert run.process.returncode == 0, told
    assert run.left() == ([], [], [])
    return time.monotonic() - start, judged(shown), figures(folder)


def judged(shown):
    """Return the verdict and its evidence."""
    (outcome,) = json.loads(shown)
    return outcome["verdict"], outcome["evidence"]


def figures(folder):
    """Return the bytes of the figures."""
    return {path.name: path.read_bytes() for path in sorted((folder / "figures").iterdir())}


def strike(run, victim, name, rng):
    """Send a signal to the command or to a process that it started; return whether it should end of it."""
    if victim == "command":
        targets = [run.process.pid]
    else:
        targets = [pid for pid in run.processes() if pid != run.process.pid]
    if not targets:
        return False
    target = rng.choice(targets)
    try:
        os.kill(target, getattr(signal, name))
        if name == "SIGSTOP":
            time.sleep(rng.uniform(0, 0.3))
            os.kill(target, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return victim == "command"


@pytest.mark.parametrize("seed", range(KILLS))
def test_whatever_is_killed_the_next_run_goes_on_and_nothing_is_left(seed, tmp_path, undisturbed):
    seconds, verdict, drawn = undisturbed
    rng = random.Random(seed)
    victim = ("command", "a worker")[seed % 2]
    name = SIGNALS[seed // 2 % len(SIGNALS)]
    run = Run.start(tmp_path)
    run.begun()
    time.sleep(rng.uniform(0, 1.1 * seconds))
    ends = strike(run, victim, name, rng)
    shown, told = run.process.communicate(timeout=PATIENCE + 10 * seconds)
    assert "Traceback" not in told
    assert run.left() == ([], [], [])
    if ends and shown == "":
        status = run.process.returncode
        number = signal.SIGKILL if name == "SIGSTOP" else getattr(signal, name)
        assert status in (-number, 128 + number)  # before there was anything to say, or after
        assert ("the same command continues" in " ".join(told.split())) == (status > 0)
        again = Run.start(tmp_path)
        shown, told = again.process.communicate(timeout=PATIENCE + 10 * seconds)
        assert again.left() == ([], [], [])
    assert judged(shown) == verdict
    assert figures(tmp_path) == drawn


def test_a_run_that_is_hung_up_on_while_it_ignores_that_goes_on(tmp_path, undisturbed):
    _, verdict, _ = undisturbed
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        run = Run.start(tmp_path)
    finally:
        signal.signal(signal.SIGHUP, before)
    while not (tmp_path / "r.sqlite").exists():
        time.sleep(0.05)
    os.kill(run.process.pid, signal.SIGHUP)
    shown, _ = run.process.communicate(timeout=PATIENCE)
    assert judged(shown) == verdict
