"""Alice and Bob in processes of their own: what crosses, what does not, and what is told when it breaks."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from kvfloor.attention.caches.base import Coins
from kvfloor.experiments.game import cheats
from kvfloor.experiments.game.hosts.isolated import Isolated
from kvfloor.experiments.game.hosts.numpy_caches import NumpyCache
from kvfloor.experiments.game.isolation import Isolation
from kvfloor.experiments.game.parcels import Parcel
from kvfloor.experiments.game.processes import CacheFailedError, Limits, Parties
from kvfloor.experiments.game.protocol import Asking, play
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.reductions.accuracy import TYPICAL
from kvfloor.reductions.encodings.protocol import Tokens
from kvfloor.reductions.encodings.streams.windowed import WindowEncoding
from kvfloor.reductions.encodings.values import ValuesEncoding
from kvfloor.reductions.keys.known import Keys
from kvfloor.reductions.keys.projections import gaussian_keys

USER_CACHE = '''
import numpy as np

class Mine:
    """Keeps everything, as text."""
    def __init__(self, dim, value_dim, coins, scale=1.0):
        self.rows, self.dim = [], dim
    def append(self, keys, values):
        self.rows += np.hstack([keys, values]).tolist()
    def attend(self, queries):
        rows = np.array(self.rows)
        weights = np.exp(queries @ rows[:, :self.dim].T - 30.0)
        return (weights @ rows[:, self.dim:]) / weights.sum(axis=1, keepdims=True)
    def to_bytes(self):
        import json
        return json.dumps([self.dim, self.rows]).encode()
    @classmethod
    def from_bytes(cls, payload, coins):
        import json
        dim, rows = json.loads(payload)
        cache = cls(dim, len(rows[0]) - dim, coins)
        cache.rows = rows
        return cache

def factory(dim, value_dim, coins, *, scale: float = 1.0):
    return Mine(dim, value_dim, coins, scale)

class Breaks(Mine):
    def attend(self, queries):
        return {}["no such answer"]

class Halves(Mine):
    def attend(self, queries):
        return super().attend(queries)[:, :1]

class Dies(Mine):
    def to_bytes(self):
        import os
        os._exit(7)

class Hangs(Mine):
    def attend(self, queries):
        import signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            time.sleep(1)

class Swells(Mine):
    def attend(self, queries):
        kept = []
        while True:
            kept.append(np.ones(1 << 22))
'''


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return a user's folder with a cache of their own, which is the current one."""
    (tmp_path / "mine.py").write_text(USER_CACHE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fresh(cache, **how):
    """Return a cache's host, its parties in fresh processes."""
    return Isolated(NumpyCache(cache), Parties(cache, **how))


def game(tokens=256, value_dim=8):
    """Return INDEX in the values, sized as the cheats want it."""
    keys = Keys.drawn("gaussian", tokens, 32, np.random.default_rng(5), np.float32)
    return ValuesEncoding.build(keys, value_dim, accuracy=TYPICAL)


@pytest.mark.parametrize("cache", ["dense", "golay", "uniform:bits=2", "random:kept_tokens=100"])
def test_fresh_processes_play_as_one_process_does(cache):
    plays = [play(game(), h, Randomness(2, "x"), asking=Asking(500)) for h in (fresh(cache), cache)]
    assert plays[0] == plays[1]


@pytest.mark.parametrize("cache", ["mine:Mine", "mine:factory", "mine:factory:scale=2.5"])
def test_a_cache_of_the_current_folder_is_found(folder, cache):
    transcript = play(game(64), fresh(cache), Randomness(2, "x"))
    assert transcript.errors == 0


def test_a_folder_called_as_one_of_ours_does_not_take_its_place(folder):
    for name in ("attention", "reductions", "experiments", "json"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise RuntimeError('the wrong package')")
    assert play(game(64), fresh("mine:Mine"), Randomness(2, "x")).errors == 0


@pytest.mark.parametrize(("cache", "sentence"), [
    ("mine:Breaks", r"mine:Breaks: KeyError: 'no such answer' \(mine.py, line \d+\)"),
    ("mine:Halves", r"attend must return shape"),
    ("mine:Dies", r"mine:Dies: Alice's process ended with status 7 and left nothing"),
    ("mine:Missing", r"Missing"),
    ("nowhere.at_all:Cache", r"nowhere"),
    ("mine:factory:scale=big", r"scale"),
    ("mine:factory:size=1", r"size"),
])  # fmt: skip
def test_what_breaks_is_one_sentence(folder, cache, sentence):
    with pytest.raises(CacheFailedError, match=sentence) as caught:
        play(game(64), fresh(cache), Randomness(2, "x"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("cache", "limits", "sentence"), [
    ("mine:Hangs", {"seconds": 3}, "mine:Hangs: Bob's process took more than 3 seconds"),
    ("mine:Swells", {"memory_bytes": 1 << 30}, r"mine:Swells: MemoryError: Unable to allocate .* \(.*line \d+\)"),
])  # fmt: skip
def test_what_hangs_or_swells_meets_its_limit(folder, cache, limits, sentence):
    start = time.monotonic()
    with pytest.raises(CacheFailedError, match=sentence):
        play(game(64), fresh(cache, limits=Limits(**limits)), Randomness(2, "x"))
    assert time.monotonic() - start < 60


@pytest.mark.parametrize("limits", [{"seconds": 0}, {"seconds": float("nan")}, {"memory_bytes": -1}])
def test_limits_are_positive(limits):
    with pytest.raises(ValueError, match=f"the limit {next(iter(limits))} must be positive, got"):
        Limits(**limits)


def test_a_message_larger_than_the_limit_is_refused(parties):
    with pytest.raises(CacheFailedError, match=r"^some:cache: OSError: \[Errno 27\] File too large"):
        parties.call("Alice's", f"{Path(__file__).stem}:large", Parcel(), 1 << 10)


def large(parcel):
    """Return more than was allowed."""
    return Parcel(payload=bytes(1 << 22))


@pytest.mark.parametrize("cheat", [cheats.ModuleGlobal, cheats.ClassAttribute, cheats.Closure, cheats.LoadedModules,
                                   cheats.FixedFile, cheats.EnvironmentVariable, cheats.Thread])  # fmt: skip
def test_in_one_process_the_same_cheats_work_and_are_impossible(cheat):
    transcript = play(
        game(), f"kvfloor.experiments.game.cheats:{cheat.__name__}", Randomness(3, cheat.__name__)
    )
    assert transcript.errors == 0
    assert transcript.impossible()


class Watched(Parties):
    """Parties that tell what each was given."""

    given = []  # noqa: RUF012

    def call(self, party, function, parcel, at_most=None):
        """Note what crosses and call."""
        self.given.append((party, sorted(parcel.arrays), sorted(parcel.facts), len(parcel.payload)))
        return super().call(party, function, parcel, at_most)


def test_a_party_is_given_the_coins_but_not_the_secret_and_a_reader_never_the_message():
    Watched.given.clear()
    host = Isolated(NumpyCache("uniform:bits=1"), Watched("uniform:bits=1"))
    play(game(64), host, Randomness(2, "x"), asking=Asking(readers=("probe",)))
    (alice, bob, reader) = Watched.given
    facts = ["host", "seed", "stream"]
    assert alice == ("Alice's", ["coins", "keys", "values"], facts, 0)
    assert bob[:3] == ("Bob's", ["coins", "keys", "queries", "values"], facts)
    assert bob[3] > 0
    names = ["coins", "keys", "levels", "outputs", "queries", "values"]
    assert reader == ("the reader's", names, ["host", "readers", "seed", "stream"], 0)


def test_nothing_is_left_on_disk(folder, monkeypatch):
    scratch = folder / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    fresh("dense").write(game(64).encode(np.zeros(512, np.uint8)), Coins(0))
    assert os.listdir(scratch) == []


def test_bob_may_come_without_a_token():
    """A window of just the tokens that hold bits: a token of Bob's would push one out."""
    keys, earlier = np.split(gaussian_keys(50, 32, np.random.default_rng(0)), [20])
    encoding = WindowEncoding.build(Keys(keys), 4, Tokens(earlier, np.ones((30, 4))))
    cache = "unmasked-window:window_tokens=20,dtype=float64"
    found = [play(encoding, host, Randomness(2, "x")) for host in (cache, fresh(cache))]
    assert found[0] == found[1]
    assert found[0].errors == 0


def twice(parcel):
    """Return a text's length and the text twice, or raise or die on demand."""
    text = parcel.payload.decode()
    if text == "raise":
        raise KeyError("two\nlines")
    if text == "die":
        os._exit(3)
    return Parcel({"length": len(text), **parcel.facts}, parcel.arrays, (2 * text).encode())


@pytest.fixture
def parties(monkeypatch):
    """Return parties that find the function above."""
    monkeypatch.chdir(Path(__file__).parent)
    return Parties("some:cache")


TWICE = f"{Path(__file__).stem}:twice"


def test_a_parcel_comes_back_whole(parties):
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.zeros((0, 4), np.float32)}
    back = parties.call("her", TWICE, Parcel({"x": [1, None, "z"]}, arrays, b"ab"))
    assert (back.facts, back.payload) == ({"length": 2, "x": [1, None, "z"]}, b"abab")
    for name, array in arrays.items():
        assert back.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(back.arrays[name], array)


def test_an_error_is_one_sentence_and_the_next_party_is_as_fresh_as_the_first(parties):
    told = r"^some:cache: KeyError: 'two\\nlines' \(test_processes.py, line \d+\)$"
    with pytest.raises(CacheFailedError, match=told):
        parties.call("her", TWICE, Parcel(payload=b"raise"))
    with pytest.raises(
        CacheFailedError, match=r"^some:cache: Alice's process ended with status 3 and left nothing$"
    ):
        parties.call("Alice's", TWICE, Parcel(payload=b"die"))
    assert parties.call("her", TWICE, Parcel(payload=b"ab")).payload == b"abab"


def running(mark):
    """Return the processes whose command line has a mark, zombies apart."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            if mark.encode() in Path(f"/proc/{pid}/cmdline").read_bytes() and state != "Z":
                found.append(int(pid))
        except OSError:
            continue
    return found


def named(pid):
    """Return what a process calls itself."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()


def gone(mark):
    """Return whether all processes with a mark end within seconds."""
    deadline = time.monotonic() + 10
    while running(mark) and time.monotonic() < deadline:
        time.sleep(0.05)
    return running(mark) == []


DAEMON = """
import os, subprocess, sys
from mine import Mine
class Daemon(Mine):
    def to_bytes(self):
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "MARK"], start_new_session=SESSION)
        return super().to_bytes()
class Slow(Mine):
    def attend(self, queries):
        open("/proc/self/comm", "w").write("slow")
        import time
        time.sleep(60)
"""


@pytest.mark.parametrize(("way", "session"), [("none", False), ("bubblewrap", True), ("unshare", True)])
def test_what_a_party_leaves_running_ends_with_it(folder, tools, way, session):
    if way not in tools:
        pytest.skip(f"{way} does not work here")
    mark = f"kvfloor-test-{os.getpid()}-{time.monotonic_ns()}"
    (folder / "daemon.py").write_text(DAEMON.replace("MARK", mark).replace("SESSION", str(session)))
    assert play(game(64), fresh("daemon:Daemon", way=Isolation(way)), Randomness(2, "x")).errors == 0
    assert gone(mark)


AUDIT = """
import sys, kvfloor
kvfloor.audit("daemon:Slow", tokens=64, dim=16, isolated_by=sys.argv[1])
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGSTOP])
@pytest.mark.parametrize("way", ["none", "bubblewrap", "unshare"])
def test_parties_end_with_the_audit_and_leave_nothing(folder, tools, way, number):
    if way not in tools:
        pytest.skip(f"{way} does not work here")
    (folder / "daemon.py").write_text(DAEMON)
    scratch = folder / "scratch"
    scratch.mkdir()
    command = [sys.executable, "-c", AUDIT, way]
    environment = {**os.environ, "TMPDIR": str(scratch)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as audit:
        while "slow" not in map(named, running(str(folder))):  # what starts a party names the folder
            assert audit.poll() is None
            time.sleep(0.05)
        audit.send_signal(number)
        if number == signal.SIGSTOP:
            audit.kill()
    assert gone(str(folder))
    assert os.listdir(scratch) == []
