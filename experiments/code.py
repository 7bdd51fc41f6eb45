"""A digest of the code that a stored result depends on, so that no result outlives its code."""

import ast
import functools
import importlib.metadata
import importlib.util
from hashlib import sha256
from pathlib import Path

__all__ = ["code_digest"]

# What only organises, judges or shows measurements; all else in the three packages may decide them.
BYSTANDERS = frozenset(
    {
        "auditor",
        "barrier",
        "claim",
        "cli",
        "code",
        "floors",
        "instances",
        "leaderboard_page",
        "models",
        "plotting",
        "real_auditor",
        "report",
        "reproduction",
        "scaling",
        "screen",
        "store",
        "sweep",
    }
)
AFTER_THE_FACT = ("judge", "draw", "main")  # functions of a claim that only read stored rows


@functools.cache
def code_digest(claim: str) -> str:
    """Return a digest of everything that decides what a claim's blocks measure.

    It covers `reductions`, `attention`, what of `experiments` is not a bystander, and the claim's module
    without what runs after the fact: a better figure or a sharper check reads the stored rows again, a
    changed construction does not. Comments, docstrings and layout do not count. A module that names
    optional packages in ``REQUIRES`` depends on their versions too.

    Parameters
    ----------
    claim : str
        Dotted name of the claim's module.

    Returns
    -------
    str
        32 hexadecimal digits.
    """
    digest = sha256(_shared_digest().encode())
    digest.update(_meaning(_source(claim), without=AFTER_THE_FACT))
    for package in getattr(importlib.import_module(claim), "REQUIRES", ()):
        digest.update(f"{package} {importlib.metadata.version(package)}".encode())
    return digest.hexdigest()[:32]


@functools.cache
def _shared_digest() -> str:
    """Return the digest of the code that all claims share."""
    digest = sha256()
    packages = [path for name in ("reductions", "attention") for path in _source(name).parent.rglob("*.py")]
    helpers = [path for path in _source("experiments").parent.glob("*.py") if path.stem not in BYSTANDERS]
    for path in sorted([*packages, *helpers]):
        digest.update(_meaning(path))
    return digest.hexdigest()


def _source(module: str) -> Path:
    """Return the file a module is written in."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ValueError(f"there is no module {module}")
    return Path(spec.origin)


def _meaning(path: Path, without: tuple[str, ...] = ()) -> bytes:
    """Return a module's syntax tree as text, without docstrings and the named functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tree.body = [n for n in tree.body if not (isinstance(n, ast.FunctionDef) and n.name in without)]
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and ast.get_docstring(node) is not None
        ):
            node.body = node.body[1:]
    return ast.dump(tree).encode()
