"""Which code a stored row depends on: folders say it, and what a claim's own work reaches."""

import json
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from kvfloor.experiments.engine import code

ROOT = Path(__file__).parents[3]
MODULE = "kvfloor.experiments.claims.index.index_barrier"
MEASURE = "def measure(parameters, randomness):\n    return help()\ndef help():\n    return 1\n"

TOUCH = """
import json, pathlib, sys
from kvfloor.experiments.engine import code
changed = {}
before = code.code_digest(CLAIM)
for path in map(pathlib.Path, json.loads(sys.stdin.read())):
    text = path.read_text()
    path.write_text(text + "\\n\\ndef added(): return 7\\n")
    code.code_digest.cache_clear(), code._shared_digest.cache_clear()
    changed[str(path)] = code.code_digest(CLAIM) != before
    path.write_text(text)
print(json.dumps(changed))
"""


@pytest.fixture(scope="module")
def changed(tmp_path_factory):
    """Touch every module of a copy of the project, one after the other: which touch measures a claim anew?"""
    copy = tmp_path_factory.mktemp("copy")
    for name in ("kvfloor", "reductions", "attention", "experiments"):
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    modules = [str(p.relative_to(copy)) for name in ("reductions", "attention", "experiments")
               for p in sorted((copy / name).rglob("*.py"))]  # fmt: skip
    script = f"CLAIM = {MODULE!r}\n{TOUCH}"
    found = subprocess.run([sys.executable, "-c", script], cwd=copy, env={"PYTHONPATH": str(copy)},
                           input=json.dumps(modules), capture_output=True, text=True, check=True)  # fmt: skip
    return json.loads(found.stdout)


DECIDING = ("reductions/", "attention/", "experiments/game/")
ELSEWHERE = ("show", "audits", "engine", "judging", "drawing")


def test_what_can_change_a_measurement_measures_it_anew(changed):
    deciding = [name for name in changed if name.startswith(DECIDING)]
    assert len(deciding) > 60
    assert [name for name in deciding if not changed[name]] == []


def test_what_only_judges_keeps_or_shows_does_not(changed):
    for folder in ELSEWHERE:
        touched = [name for name in changed if name.startswith(f"experiments/{folder}/")]
        assert touched, folder
        assert [name for name in touched if changed[name]] == []
    others = [name for name in changed if name.startswith("experiments/claims/") and changed[name]]
    assert [name for name in others if not name.startswith("experiments/claims/index/")] == []


def reached(tmp_path, text):
    """Return the digestible meaning of what a claim's work reaches in a module with this text."""
    path = tmp_path / "module.py"
    path.write_text(textwrap.dedent(text))
    return code._meaning(code._reached(code._tree(path), "measure"))


@pytest.mark.parametrize("text", [
    '"""Another docstring."""\n' + MEASURE,
    MEASURE.replace("return 1", "return 1  # why"),
    MEASURE.replace("\n", '\n    """What."""\n', 1),
    MEASURE + "def draw(records):\n    return 3\n",
    MEASURE + "def judge(records):\n    return 3\nCOLOUR = 3\n",
])  # fmt: skip
def test_words_judging_and_drawing_do_not_change_a_measurement(tmp_path, text):
    assert reached(tmp_path, text) == reached(tmp_path, MEASURE)


@pytest.mark.parametrize("text", [
    MEASURE.replace("return help()", "return help() + 1"),
    MEASURE.replace("return 1", "return 2"),
    "import os\n" + MEASURE,
])  # fmt: skip
def test_other_code_is_another_measurement(tmp_path, text):
    assert reached(tmp_path, text) != reached(tmp_path, MEASURE)


def test_a_constant_that_the_work_reads_counts(tmp_path):
    text = MEASURE.replace("return 1", "return N")
    assert reached(tmp_path, text + "N = 3\n") != reached(tmp_path, text + "N = 4\n")


def test_every_claim_has_a_digest_of_its_own():
    claims = [MODULE, "kvfloor.experiments.claims.certificates.threshold"]
    assert len({code.code_digest(claim) for claim in claims}) == 2
    with pytest.raises(ValueError, match="there is no module"):
        code.code_digest("kvfloor.experiments.no_such_claim")
