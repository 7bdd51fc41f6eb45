"""The shape of the project: who may import whom, how large anything is, and what starting the command costs."""

import ast
import dataclasses
import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import networkx as nx
import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {name: ROOT / name for name in ("attention", "experiments", "reductions")}
MODULES = [path for folder in FOLDERS.values() for path in sorted(folder.rglob("*.py"))]

IN_SHAPE = ("reductions", "attention", "experiments")
"""Packages whose folders have no circles, at most a dozen entries, and no long module; add one when it has."""

MOST_ENTRIES, MOST_LINES, MOST_PARAMETERS = 12, 349, 6
SHAPED = [
    folder for name in IN_SHAPE for folder in [ROOT / name, *(ROOT / name).rglob("[!_.]*")] if folder.is_dir()
]
RECORDS = {"Certificate", "Claim", "Context", "Record", "Reproduction", "Settings", "Trained", "Transcript"}
"""Dataclasses that only say what was found or what something is, field by field: they may have more fields."""


def imported(source: str) -> set[str]:
    """Return what a module's text imports, wherever the statement stands: ours by package, others by library."""
    return {name.removeprefix("kvfloor.").split(".")[0] for name in imported_names(source)}


def imported_names(source: str) -> set[str]:
    """Return the dotted names that a module's text imports."""
    return names_in(ast.parse(source))


def names_in(tree: ast.Module) -> set[str]:
    """Return the dotted names that a syntax tree imports."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def entries(folder: Path) -> list[Path]:
    """Return the modules and folders in a folder, its `__init__` aside."""
    return sorted(p for p in folder.glob("[!_.]*") if p.is_dir() or p.suffix == ".py")


def running(source: str) -> ast.Module:
    """Return a module's syntax tree without what only type checkers read."""
    tree = ast.parse(source)
    tree.body = [node for node in tree.body if "TYPE_CHECKING" not in ast.dump(getattr(node, "test", node))
                 or not isinstance(node, ast.If)]  # fmt: skip
    return tree


def arrows(folder: Path) -> "nx.DiGraph[str]":
    """Return which entries of a folder import which when they run."""
    prefix = ".".join(["kvfloor", *folder.relative_to(ROOT).parts, ""])
    graph: nx.DiGraph[str] = nx.DiGraph()
    for entry in entries(folder):
        for path in [entry] if entry.is_file() else entry.rglob("*.py"):
            ours = [n for n in names_in(running(path.read_text())) if n.startswith(prefix)]
            targets = {name.removeprefix(prefix).split(".")[0] for name in ours}
            graph.add_edges_from((entry.stem, target) for target in targets - {entry.stem})
    return graph


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


def circles(graph: "nx.DiGraph[str]") -> list[list[str]]:
    """Return the entries that import one another, however long the way round."""
    return [sorted(part) for part in nx.strongly_connected_components(graph) if len(part) > 1]


@pytest.mark.parametrize("folder", SHAPED, ids=lambda folder: str(folder.relative_to(ROOT)))
def test_a_folder_is_in_shape(folder):
    assert circles(arrows(folder)) == []
    assert len(entries(folder)) <= MOST_ENTRIES
    long = {
        p.name: lines for p in folder.glob("*.py") if (lines := len(p.read_text().splitlines())) > MOST_LINES
    }
    assert long == {}


def test_a_circle_and_what_makes_it_are_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    for name, line in (("a/x.py", "from kvfloor.house.b.y import z"), ("b/y.py", "import kvfloor.house.c"),
                       ("c.py", "def f():\n    from kvfloor.house import a"),
                       ("d.py", "if TYPE_CHECKING:\n    from kvfloor.house import e"), ("__init__.py", "import kvfloor.house.a")):  # fmt: skip
        path = tmp_path / "house" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(line)
    found = arrows(tmp_path / "house")
    assert set(found.edges) == {("a", "b"), ("b", "c"), ("c", "a")}
    assert circles(found) == [["a", "b", "c"]]
    assert [entry.name for entry in entries(tmp_path / "house")] == ["a", "b", "c.py", "d.py"]


def callables(package):
    """Yield every public function, method and constructor that a package defines, with its name."""
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        module = importlib.import_module(found.name)
        for name, thing in vars(module).items():
            if name.startswith("_") or getattr(thing, "__module__", None) != module.__name__:
                continue
            if inspect.isfunction(thing):
                yield f"{module.__name__}.{name}", thing
            elif inspect.isclass(thing):
                named = {k: m for k, m in vars(thing).items() if k == "__init__" or not k.startswith("_")}
                for method, made in named.items():
                    if inspect.isfunction(made := inspect.unwrap(getattr(made, "__func__", made))):
                        yield f"{module.__name__}.{name}.{method}", made


def parameters(function) -> int:
    """Return how many parameters a caller may give."""
    return len(set(inspect.signature(function).parameters) - {"self", "cls"})


@pytest.mark.parametrize(("package", "among"), [
    ("reductions", "encodings.values.ValuesEncoding.build"), ("reductions", "keys.incoherence.incoherence_bound"),
    ("attention", "caches.base.frame.WireCache.__init__"), ("attention", "knn.forward.knn_attention"),
    ("experiments.claims", "index.index_barrier.measure"), ("experiments.judging", "barrier.judge_barrier"),
    ("experiments.drawing", "panels.ticks"), ("experiments.game", "protocol.play"),
    ("experiments.engine", "sweep.run"), ("experiments.show", "reproduction.reproductions"),
])  # fmt: skip
def test_nothing_public_takes_more_than_six_parameters(package, among):
    found = dict(callables(importlib.import_module(f"kvfloor.{package}")))
    assert f"kvfloor.{package}.{among}" in found
    many = {name: function for name, function in found.items() if parameters(function) > MOST_PARAMETERS}
    assert {name.split(".")[-2] for name in many} <= RECORDS
    for name in many:
        module, record, _ = name.rsplit(".", 2)
        assert dataclasses.is_dataclass(getattr(importlib.import_module(module), record))


def test_a_seventh_parameter_is_seen():
    def greedy(self, a, b, c, d, e, *, f, g=0): ...

    assert parameters(greedy) == 7


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
