"""A digest of the code that a stored result depends on, so that no result outlives its code.

Folders say what may decide a measurement: `reductions`, `attention` and `experiments.game` may, for every
claim; so may what a claim's ``measure`` reaches in its own module, and the helpers beside it.
"""

import ast
import functools
import importlib.metadata
import importlib.util
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

__all__ = ["code_digest"]

DECIDING = ("kvfloor.reductions", "kvfloor.attention", "kvfloor.experiments.game")


@functools.cache
def code_digest(claim: str) -> str:
    """Return a digest of everything that decides what a claim's blocks measure.

    A better figure or a sharper check reads the stored rows again, a changed construction does not.
    Comments, docstrings and layout do not count. A module that names optional packages in ``REQUIRES``
    depends on their versions too.

    Parameters
    ----------
    claim : str
        Dotted name of the module whose ``measure`` does the work.

    Returns
    -------
    str
        32 hexadecimal digits.

    Raises
    ------
    ValueError
        If there is no such module.
    """
    digest = sha256(_shared_digest().encode())
    source = _source(claim)
    digest.update(_meaning(_reached(_tree(source), "measure")))
    for path in sorted(source.parent.glob("*.py")):
        tree = _tree(path)
        if "measure" not in _definitions(tree):  # a helper, not another claim
            digest.update(_meaning(tree.body))
    for package in getattr(importlib.import_module(claim), "REQUIRES", ()):
        digest.update(f"{package} {importlib.metadata.version(package)}".encode())
    return digest.hexdigest()[:32]


@functools.cache
def _shared_digest() -> str:
    """Return the digest of the code that all claims share."""
    digest = sha256()
    for package in DECIDING:
        for path in sorted(_source(package).parent.rglob("*.py")):
            digest.update(_meaning(_tree(path).body))
    return digest.hexdigest()


def _source(module: str) -> Path:
    """Return the file a module is written in."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ValueError(f"there is no module {module}")
    return Path(spec.origin)


def _tree(path: Path) -> ast.Module:
    """Return a module's syntax tree without docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and ast.get_docstring(node) is not None
        ):
            node.body = node.body[1:]
    return tree


def _definitions(tree: ast.Module) -> dict[str, ast.stmt]:
    """Return a module's functions, classes and assigned names, each with its statement."""
    found: dict[str, ast.stmt] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = (n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name))
            found |= dict.fromkeys(names, node)
    return found


def _reached(tree: ast.Module, start: str) -> list[ast.stmt]:
    """Return a module's imports and what a function of it reaches, in the order of the module."""
    definitions = _definitions(tree)
    reached: set[ast.stmt] = set()
    waiting = [start]
    while waiting:
        node = definitions.get(waiting.pop())
        if node is not None and node not in reached:
            reached.add(node)
            waiting += [n.id for n in ast.walk(node) if isinstance(n, ast.Name)]
    kept = (ast.Import, ast.ImportFrom)
    return [node for node in tree.body if node in reached or isinstance(node, kept)]


def _meaning(statements: Iterable[ast.stmt]) -> bytes:
    """Return statements as text without layout and comments."""
    return "\n".join(map(ast.dump, statements)).encode()
