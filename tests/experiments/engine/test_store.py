"""The result store: written once, never counted twice, and clear about a file it cannot use."""

import shutil
import sqlite3
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvfloor.experiments.engine.store import VERSION, Record, Store, StoreError

ORIGIN = {"version": "1.0", "cpu": "a fast one"}
RECORD = Record("t", "0", 0, "c", "claim.module", "claim", {"n": 3}, {"errors": 1}, 0.5, "2026-11-25", ORIGIN)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@pytest.fixture
def path(tmp_path):
    """Return where a store may be."""
    return tmp_path / "results.sqlite"


@given(st.dictionaries(st.text(), json_values), st.dictionaries(st.text(), json_values))
def test_a_record_survives_its_row(parameters, measured):
    record = replace(RECORD, parameters=parameters, measured=measured)
    row = record.to_row()
    assert Record.from_row(row, {row[-2]: ORIGIN}) == record


def test_what_is_added_is_there_after_reopening(path):
    with Store(path) as store:
        store.add(RECORD)
        store.add(replace(RECORD, block=1))
    with Store(path, writable=False) as store:
        assert list(store.records()) == [RECORD, replace(RECORD, block=1)]
        assert list(store.records(task="t", seed="1")) == []


def test_a_block_is_never_counted_twice(path):
    with Store(path) as store:
        store.add(RECORD)
        store.add(replace(RECORD, seconds=9.0))
        assert list(store.records()) == [RECORD]


def test_two_processes_may_write(path):
    with Store(path) as one, Store(path) as two:
        one.add(RECORD)
        two.add(replace(RECORD, block=1))
        assert len(list(one.records())) == len(list(two.records())) == 2


def test_merge_adds_what_is_new(path, tmp_path):
    with Store(path) as store, Store(tmp_path / "other.sqlite") as other:
        store.add(RECORD)
        other.add(replace(RECORD, seconds=7.0))
        other.add(replace(RECORD, block=1))
        assert store.merge(other.records()) == [1]
        assert store.merge(other.records(), other.records()) == [0, 0]
        assert [record.block for record in store.records()] == [0, 1]


def test_merge_refuses_contradictions_and_then_adds_nothing(path):
    with Store(path) as store:
        store.add(RECORD)
        others = [replace(RECORD, block=5), replace(RECORD, measured={"errors": 2})]
        with pytest.raises(StoreError, match="another result for block 0"):
            store.merge(others)
        assert list(store.records()) == [RECORD]


def test_a_missing_file_is_told(path):
    with pytest.raises(StoreError, match="there is no results file"):
        Store(path, writable=False)
    with pytest.raises(StoreError, match="there is no results file"):
        Store(path.parent / "nowhere" / "results.sqlite")


def test_another_version_is_told_and_left_alone(path):
    with Store(path) as store:
        store.add(RECORD)
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()
    with pytest.raises(StoreError, match=f"results format {VERSION + 1}"):
        Store(path)


def test_the_first_format_is_refused_in_one_sentence(path):
    connection = sqlite3.connect(path)
    connection.execute(
        """CREATE TABLE blocks (
        task TEXT NOT NULL, seed TEXT NOT NULL, block INTEGER NOT NULL, code TEXT NOT NULL,
        claim TEXT NOT NULL, variant TEXT NOT NULL, parameters TEXT NOT NULL,
        measured TEXT NOT NULL, seconds REAL NOT NULL,
        PRIMARY KEY (task, seed, block, code)
        ) WITHOUT ROWID"""
    )
    connection.execute("PRAGMA application_id = 0x4B56464C")
    connection.execute("PRAGMA user_version = 1")
    connection.close()
    before = path.read_bytes()
    for writable in (True, False):
        with pytest.raises(
            StoreError, match=r"has results format 1, .* reads format 2 .*; delete it, or name"
        ):
            Store(path, writable=writable)
    assert path.read_bytes() == before


def test_a_foreign_database_is_told_and_left_alone(path):
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE notes (text TEXT)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="not a results file of kvfloor"):
        Store(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "text", [b"not a database at all, but long enough to be read as one" * 40, b"\x00" * 8192]
)
def test_a_file_that_is_no_database_is_told_and_left_alone(path, text):
    path.write_bytes(text)
    with pytest.raises(StoreError, match="cannot be used"):
        Store(path)
    assert path.read_bytes() == text


def test_a_damaged_page_is_told(path):
    with Store(path) as store:
        for block in range(200):
            store.add(replace(RECORD, block=block, measured={"text": "x" * 300}))
    content = bytearray(path.read_bytes())
    content[8192:-4096] = b"\xff" * len(content[8192:-4096])
    path.write_bytes(content)
    with pytest.raises(StoreError, match="cannot be used"), Store(path) as store:
        list(store.records())


def test_a_read_only_file_is_told(path, monkeypatch):
    Store(path).close()
    connect = sqlite3.connect
    monkeypatch.setattr(
        sqlite3, "connect", lambda p, uri, **options: connect(f"file:{p}?mode=ro", uri=True, **options)
    )
    with pytest.raises(StoreError, match="readonly"):
        Store(path)


READ = """
import os, sys
from kvfloor.experiments.engine.store import Store
if os.getuid() == 0:  # nothing is protected from root
    os.setgid(65534), os.setuid(65534)
with Store(sys.argv[1], writable=False) as store:
    print(len(list(store.records())))
with Store(sys.argv[1]) as store:
    pass
"""


def test_a_write_protected_file_in_a_write_protected_folder_is_read(tmp_path):
    folder = Path(tempfile.mkdtemp(dir="/tmp", prefix="kvfloor-"))  # which other users may enter
    try:
        with Store(folder / "a ?.sqlite") as store:
            store.add(RECORD)
        (folder / "a ?.sqlite").chmod(0o444)
        folder.chmod(0o555)
        command = [sys.executable, "-c", READ, str(folder / "a ?.sqlite")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.stdout == "1\n", done.stderr
        assert "StoreError" in done.stderr
        assert [path.name for path in folder.iterdir()] == ["a ?.sqlite"]
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


WRONG = ["{", "[1]", "null", "3", '"x"', '{"errors": NaN}', '{"errors": [1, Infinity]}', '{"errors": 1e999}',
         '{"errors": 2}', "[" * 100_000, '{"errors": ' + "1" * 5000 + "}"]  # fmt: skip
COLUMNS = ["measured", "parameters", "block", "seconds", "variant", "claim", "written", "origin", "checksum"]


@pytest.mark.parametrize("text", WRONG, ids=range(len(WRONG)))
@pytest.mark.parametrize("column", COLUMNS)
def test_a_row_that_was_changed_is_named(path, column, text):
    with Store(path) as store:
        store.add(RECORD)
        store._connection.execute(f"UPDATE blocks SET {column} = ?", (text,))
        sentence = r"r.*sqlite holds a wrong row, .*: its checksum does not fit what it says"
        with pytest.raises(StoreError, match=sentence) as told:
            list(store.records())
        assert len(str(told.value)) < 300


def test_an_origin_that_was_changed_is_told(path):
    with Store(path) as store:
        store.add(RECORD)
        store._connection.execute("UPDATE origins SET facts = replace(facts, 'a fast one', 'a slow one')")
        with pytest.raises(StoreError, match="its checksum does not fit"):
            list(store.records())


def test_rows_share_their_origin_and_keep_their_own_date(path, tmp_path):
    later = replace(RECORD, block=1, written="2026-11-26")
    with Store(path) as store:
        store.add(RECORD)
        store.add(later)
        assert store._connection.execute("SELECT count(*) FROM origins").fetchone() == (1,)
    with Store(tmp_path / "all.sqlite") as merged, Store(path, writable=False) as source:
        elsewhere = replace(later, written="2026-11-27", origin={"cpu": "another"})
        assert merged.merge(source.records(), [elsewhere]) == [2, 0]
        assert list(merged.records()) == [RECORD, later]


def test_a_row_is_found_by_the_beginning_of_its_id(path):
    with Store(path) as store:
        others = [replace(RECORD, block=block) for block in range(20)]
        for record in others:
            store.add(record)
        for record in others:
            assert list(store.records(row=record.id[:10])) == [record]
        assert list(store.records(row="")) == others
        assert list(store.records(row="x")) == []


def test_numbers_that_are_not_finite_are_not_stored(path):
    with Store(path) as store:
        with pytest.raises(ValueError, match="not JSON compliant"):
            store.add(replace(RECORD, measured={"errors": float("nan")}))
        assert list(store.records()) == []


def test_a_full_disk_is_told_and_what_is_stored_stays(path):
    with Store(path) as store:
        store.add(RECORD)
        store._connection.execute("PRAGMA max_page_count = 4")  # SQLite's own way to have no room left
        large = (replace(RECORD, block=block, measured={"text": "x" * 2000}) for block in range(1, 1000))
        with pytest.raises(StoreError, match="full"):
            list(map(store.add, large))
    with Store(path) as store:
        assert next(iter(store.records())) == RECORD
