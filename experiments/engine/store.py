"""The result store: every finished block of work is one row of an SQLite file, written once.

A row is keyed by what was asked (task, seed, block) and by a digest of the code that answered, so that a
killed run continues where it stopped, nothing counts twice, and an answer of older code is never reused. It
says where it comes from, and has a checksum that is verified whenever it is read.
"""

import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

__all__ = ["Record", "Store", "StoreError"]

APPLICATION_ID = 0x4B56464C  # "KVFL"
VERSION = 2
SCHEMA = (
    """CREATE TABLE blocks (
    task TEXT NOT NULL, seed TEXT NOT NULL, block INTEGER NOT NULL, code TEXT NOT NULL,
    claim TEXT NOT NULL, variant TEXT NOT NULL, parameters TEXT NOT NULL,
    measured TEXT NOT NULL, seconds REAL NOT NULL, written TEXT NOT NULL, origin TEXT NOT NULL,
    checksum TEXT NOT NULL,
    PRIMARY KEY (task, seed, block, code)
) WITHOUT ROWID""",
    "CREATE TABLE origins (id TEXT PRIMARY KEY, facts TEXT NOT NULL) WITHOUT ROWID",
)
KEY = "task, seed, block, code"
COLUMNS = f"{KEY}, claim, variant, parameters, measured, seconds, written, origin, checksum"


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
        Time that the measurement took; like what follows not part of the result.
    written : str
        When it was stored, ISO 8601 in UTC.
    origin : dict
        What measured it, and the command that asked; see `kvfloor.experiments.engine.origin`.
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
    written: str = ""
    origin: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str, int, str]:
        """What identifies the block."""
        return (self.task, self.seed, self.block, self.code)

    @property
    def id(self) -> str:
        """A digest of the key, 32 hexadecimal digits, by which people name the row."""
        return _digest(*self.key)

    def to_row(self) -> tuple[Any, ...]:
        """Return the record as a row of the table."""
        parameters, measured, origin = map(_text, (self.parameters, self.measured, self.origin))
        said = (self.claim, self.variant, parameters, measured, self.seconds, self.written, _digest(origin))
        return (*self.key, *said, _digest(*self.key, *said))

    @classmethod
    def from_row(cls, row: tuple[Any, ...], origins: dict[str, dict[str, str]]) -> Self:
        """Return the record that a row of the table holds.

        Parameters
        ----------
        row : tuple
            The columns.
        origins : dict
            What its column "origin" can stand for.

        Raises
        ------
        ValueError
            If it is not what was written.
        """
        task, seed, block, code, claim, variant, parameters, measured, seconds, written, origin, checksum = (
            row
        )
        if _digest(*row[:-1]) != checksum or origin not in origins:
            raise ValueError("its checksum does not fit what it says")
        asked, found = json.loads(parameters), json.loads(measured)
        return cls(task, seed, block, code, claim, variant, asked, found, seconds, written, origins[origin])


class Store:
    """An open results file.

    Parameters
    ----------
    path : str or Path
        The SQLite file; made if it does not exist and is to be written to.
    writable : bool
        Whether blocks will be added; a file that is only read may be write-protected, and so may its folder.

    Raises
    ------
    StoreError
        If the file is missing, corrupt, of another version or not ours, or cannot be written to but should.
    """

    def __init__(self, path: str | Path, *, writable: bool = True) -> None:
        self.path = Path(path)
        if not self.path.exists() and (not writable or not self.path.absolute().parent.is_dir()):
            raise StoreError(f"there is no results file {self.path}; `kvfloor reproduce` makes one")
        if writable:
            self._open(self.path, self._prepare)
            return
        try:
            self._open(self.path, self._check)
        except StoreError:
            # SQLite wants to write beside what it reads, unless nobody else does.
            if self.path.with_name(f"{self.path.name}-wal").exists():
                raise
            self._open(f"{self.path.absolute().as_uri()}?immutable=1", self._check, uri=True)

    def _open(self, name: str | Path, prepare: Callable[[], None], *, uri: bool = False) -> None:
        """Connect, and prepare the file or close it again."""
        with self._explained():
            self._connection = sqlite3.connect(name, timeout=30.0, isolation_level=None, uri=uri)
        try:
            with self._explained():
                prepare()
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

    def records(
        self, *, task: str | None = None, seed: str | None = None, row: str | None = None
    ) -> Iterator[Record]:
        """Yield the stored blocks in the order of their keys, of one task, seed or beginning of an id if given."""
        query = f"SELECT {COLUMNS} FROM blocks WHERE (?1 IS NULL OR task = ?1) AND (?2 IS NULL OR seed = ?2)"
        with self._explained():
            facts = self._connection.execute("SELECT id, facts FROM origins").fetchall()
            origins = {id: json.loads(text) for id, text in facts if _digest(text) == id}
            for found in self._connection.execute(query, (task, seed)).fetchall():
                if row is not None and not _digest(*found[:4]).startswith(row):
                    continue
                try:
                    yield Record.from_row(found, origins)
                except ValueError as error:
                    where = f"block {_short(found[2])} of {_short(found[4])}"
                    raise StoreError(
                        f"{self.path} holds a wrong row, {where}: {error}; name another file with --results"
                    ) from error

    def merge(self, *sources: Iterable[Record]) -> list[int]:
        """Add blocks of other stores, all or none; return how many of each were new.

        Raises
        ------
        StoreError
            If a block is stored here with another result: the same question has one answer.
        """
        with self._explained():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                added = [sum(map(self._insert_same, records)) for records in sources]
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")
        return added

    def _insert_same(self, record: Record) -> int:
        """Insert a record unless its key is there with the same result; return the number of rows added."""
        added = self._insert(record)
        query = "SELECT measured FROM blocks WHERE task = ? AND seed = ? AND block = ? AND code = ?"
        (stored,) = self._connection.execute(query, record.key).fetchone()
        if json.loads(stored) != record.measured:
            raise StoreError(
                f"{self.path} already holds another result for block {record.block} of "
                f"{record.claim} {json.dumps(record.parameters)}; nothing was merged"
            )
        return added

    def _insert(self, record: Record) -> int:
        """Insert a record unless its key is there; return the number of rows added."""
        row, execute = record.to_row(), self._connection.execute
        execute("INSERT OR IGNORE INTO origins VALUES (?, ?)", (row[-2], _text(record.origin)))
        marks = ", ".join("?" * len(row))
        return execute(f"INSERT OR IGNORE INTO blocks ({COLUMNS}) VALUES ({marks})", row).rowcount

    def _prepare(self) -> None:
        """Set the file up, or check that it is one of ours and writable."""
        execute = self._connection.execute
        if self._facts() == (0, 0, 0):
            execute("PRAGMA journal_mode = WAL")
            execute("BEGIN EXCLUSIVE")
            if not execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                for statement in SCHEMA:
                    execute(statement)
                execute(f"PRAGMA application_id = {APPLICATION_ID}")
                execute(f"PRAGMA user_version = {VERSION}")
            execute("COMMIT")
        self._check()
        execute("PRAGMA synchronous = NORMAL")
        execute(f"PRAGMA user_version = {VERSION}")  # fails before any work where nothing can be written

    def _facts(self) -> tuple[int, int, int]:
        """Return whose file this is, in which version, and how many tables it has."""
        names = ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_master")
        application, version, tables = (self._connection.execute(n).fetchone()[0] for n in names)
        return application, version, tables

    def _check(self) -> None:
        """Raise StoreError unless the file is one of ours."""
        application, version, _ = self._facts()
        if application != APPLICATION_ID:
            raise StoreError(f"{self.path} is not a results file of kvfloor; name another with --results")
        if version != VERSION:
            raise StoreError(
                f"{self.path} has results format {version}, and this kvfloor reads format {VERSION} (what other "
                "code measured is measured anew in any case); delete it, or name another file with --results"
            )

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what SQLite says into one sentence about this file."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise StoreError(f"the results file {self.path} cannot be used: {error}") from error


def _short(value: object) -> str:
    """Return a value as it is shown in one sentence."""
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _text(values: dict[str, Any]) -> str:
    """Return values by name as they are stored."""
    return json.dumps(values, sort_keys=True, allow_nan=False)


def _digest(*values: object) -> str:
    """Return 32 hexadecimal digits for values of columns."""
    return sha256("\x1f".join(map(str, values)).encode()).hexdigest()[:32]
