"""Result stores of several machines put together: every row is checked, and all are added or none."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from kvfloor.experiments.engine.code import code_digest
from kvfloor.experiments.engine.store import Record, Store
from kvfloor.experiments.engine.sweep import check

__all__ = ["Merged", "merge"]


@dataclass(frozen=True, slots=True)
class Merged:
    """What came of one store.

    Parameters
    ----------
    path : Path
        The store.
    added, known : int
        Blocks that were new, and that were there already.
    """

    path: Path
    added: int
    known: int


def merge(sources: Sequence[Path], into: Path, claims: Collection[str]) -> list[Merged]:
    """Add the blocks of stores to another, all or none.

    Parameters
    ----------
    sources : sequence of Path
        The stores; they are only read.
    into : Path
        The store they are added to, made if it does not exist.
    claims : collection of str
        Dotted names of the modules whose rows are known: those that the present code measured are checked.

    Returns
    -------
    list of Merged
        One a source.

    Raises
    ------
    StoreError
        If a store cannot be used, holds a wrong row, or another result for the same block than another.
    """
    read = [_rows(path, claims) for path in sources]
    is_new = not into.exists()
    try:
        with Store(into) as target:
            added = target.merge(*read)
    except BaseException:
        if is_new:
            into.unlink(missing_ok=True)
        raise
    return [Merged(p, new, len(rows) - new) for p, new, rows in zip(sources, added, read, strict=True)]


def _rows(path: Path, claims: Collection[str]) -> list[Record]:
    """Return a store's rows, checked."""
    with Store(path, writable=False) as store:
        rows = list(store.records())
    for row in rows:
        if row.claim in claims and row.code == code_digest(row.claim):
            check(row, row.claim, path)
    return rows
