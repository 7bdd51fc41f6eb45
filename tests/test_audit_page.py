"""docs/audit-your-compressor.md, followed to the letter: its files are written, its commands run."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "audit-your-compressor.md").read_text()
CACHE, PACKED, CHECK = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
(PROJECT,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
AUDITS = re.findall(r"    \$ \.venv/bin/kvfloor (audit .*)\n\n((?:     .*\n)+)", PAGE)
KVFLOOR = [
    sys.executable,
    "-c",
    "from kvfloor.experiments.show.command import main; main(prog_name='kvfloor')",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Lay out the page's files, and what installing its project adds beside them."""
    path = tmp_path_factory.mktemp("page")
    (path / "rounded.py").write_text(CACHE + "\n\n" + PACKED)
    (path / "check.py").write_text(CHECK)
    project = tomllib.loads(PROJECT)
    name, version = project["project"]["name"], project["project"]["version"]
    info = path / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    ((group, points),) = project["project"]["entry-points"].items()
    lines = [f"{key} = {value}" for key, value in points.items()]
    (info / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines]))
    assert project["tool"]["setuptools"]["py-modules"] == ["rounded"]
    return path


def run(folder, *command):
    """Run a command in the folder, where what was installed is found."""
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=True
    ).stdout


def rows(table):
    """Return the lines of an audit's table by the first word of their name."""
    return {line.split()[0]: line.split() for line in table.splitlines() if line.strip()}


def number(word):
    """Return a printed number."""
    return float(re.sub(r"[,%]", "", word))


def test_there_are_as_many_audits_as_commands():
    assert len(AUDITS) == PAGE.count("kvfloor audit ") >= 6


@pytest.mark.parametrize(("command", "table"), AUDITS, ids=[command for command, _ in AUDITS])
def test_an_audit_prints_what_the_page_shows(folder, command, table):
    printed, shown = rows(run(folder, *KVFLOOR, *shlex.split(command))), rows(table)
    assert len(shown) == 9
    # Bits that are guessed may fall differently where another machine rounds differently.
    exact = [name for name in shown if name not in ("decoded", "certified", "frontier")]
    assert [shown[name] for name in exact] == [printed[name] for name in exact]
    assert number(printed["decoded"][1]) == pytest.approx(number(shown["decoded"][1]), abs=1)
    capacity = number(shown["hidden"][1])
    for name in ("certified", "frontier"):
        assert number(printed[name][1]) == pytest.approx(number(shown[name][1]), abs=0.02 * capacity)


def test_the_cache_is_listed_by_its_name(folder):
    listed = run(folder, *KVFLOOR, "caches")
    (line,) = [line for line in listed.splitlines() if line.split()[:1] == ["rounded"]]
    assert "bits=8" in line
    assert "rounded-cache 1.0" in line


def test_the_check_passes(folder):
    run(folder, sys.executable, "check.py")


def test_a_wrong_check_would_fail(folder):
    (folder / "wrong.py").write_text(CHECK.replace("Packed", "Rounded"))
    with pytest.raises(subprocess.CalledProcessError):
        run(folder, sys.executable, "wrong.py")
