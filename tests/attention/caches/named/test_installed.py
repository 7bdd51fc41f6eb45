"""Caches of other packages: found by their entry points, by name, here and in fresh processes."""

import json
import sys

import pytest
from click.testing import CliRunner

import kvfloor
from kvfloor.attention.caches import CACHES, Coins, installed_caches, resolve
from kvfloor.attention.caches.named.installed import announced
from kvfloor.experiments.show.command import main

MODULE = '''
from kvfloor.attention.caches.dense import Dense

class Toy(Dense):
    """A toy that keeps everything."""

    source = "nowhere"

def made(dim, value_dim, coins, bits: int = 3, what=object):
    """Make [a] toy."""
    return Dense(dim, value_dim, coins)

number = 3
'''
ENTRY_POINTS = """
[kvfloor.caches]
toy = kvfloor_toy:Toy
toy-made = kvfloor_toy:made
toy-missing = kvfloor_toy:Nothing
toy-number = kvfloor_toy:number
toy-raises = kvfloor_toy_raises:Toy
toy-exits = kvfloor_toy_exits:Toy
dense = kvfloor_toy:Toy
[console_scripts]
toy-command = kvfloor_toy:made
"""


@pytest.fixture
def toy_package(tmp_path, monkeypatch):
    """Lay a package out as pip does, where this process and those that it starts look for packages."""
    (tmp_path / "kvfloor_toy.py").write_text(MODULE)
    (tmp_path / "kvfloor_toy_raises.py").write_text("raise RuntimeError('two\\nlines')")
    (tmp_path / "kvfloor_toy_exits.py").write_text("raise SystemExit(3)")
    info = tmp_path / "kvfloor_toy-1.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: kvfloor-toy\nVersion: 1.5\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def test_without_such_packages_there_is_nothing():
    assert not any(name.startswith("toy") for name in announced())
    with pytest.raises(ValueError, match="no cache is called 'toy'"):
        resolve("toy")


@pytest.mark.usefixtures("toy_package")
def test_announced_caches_are_made_by_name():
    assert type(resolve("toy:dtype=float32").make(2, 2, Coins(0))).__name__ == "Toy"
    assert resolve("toy-made:bits=4").parameters == {"bits": 4}
    assert resolve("dense").factory is CACHES["dense"].factory
    with pytest.raises(ValueError, match=r"no parameter 'bit' \(did you mean 'bits'"):
        resolve("toy-made:bit=4")
    with pytest.raises(ValueError, match="did you mean 'toy-made'"):
        resolve("toy-mode")


@pytest.mark.usefixtures("toy_package")
def test_they_are_described_and_broken_ones_are_one_sentence_each():
    caches, broken = installed_caches()
    assert list(caches) == ["toy", "toy-made"]
    assert (caches["toy"].summary, caches["toy"].source) == ("A toy that keeps everything.", "nowhere")
    assert caches["toy-made"].source == "kvfloor-toy 1.5"
    assert set(broken) == {"dense", "toy-exits", "toy-missing", "toy-number", "toy-raises"}
    assert all("\n" not in error and len(error) < 200 for error in broken.values())
    assert "taken" in broken["dense"]
    assert broken["toy-raises"].endswith("(kvfloor_toy_raises:Toy): RuntimeError: two lines")
    assert "kvfloor-toy 1.5" in broken["toy-number"]
    with pytest.raises(ValueError, match="RuntimeError: two lines"):
        resolve("toy-raises")


@pytest.mark.usefixtures("toy_package")
def test_the_command_lists_them():
    shown = {item["name"]: item for item in json.loads(CliRunner().invoke(main, ["caches", "--json"]).stdout)}
    assert shown["toy-made"]["parameters"] == {"bits": 3, "what": "<class 'object'>"}
    assert "two lines" in shown["toy-raises"]["error"]
    result = CliRunner().invoke(main, ["caches"])
    assert result.exit_code == 0
    assert "Make [a] toy." in result.stdout
    assert "SystemExit: 3" in result.stdout


@pytest.mark.usefixtures("toy_package")
def test_an_audit_finds_them_in_fresh_processes_alone(monkeypatch):
    monkeypatch.delitem(sys.modules, "kvfloor_toy", raising=False)
    found = kvfloor.audit("toy", tokens=64, dim=16, seed=1)
    assert (found.cache, found.errors) == ("toy", 0)
    assert "kvfloor_toy" not in sys.modules  # who holds the secret never imports the cache
    with pytest.raises(ValueError, match="RuntimeError: two lines"):
        kvfloor.audit("toy-raises", tokens=64, dim=16, seed=1)
