"""What keeps parties apart: each tool closes what it says, and the cheats that no count exposes are stopped.

`make test-all` tries every cheat behind every tool.
"""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from kvfloor.experiments.game import cheats
from kvfloor.experiments.game.hosts.isolated import Isolated
from kvfloor.experiments.game.hosts.numpy_caches import NumpyCache
from kvfloor.experiments.game.isolation import CHANNELS, Isolation, isolation
from kvfloor.experiments.game.parcels import Parcel
from kvfloor.experiments.game.processes import CacheFailedError, Parties
from kvfloor.experiments.game.protocol import play
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.reductions.accuracy import TYPICAL
from kvfloor.reductions.encodings.values import ValuesEncoding
from kvfloor.reductions.keys.known import Keys

THOROUGH = bool(os.environ.get("KVFLOOR_THOROUGH"))
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux'")
TOOLS = ("bubblewrap", "unshare", "none")
PAGE = (Path(__file__).parents[3] / "docs" / "isolation.md").read_text(encoding="utf-8")


def outcome(cheat, tool):
    """Return how an audit of a cheat ends behind a tool: stopped, impossible, counted, or not caught."""
    name = f"kvfloor.experiments.game.cheats:{cheat.__name__}"
    keys = Keys.drawn("gaussian", 256, 32, np.random.default_rng(5), np.float32)
    encoding = ValuesEncoding.build(keys, 8, accuracy=TYPICAL)
    host = Isolated(NumpyCache(name), Parties(name, Isolation(tool)))
    try:
        transcript = play(
            encoding, host, Randomness(time.monotonic_ns(), name)
        )  # names that nobody used before
    except CacheFailedError:
        return "stopped"
    if transcript.impossible():
        return "impossible"
    if transcript.accuracy < 0.6:  # nine standard deviations of 2048 guesses
        return "stopped"
    honest = cheat is cheats.DeclaredSize  # its message carries its state
    return "counted" if honest else "not caught"


def told():
    """Return what the page tells of each cheat: its outcome behind each tool."""
    lines = [line for line in PAGE.splitlines() if line.startswith("| `")]
    cells = [[cell.strip(" `*") for cell in line.strip("|").split("|")] for line in lines]
    return {name: dict(zip(TOOLS, outcomes, strict=True)) for name, _, *outcomes in cells}


EVERY = list(dict.fromkeys((*cheats.CHEATS, *cheats.OUTSIDE, *cheats.PADDED)))
FEW = [(cheat, "bubblewrap") for cheat in cheats.PADDED] + [
    (cheats.PADDED[0], "unshare"), (cheats.PADDED[0], "none"), (cheats.JudgesMemory, "none"),
]  # fmt: skip


def test_the_page_tells_of_every_cheat():
    assert told().keys() == {cheat.__name__ for cheat in EVERY}


@LINUX
@pytest.mark.parametrize(("cheat", "tool"), [(c, t) for c in EVERY for t in TOOLS] if THOROUGH else FEW,
                         ids=lambda value: value if isinstance(value, str) else value.__name__)  # fmt: skip
def test_cheats_end_as_the_page_tells(cheat, tool, tools):
    if tool not in tools:
        pytest.skip(f"{tool} does not work here")
    expected = told()[cheat.__name__][tool]
    if cheat.__name__.endswith("JudgesMemory") and tool == "none" and os.getuid() != 0:
        pytest.skip("who may read another process' memory differs from machine to machine")
    assert outcome(cheat, tool) == expected


def look(parcel):
    """Return what a party can see of the world."""
    facts = parcel.facts
    seen = {
        "processes": sum(name.isdigit() for name in os.listdir("/proc")),
        "environment": sorted(os.environ),
    }
    seen["descriptors"] = sorted(
        os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd") if int(name) > 2
        if os.path.exists(f"/proc/self/fd/{name}")
    )  # fmt: skip
    seen["files"] = [folder for folder in facts["folders"] if os.listdir(folder)]
    seen["written"] = []
    for folder in facts["writable"]:
        try:
            Path(folder, f"by-{os.getpid()}").write_text("x")
            seen["written"].append(folder)
        except OSError:
            continue
    try:
        with socket.create_connection(("127.0.0.1", facts["port"]), timeout=2):
            seen["network"] = True
    except OSError:
        seen["network"] = False
    return Parcel(seen)


@pytest.fixture
def seen(monkeypatch, tmp_path):
    """Return what a party sees behind a tool."""
    monkeypatch.chdir(Path(__file__).parent)
    monkeypatch.setenv("KVFLOOR_SECRET", "x")
    home = tmp_path / "home"
    home.mkdir()

    def see(tool):
        """Run a party behind a tool."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            facts = {"port": server.getsockname()[1], "folders": ["/tmp", "/var/tmp", "/dev/shm"]}
            facts["writable"] = [str(Path(__file__).parent), str(home) if home.exists() else "/"]
            parties = Parties("it", Isolation(tool))
            return parties.call("its", f"{Path(__file__).stem}:look", Parcel(facts)).facts

    yield see
    for left in Path(__file__).parent.glob("by-*"):
        left.unlink()


@LINUX
@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_closes_what_it_says(tool, tools, seen):
    if tool not in tools:
        pytest.skip(f"{tool} does not work here")
    found, closed = seen(tool), Isolation(tool).closed
    assert (found["network"] is False) == ("network" in closed)
    assert (found["processes"] <= 3) == ("processes" in closed)
    assert (found["written"] == []) == ("other files" in closed)
    assert "KVFLOOR_SECRET" not in found["environment"]
    assert len(found["descriptors"]) <= 2, found["descriptors"]  # its parcel and its reply
    if "temporary files" in closed:
        assert set(found["files"]) <= {"/tmp"}  # the way to the current folder may lead through it


def test_what_is_open_and_what_is_closed_are_all_there_is():
    for tool in TOOLS:
        way = Isolation(tool)
        assert sorted([*way.open, *way.closed]) == sorted(CHANNELS)
    assert Isolation("bubblewrap").open == ()
    assert Isolation("none").closed == ("descriptors", "environment")


def test_the_first_tool_that_works_is_taken(monkeypatch):
    works = {"bubblewrap": "there is no bwrap", "unshare": None, "none": None}
    monkeypatch.setattr("kvfloor.experiments.game.isolation._works", lambda way: works[way.tool])
    assert isolation().tool == "unshare"
    works["unshare"] = "Operation not permitted"
    assert isolation().tool == "none"
    with pytest.raises(ValueError, match="isolation by bubblewrap does not work here: there is no bwrap"):
        isolation("bubblewrap")
    with pytest.raises(
        ValueError, match="isolation must be one of auto, bubblewrap, unshare, none; got 'docker'"
    ):
        isolation("docker")


def test_a_machine_without_the_tools_is_told(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    from kvfloor.experiments.game.isolation import _works

    _works.cache_clear()
    try:
        assert isolation().tool == "none"
        with pytest.raises(ValueError, match="there is no bwrap"):
            isolation("bubblewrap")
    finally:
        _works.cache_clear()


def test_an_audit_says_what_was_closed(tools):
    import kvfloor

    for tool in tools:
        found = kvfloor.audit("uniform:bits=1", tokens=64, dim=16, isolated_by=tool)
        assert (found.isolation, found.open_channels) == (tool, Isolation(tool).open)
        line = next(row for row in found.rows() if row[0] == "isolation")
        assert line[1] == tool
        assert all(channel in line[2] for channel in Isolation(tool).open)


WRITES = """
import os, re
from kvfloor.experiments.game.cheats import ModuleGlobal
class Prints(ModuleGlobal):
    def to_bytes(self):
        for pid in (os.getppid(), 1, *map(int, filter(str.isdigit, os.listdir("/proc")))):
            try:
                if b"kvfloor" in open(f"/proc/{pid}/cmdline", "rb").read():
                    open(f"/proc/{pid}/fd/1", "w").write("{}")
            except OSError:
                pass
        return super().to_bytes()
"""


@LINUX
def test_nobody_writes_into_the_document(tools, tmp_path):
    if "bubblewrap" not in tools:
        pytest.skip("bubblewrap does not work here")
    (tmp_path / "writes.py").write_text(WRITES)
    command = [
        sys.executable,
        "-m",
        "kvfloor",
        "audit",
        "writes:Prints",
        "--tokens",
        "64",
        "--dim",
        "16",
        "--json",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["cache"] == "writes:Prints"
