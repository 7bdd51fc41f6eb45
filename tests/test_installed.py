"""The project as it is installed: one name, whatever else a folder calls experiments, attention or reductions."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ("kvfloor", "reductions", "attention", "experiments")
FILES = ("pyproject.toml", "README.md", "LICENSE")
OTHERS = ("experiments", "attention", "reductions", "tests")
BUILD = "import sys; from setuptools import build_meta; getattr(build_meta, sys.argv[1])(sys.argv[2])"

CACHE = """
import numpy as np

import attention, experiments, reductions, tests

assert {m.MINE for m in (attention, experiments, reductions, tests)} == {"mine"}


class Mine:
    def __init__(self, dim, value_dim, coins):
        self.dim, self.rows = dim, np.empty((0, dim + value_dim), np.float32)

    def append(self, keys, values):
        self.rows = np.vstack([self.rows, np.hstack([keys, values])]).astype(np.float32)

    def attend(self, queries):
        weights = np.exp(queries @ self.rows[:, : self.dim].T - np.linalg.norm(queries, axis=1, keepdims=True))
        return weights @ self.rows[:, self.dim :] / weights.sum(axis=1, keepdims=True)

    def to_bytes(self):
        return np.array([self.dim, self.rows.shape[1]], "<u4").tobytes() + self.rows.tobytes()

    @classmethod
    def from_bytes(cls, payload, coins):
        dim, width = map(int, np.frombuffer(payload[:8], "<u4"))
        cache = cls(dim, width - dim, coins)
        cache.rows = np.frombuffer(payload[8:], np.float32).reshape(-1, width)
        return cache
"""
SCRIPT = """
import json, sys
import experiments
import kvfloor
import kvfloor.attention.caches, kvfloor.reductions.problems, kvfloor.experiments

assert experiments.MINE == "mine"
found = kvfloor.audit("experiments.caches.mine:Mine", tokens=64, dim=16, seed=1)
print(json.dumps([found.verdict, found.errors, kvfloor.__file__]))
"""


def copy_sources(folder):
    """Copy what a source tree needs, links as links."""
    ignored = shutil.ignore_patterns("__pycache__")
    for name in SOURCES:
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=ignored)
    for name in FILES:
        shutil.copy(ROOT / name, folder / name)


def build(kind, source, target):
    """Build a distribution as pip does, and return its path."""
    target.mkdir()
    subprocess.run(
        [sys.executable, "-c", BUILD, f"build_{kind}", str(target)],
        cwd=source,
        check=True,
        capture_output=True,
    )
    (built,) = target.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Return the project's wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    (folder / "source").mkdir()
    copy_sources(folder / "source")
    return build("wheel", folder / "source", folder / "built")


@pytest.fixture(scope="module")
def places(wheel, tmp_path_factory):
    """Return where `kvfloor` is imported from: the checkout as it is, and a folder that the wheel is installed into."""
    installed = tmp_path_factory.mktemp("installed")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        str(installed),
    ]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True)
    return {"checkout": ROOT, "wheel": installed}


@pytest.fixture
def project(tmp_path):
    """Return a folder whose packages have the names of ours."""
    for name in OTHERS:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text('MINE = "mine"\n')
    (tmp_path / "experiments" / "caches").mkdir()
    (tmp_path / "experiments" / "caches" / "__init__.py").touch()
    (tmp_path / "experiments" / "caches" / "mine.py").write_text(CACHE)
    (tmp_path / "script.py").write_text(SCRIPT)
    return tmp_path


def run(place, folder, *command):
    """Run Python in a folder with kvfloor imported from a place, and return what it printed."""
    environment = {**os.environ, "PYTHONPATH": str(place), "PYTHONWARNINGS": "error::UserWarning"}
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def contents(path):
    """Return what Python files, and what other files, lie in our folders."""
    files = [p.relative_to(path) for name in SOURCES for p in (path / name).rglob("*") if p.is_file()]
    files = [p for p in files if "__pycache__" not in p.parts and p.suffix != ".pyc"]
    return {Path("kvfloor", p) if p.parts[0] != "kvfloor" else p for p in files}


def test_the_wheel_holds_our_files_under_one_name_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as opened:
        names = {Path(name) for name in opened.namelist() if ".dist-info/" not in name}
    assert {name.parts[0] for name in names} == {"kvfloor"}
    assert names == contents(ROOT)
    assert Path("kvfloor/py.typed") in names
    assert {name.suffix for name in names} == {".py", ".typed", ".jinja", ".txt"}


def test_a_source_distribution_builds_the_same_wheel(wheel, tmp_path):
    (tmp_path / "source").mkdir()
    copy_sources(tmp_path / "source")
    archive = build("sdist", tmp_path / "source", tmp_path / "sdist")
    with tarfile.open(archive) as opened:
        opened.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    again = build("wheel", unpacked, tmp_path / "wheel")
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as other:
        assert sorted(one.namelist()) == sorted(other.namelist())
        for name in one.namelist():
            assert name.endswith("RECORD") or one.read(name) == other.read(name), name


@pytest.mark.parametrize("place", ["checkout", "wheel"])
def test_a_script_beside_folders_of_our_names_audits_its_own_cache(places, project, place):
    verdict, errors, where = json.loads(run(places[place], project, "script.py"))
    assert (verdict, errors) == ("consistent", 0)
    assert Path(where) == places[place] / "kvfloor" / "__init__.py"


@pytest.mark.parametrize("place", ["checkout", "wheel"])
@pytest.mark.parametrize("start", [["-m", "kvfloor"], ["-P", "-m", "kvfloor"]])
def test_the_command_audits_a_cache_in_a_folder_of_our_names(places, project, place, start):
    options = ["--tokens", "64", "--dim", "16", "--seed", "1", "--json"]
    shown = json.loads(run(places[place], project, *start, "audit", "experiments.caches.mine:Mine", *options))
    assert (shown["verdict"], shown["errors"]) == ("consistent", 0)


@pytest.mark.parametrize("place", ["checkout", "wheel"])
def test_a_claim_runs_alone_in_a_folder_of_our_names(places, project, place):
    module = "kvfloor.experiments.claims.index.index_barrier"
    options = ["--results", "r.sqlite", "--figures", "drawn", "--json", "--workers", "1"]
    (outcome,) = json.loads(run(places[place], project, "-m", module, *options))
    assert outcome["verdict"] == "holds"
    assert (project / "drawn" / "index-barrier.svg").exists()
    assert run(places[place], project, "-m", "kvfloor", "report", "--results", "r.sqlite").startswith(
        "report.html"
    )


def test_a_claim_runs_alone_as_a_file_of_the_checkout(tmp_path):
    options = [
        "--results",
        str(tmp_path / "r.sqlite"),
        "--figures",
        str(tmp_path),
        "--json",
        "--workers",
        "1",
    ]
    (outcome,) = json.loads(run(ROOT, ROOT, "-m", "experiments.claims.index.index_barrier", *options))
    assert outcome["verdict"] == "holds"


def test_the_installed_command_answers(places):
    command = places["wheel"] / "bin" / "kvfloor"
    shown = run(places["wheel"], places["wheel"], str(command), "floor", "--json")
    assert json.loads(shown)["tokens"] == 4096
    assert run(places["wheel"], "/", str(command), "--version").split()[-1] == json.loads(
        run(places["wheel"], "/", "-c", "import json, kvfloor; print(json.dumps(kvfloor.__version__))")
    )
