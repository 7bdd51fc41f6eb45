"""What the README tells a newcomer must work as it is written."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

import kvfloor
from kvfloor.experiments.show.command import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()


def test_the_cache_of_the_readme_stands_at_full_precision(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (tmp_path / "mine.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    found = kvfloor.audit("mine:Mine", tokens=512, dim=64, seed=1)
    assert found.errors == 0
    assert found.wire_bits == 8 * 24 + 2 * found.full_cache_bits


NAMES = ("hidden", "on", "decoded", "reader", "certified", "frontier", "float16", "seed", "verdict")


def test_the_worked_audit_is_what_the_command_prints():
    result = CliRunner().invoke(main, ["audit", "window:kept_tokens=2048", "--seed", "1"])
    printed = {line.split()[0]: line.split() for line in result.stdout.splitlines() if line.strip()}
    table = README[README.index("$ .venv/bin/kvfloor audit") : README.index("Half of the tokens")]
    shown = {line.split()[0]: line.split() for line in table.splitlines() if line.startswith("     ")}
    assert set(shown) == set(NAMES)
    # Bits that are guessed may fall differently where another machine rounds differently.
    exact = [name for name in shown if name not in ("decoded", "certified", "frontier")]
    assert [shown[name] for name in exact] == [printed[name] for name in exact]
    numbers = [re.sub(r"[,%]", "", printed[name][i]) for name, i in (("decoded", 1), ("certified", 1))]
    claimed = [re.sub(r"[,%]", "", shown[name][i]) for name, i in (("decoded", 1), ("certified", 1))]
    assert [float(n) for n in numbers] == pytest.approx([float(n) for n in claimed], rel=0.02)


def test_every_command_of_the_readme_exists():
    for command in re.findall(r"kvfloor (\w+)(?: |$)", README, re.MULTILINE):
        assert command in main.commands or command in {"hides", "lets"}, command
    for target in re.findall(r"make (\w+)  ", README):
        assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), target


def test_every_figure_and_page_of_the_readme_exists():
    linked = re.findall(r"\]\(([^)#]+)\)", README)
    assert "figures/threshold.png" in linked
    assert all((ROOT / path).exists() for path in linked)
