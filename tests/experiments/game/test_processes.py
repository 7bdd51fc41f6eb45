"""Alice and Bob in processes of their own: what crosses, what does not, and what is told when it breaks."""

import json
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from kvfloor.attention.caches.base import Coins
from kvfloor.experiments.game import cheats
from kvfloor.experiments.game.hosts.isolated import Isolated
from kvfloor.experiments.game.hosts.numpy_caches import NumpyCache
from kvfloor.experiments.game.processes import CacheFailedError, Parcel, Parties
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
'''


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return a user's folder with a cache of their own, which is the current one."""
    (tmp_path / "mine.py").write_text(USER_CACHE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fresh(cache):
    """Return a cache's host, its parties in fresh processes."""
    return Isolated(NumpyCache(cache))


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
    ("mine:Dies", r"Alice's process ended with status 7"),
    ("mine:Missing", r"Missing"),
    ("nowhere.at_all:Cache", r"nowhere"),
    ("mine:factory:scale=big", r"scale"),
    ("mine:factory:size=1", r"size"),
])  # fmt: skip
def test_what_breaks_is_one_sentence(folder, cache, sentence):
    with pytest.raises(CacheFailedError, match=sentence) as caught:
        play(game(64), fresh(cache), Randomness(2, "x"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("cheat", cheats.CHEATS, ids=lambda cheat: cheat.__name__)
def test_no_cheat_gets_away(cheat):
    name = f"kvfloor.experiments.game.cheats:{cheat.__name__}"
    try:
        transcript = play(game(), fresh(name), Randomness(3, cheat.__name__))
    except CacheFailedError:
        return
    guessed = transcript.accuracy < 0.6  # nine standard deviations of 2048 guesses
    assert transcript.impossible() or guessed or transcript.wire_bits > transcript.symbols


@pytest.mark.parametrize("cheat", [cheats.ModuleGlobal, cheats.ClassAttribute, cheats.Closure, cheats.LoadedModules,
                                   cheats.FixedFile, cheats.EnvironmentVariable, cheats.Thread])  # fmt: skip
def test_in_one_process_the_same_cheats_work_and_are_impossible(cheat):
    transcript = play(
        game(), f"kvfloor.experiments.game.cheats:{cheat.__name__}", Randomness(3, cheat.__name__)
    )
    assert transcript.errors == 0
    assert transcript.impossible()


def test_a_party_is_given_the_coins_but_not_the_secret(folder):
    (folder / "spy.py").write_text(
        "import os, json\nfrom mine import Mine\nclass Spy(Mine):\n"
        "    def __init__(self, dim, value_dim, coins):\n"
        "        super().__init__(dim, value_dim, coins)\n"
        "        folder = os.environ['TMPDIR']\n"
        "        request = json.load(open(folder + '/given/facts.json'))\n"
        "        seen = [sorted(os.listdir(folder + '/given')), sorted(request), coins.keys is not None]\n"
        "        open(f'seen-{os.getpid()}', 'w').write(json.dumps(seen))\n"
    )
    play(game(64), fresh("spy:Spy"), Randomness(2, "x"))
    seen = [json.loads(path.read_text()) for path in folder.glob("seen-*")]
    alice = ["coins.npy", "facts.json", "keys.npy", "payload", "values.npy"]
    bob = sorted([*alice, "queries.npy"])
    assert sorted(names for names, _, _ in seen) == sorted([alice, bob])
    assert all(request == ["host", "seed", "stream"] and keys for _, request, keys in seen)


def test_a_reader_is_given_the_answers_but_neither_the_message_nor_the_secret(folder):
    (folder / "spy.py").write_text(
        "import os, json\nfrom mine import Mine\nclass Spy(Mine):\n"
        "    def __init__(self, dim, value_dim, coins):\n"
        "        super().__init__(dim, value_dim, coins)\n"
        "        folder = os.environ['TMPDIR']\n"
        "        seen = [sorted(os.listdir(folder + '/given')), os.path.getsize(folder + '/given/payload')]\n"
        "        open(f'seen-{os.getpid()}', 'w').write(json.dumps(seen))\n"
    )
    play(game(64), fresh("spy:Spy"), Randomness(2, "x"), asking=Asking(readers=("probe",)))
    seen = [json.loads(path.read_text()) for path in folder.glob("seen-*")]
    ((names, payload_bytes),) = [each for each in seen if "outputs.npy" in each[0]]
    bob = ["coins.npy", "facts.json", "keys.npy", "payload", "queries.npy", "values.npy"]
    assert names == sorted([*bob, "levels.npy", "outputs.npy"])
    assert payload_bytes == 0


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
    with Parties("it") as opened:
        yield opened


TWICE = f"{Path(__file__).stem}:twice"


def test_a_parcel_comes_back_whole(parties):
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.zeros((0, 4), np.float32)}
    back = parties.call("her", TWICE, Parcel({"x": [1, None, "z"]}, arrays, b"ab"))
    assert (back.facts, back.payload) == ({"length": 2, "x": [1, None, "z"]}, b"abab")
    for name, array in arrays.items():
        assert back.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(back.arrays[name], array)


def test_an_error_is_one_sentence_and_the_next_party_is_as_fresh_as_the_first(parties):
    told = r"^it: KeyError: 'two\\nlines' \(test_processes.py, line \d+\)$"
    with pytest.raises(CacheFailedError, match=told):
        parties.call("her", TWICE, Parcel(payload=b"raise"))
    with pytest.raises(CacheFailedError, match=r"^it: her process ended with status 3$"):
        parties.call("her", TWICE, Parcel(payload=b"die"))
    assert parties.call("her", TWICE, Parcel(payload=b"ab")).payload == b"abab"


def gone(pid):
    """Return whether a process ends within seconds of being killed, be it that nobody asks how."""
    for _ in range(200):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False


def test_what_a_party_leaves_running_ends_with_it(folder):
    (folder / "daemon.py").write_text(
        "import os, subprocess, sys\nfrom mine import Mine\nclass Daemon(Mine):\n"
        "    def to_bytes(self):\n"
        "        child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "        open('pid', 'w').write(str(child.pid))\n"
        "        return super().to_bytes()\n"
    )
    assert play(game(64), fresh("daemon:Daemon"), Randomness(2, "x")).errors == 0
    assert gone((folder / "pid").read_text())


def test_closing_ends_the_party_that_is_running(folder):
    (folder / "slow.py").write_text(
        "import os, time\nfrom mine import Mine\nclass Slow(Mine):\n"
        "    def to_bytes(self):\n"
        "        open('pid.new', 'w').write(str(os.getpid()))\n"
        "        os.rename('pid.new', 'pid')\n"
        "        time.sleep(60)\n"
    )
    parties, failed = Parties("slow"), []
    stream = game(64).encode(np.zeros(512, np.uint8))

    def audit():
        try:
            Isolated(NumpyCache("slow:Slow"), parties).write(stream, Coins(0))
        except CacheFailedError as error:
            failed.append(str(error))

    waiting = threading.Thread(target=audit)
    waiting.start()
    while not (folder / "pid").exists():
        time.sleep(0.01)
    parties._nest.terminate()
    waiting.join(30)
    parties.close()
    assert failed == ["slow: Alice's process ended with status unknown"]
    assert gone((folder / "pid").read_text())


def test_libraries_are_imported_once_for_all_parties(folder, monkeypatch):
    (folder / "site").mkdir()
    (folder / "site" / "heavy.py").write_text("import os\nopen(f'imported-{os.getpid()}', 'w')\n")
    (folder / "light.py").write_text("import heavy\nfrom mine import Mine\nclass Light(Mine): pass\n")
    monkeypatch.setenv("PYTHONPATH", str(folder / "site"))
    for preload, imports in (((), 2), (("heavy", "no_such_module"), 3)):
        with Parties("light", preload) as parties:
            host = Isolated(NumpyCache("light:Light"), parties)
            assert play(game(64), host, Randomness(2, "x")).errors == 0
        assert len(list(folder.glob("imported-*"))) == imports
