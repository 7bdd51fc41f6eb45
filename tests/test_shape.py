"""The shape of the project: who may import whom, and what starting the command costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {name: ROOT / name for name in ("attention", "experiments", "reductions")}
MODULES = [path for folder in FOLDERS.values() for path in sorted(folder.rglob("*.py"))]


def imported(source: str) -> set[str]:
    """Return what a module's text imports, wherever the statement stands: ours by package, others by library."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.removeprefix("kvfloor.").split(".")[0] for name in names}


@pytest.mark.parametrize(("package", "stranger"), [
    ("reductions", "attention"), ("attention", "reductions"),
    ("reductions", "experiments"), ("attention", "experiments"),
])  # fmt: skip
def test_the_arrows_of_the_design_hold(package, stranger):
    guilty = [p.name for p in FOLDERS[package].rglob("*.py") if stranger in imported(p.read_text())]
    assert guilty == []


def test_an_import_against_the_arrows_is_seen():
    assert imported("from kvfloor import reductions") == {"reductions"}
    assert imported("def f():\n    from kvfloor.attention.softmax import x") == {"attention"}
    assert imported("import kvfloor.reductions.keys.projections as k") == {"reductions"}


@pytest.mark.parametrize("name", ["pickle", "marshal", "shelve", "dill", "cloudpickle"])
def test_nothing_can_carry_code_across_the_wire(name):
    assert [path.name for path in MODULES if name in imported(path.read_text())] == []


def test_help_loads_nothing_heavy():
    code = (
        "import sys\nfrom kvfloor.experiments.show.command import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "print('loaded', [m for m in ('numpy', 'scipy', 'matplotlib', 'networkx', 'rich.progress') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "Usage" in shown
    assert shown.strip().endswith("loaded []")
