"""The result store: every finished block of work is one row of an SQLite file, written once.

A row is keyed by what was asked (task, seed, block) and by a digest of the code that answered, so that a
killed run continues where it stopped, nothing counts twice, and an answer of older code is never reused.
"""

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

__all__ = ["Record", "Store", "StoreError"]

APPLICATION_ID = 0x4B56464C  # "KVFL"
VERSION = 1
SCHEMA = """
CREATE TABLE blocks (
    task TEXT NOT NULL, seed TEXT NOT NULL, block INTEGER NOT NULL, code TEXT NOT NULL,
    claim TEXT NOT NULL, variant TEXT NOT NULL, parameters TEXT NOT NULL,
    measured TEXT NOT NULL, seconds REAL NOT NULL,
    PRIMARY KEY (task, seed, block, code)
) WITHOUT ROWID
"""
COLUMNS = "task, seed, block, code, claim, variant, parameters, measured, seconds"


class StoreError(ValueError):
    """The results file cannot be used; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Record:
    """One finished block.

    Parameters
    ----------
    task, seed, block, code : str, str, int, str
        The key: digest of what was asked, root seed, repetition, digest of the code that answered.
    claim, variant : str
        The claim's id, and "claim" or the name of a negative control.
    parameters, measured : dict
        What was asked and what was measured, as JSON values.
    seconds : float
        Time that the measurement took; not part of the result.
    """

    task: str
    seed: str
    block: int
    code: str
    claim: str
    variant: str
    parameters: dict[str, Any]
    measured: dict[str, Any]
    seconds: float

    @property
    def key(self) -> tuple[str, str, int, str]:
        """What identifies the block."""
        return (self.task, self.seed, self.block, self.code)

    def to_row(self) -> tuple[Any, ...]:
        """Return the record as a row of the table."""
        texts = (json.dumps(self.parameters, sort_keys=True), json.dumps(self.measured, sort_keys=True))
        return (*self.key, self.claim, self.variant, *texts, self.seconds)

    @classmethod
    def from_row(cls, row: tuple[Any, ...]) -> Self:
        """Return the record that a row of the table holds."""
        task, seed, block, code, claim, variant, parameters, measured, seconds = row
        asked, found = json.loads(parameters), json.loads(measured)
        return cls(task, seed, block, code, claim, variant, asked, found, seconds)


class Store:
    """An open results file.

    Parameters
    ----------
    path : str or Path
        The SQLite file; made if it does not exist and `create` is true.
    create : bool
        Whether a missing file is made.

    Raises
    ------
    StoreError
        If the file is missing, read-only, corrupt, of another version or not ours.
    """

    def __init__(self, path: str | Path, *, create: bool = True) -> None:
        self.path = Path(path)
        if not self.path.exists() and (not create or not self.path.absolute().parent.is_dir()):
            raise StoreError(f"there is no results file {self.path}; `kvfloor reproduce` makes one")
        with self._explained():
            self._connection = sqlite3.connect(self.path, timeout=30.0, isolation_level=None)
        try:
            with self._explained():
                self._prepare()
        except StoreError:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def add(self, record: Record) -> None:
        """Write one finished block; a block that is there already stays as it is."""
        with self._explained():
            self._insert(record)

    def records(self, *, task: str | None = None, seed: str | None = None) -> Iterator[Record]:
        """Yield the stored blocks in the order of their keys, of one task and seed if given."""
        query = f"SELECT {COLUMNS} FROM blocks WHERE (?1 IS NULL OR task = ?1) AND (?2 IS NULL OR seed = ?2)"
        with self._explained():
            for row in self._connection.execute(query, (task, seed)).fetchall():
                yield Record.from_row(row)

    def merge(self, records: Iterable[Record]) -> int:
        """Add blocks of other stores, all or none; return how many were new.

        Raises
        ------
        StoreError
            If a block is stored here with another result: the same question has one answer.
        """
        added = 0
        with self._explained():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                for record in records:
                    added += self._insert(record)
                    (stored,) = self._connection.execute(
                        "SELECT measured FROM blocks WHERE task = ? AND seed = ? AND block = ? AND code = ?",
                        record.key,
                    ).fetchone()
                    if json.loads(stored) != record.measured:
                        raise StoreError(
                            f"{self.path} already holds another result for block {record.block} of "
                            f"{record.claim} {json.dumps(record.parameters)}; nothing was merged"
                        )
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")
        return added

    def _insert(self, record: Record) -> int:
        """Insert a record unless its key is there; return the number of rows added."""
        marks = ", ".join("?" * 9)
        query = f"INSERT OR IGNORE INTO blocks ({COLUMNS}) VALUES ({marks})"
        return self._connection.execute(query, record.to_row()).rowcount

    def _prepare(self) -> None:
        """Set the file up, or check that it is one of ours and writable."""
        execute = self._connection.execute
        (application,) = execute("PRAGMA application_id").fetchone()
        (version,) = execute("PRAGMA user_version").fetchone()
        (tables,) = execute("SELECT count(*) FROM sqlite_master").fetchone()
        if (application, version, tables) == (0, 0, 0):
            execute("PRAGMA journal_mode = WAL")
            execute("BEGIN EXCLUSIVE")
            if not execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                execute(SCHEMA)
                execute(f"PRAGMA application_id = {APPLICATION_ID}")
                execute(f"PRAGMA user_version = {VERSION}")
            execute("COMMIT")
        elif application != APPLICATION_ID:
            raise StoreError(f"{self.path} is not a results file of kvfloor; name another with --results")
        elif version != VERSION:
            raise StoreError(
                f"{self.path} has results format {version}, and this kvfloor reads format {VERSION}; "
                "name another file with --results"
            )
        execute("PRAGMA synchronous = NORMAL")
        execute(f"PRAGMA user_version = {VERSION}")  # fails before any work where nothing can be written

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what SQLite says into one sentence about this file."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise StoreError(f"the results file {self.path} cannot be used: {error}") from error
