"""Rows that were changed by hand: named in one sentence, and never the reason why a claim holds."""

import contextlib
import copy
import shutil
import sqlite3
from dataclasses import replace

import pytest
from click.testing import CliRunner

from kvfloor.experiments.claims import all_claims
from kvfloor.experiments.engine.rows import fits, returned
from kvfloor.experiments.engine.store import Record, Store, StoreError
from kvfloor.experiments.engine.sweep import check
from kvfloor.experiments.judging.claim import draw_claim, judge_claim
from kvfloor.experiments.show.command import main

WRONG = (float("nan"), float("inf"), None, True, "3", {}, [], [None], {"errors": "0"}, -0.5)


@pytest.fixture(scope="module")
def rows(reproduced):
    """Return every stored row, by the module of its claim."""
    _, folder = reproduced
    found = {}
    with Store(folder / "r.sqlite", writable=False) as store:
        for record in store.records():
            found.setdefault(record.claim, []).append(record)
    return found


def changed(value):
    """Yield copies of a JSON value, in each of which one value inside was replaced by a wrong one."""
    yield from WRONG
    names = value if isinstance(value, dict) else range(min(len(value), 2)) if isinstance(value, list) else ()
    for name in names:
        for other in changed(value[name]):
            copied = copy.deepcopy(value)
            copied[name] = other
            yield copied
    for name in value if isinstance(value, dict) else ():
        yield {other: entry for other, entry in value.items() if other != name}


def kinds(records):
    """Return one row of every shape among a claim's."""
    return list({(r.variant, *sorted(r.measured)): r for r in records}.values())


@pytest.mark.parametrize("claim", all_claims().values(), ids=lambda claim: claim.id)
def test_a_changed_measurement_is_named(claim, rows, tmp_path):
    if claim.module not in rows:
        pytest.skip(f"needs {claim.requires}")
    expected = returned(claim.module)
    assert not fits({}, expected), "measure says what it returns"
    tried = refused = 0
    for record in kinds(rows[claim.module]):
        check(record, claim.module, tmp_path)
        for measured in changed(record.measured):
            tried += 1
            if not fits(measured, expected):
                refused += 1
                with pytest.raises(StoreError, match=r"holds a wrong row, block \d+ of .*: measured "):
                    check(replace(record, measured=measured), claim.module, tmp_path)
    # What is left is -0.5 in the place of another number, and None where there may be none.
    assert refused >= 0.8 * tried > 10


@pytest.mark.parametrize("claim", all_claims().values(), ids=lambda claim: claim.id)
def test_rows_that_answer_another_question_are_named(claim, rows, tmp_path):
    if claim.module not in rows:
        pytest.skip(f"needs {claim.requires}")
    one = rows[claim.module][0]
    for other in (
        replace(one, parameters={}), replace(one, parameters={**one.parameters, "more": 1}),
        replace(one, variant="another"), replace(one, claim="os"), replace(one, task="0" * 32),
    ):  # fmt: skip
        with pytest.raises(StoreError, match="filed under another question"):
            check(other, claim.module, tmp_path)


@pytest.mark.parametrize("claim", all_claims().values(), ids=lambda claim: claim.id)
def test_measurements_of_another_kind_of_cell_never_count(claim, rows):
    """What one kind of cell measures in the place of another's fits the claim, but not the cell."""
    if claim.module not in rows:
        pytest.skip(f"needs {claim.requires}")
    mine = rows[claim.module]
    honest = judge_claim(claim, mine)
    shapes = {tuple(r.measured): r.measured for r in mine}
    for names, measured in shapes.items():
        swapped = [replace(r, measured=measured) if tuple(r.measured) != names else r for r in mine]
        if swapped != mine:
            verdict = judged(claim, swapped)
            if isinstance(verdict, str):
                assert verdict.startswith(f"the rows of {claim.id} cannot be ")
            else:
                assert verdict.verdict != "holds" or verdict == honest  # or such cells are only drawn


def judged(claim, records):
    """Return the verdict on rows that can be judged and drawn, or why they cannot."""
    try:
        draw_claim(claim, records)
        return judge_claim(claim, records)
    except ValueError as error:
        return str(error)


def spoilt(folder, tmp_path, change):
    """Return a copy of the results in which a statement changed the rows of one claim."""
    path = tmp_path / "spoilt.sqlite"
    shutil.copy(folder / "r.sqlite", path)
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE blocks SET {change} WHERE claim LIKE '%index_barrier'")
    connection.close()
    return path


def stored(path):
    """Return what a results file holds."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT * FROM blocks").fetchall()


@pytest.mark.parametrize("change", [
    "measured = '{}'", "measured = '[1]'", "measured = '{'", "parameters = '[1]'", "parameters = '{}'",
    "measured = replace(measured, '\"errors\": 0', '\"errors\": NaN')",
    "measured = replace(measured, '\"errors\": 0', '\"errors\": false')",
    "seconds = 'long'", "variant = 'another'",
])  # fmt: skip
def test_every_command_that_reads_such_rows_says_so_in_one_sentence(reproduced, tmp_path, change):
    _, folder = reproduced
    store = spoilt(folder, tmp_path, change)
    before = stored(store)
    for arguments in (
        ["reproduce", "index-barrier", "--results", str(store), "--figures", str(tmp_path / "figures")],
        ["report", "--results", str(store), "--out", str(tmp_path / "r.html")],
        ["merge", str(folder / "r.sqlite"), str(store), "--into", str(tmp_path / "all.sqlite")],
    ):
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 2, result.output
        told = [line for line in result.stderr.splitlines() if "━" not in line and line.strip()]
        assert told[-1].startswith("Error: ")
        assert "wrong row" in told[-1]
        assert "Traceback" not in result.stderr
        assert "holds" not in result.stdout
    assert not (tmp_path / "r.html").exists()
    assert not (tmp_path / "all.sqlite").exists()
    assert stored(store) == before


def test_rows_of_other_code_are_kept_as_they_are(tmp_path):
    old = Record(
        "t", "0", 0, "old", "kvfloor.experiments.claims.index.index_barrier", "claim", {}, {"was": 1}, 0.0
    )
    with Store(tmp_path / "old.sqlite") as store:
        store.add(old)
    result = CliRunner().invoke(
        main, ["merge", str(tmp_path / "old.sqlite"), "--into", str(tmp_path / "all.sqlite")]
    )
    assert result.exit_code == 0, result.output
    with Store(tmp_path / "all.sqlite") as store:
        assert list(store.records()) == [old]


def test_merging_is_all_or_nothing(tmp_path):
    row = Record("t", "0", 0, "c", "m", "claim", {}, {"errors": 1}, 0.0)
    paths = [tmp_path / f"{name}.sqlite" for name in "abc"]
    for path, measured in zip(paths, (1, 1, 2), strict=True):
        with Store(path) as store:
            store.add(replace(row, measured={"errors": measured}))
            store.add(replace(row, block=1 + measured))
    into = tmp_path / "all.sqlite"
    result = CliRunner().invoke(main, ["merge", *map(str, paths), "--into", str(into)])
    assert result.exit_code == 2
    assert "another result for block 0" in result.stderr
    assert sorted(tmp_path.iterdir()) == paths
    assert CliRunner().invoke(main, ["merge", *map(str, paths[:2]), "--into", str(into)]).exit_code == 0
    before = stored(into)
    (tmp_path / "d.sqlite").write_text("no database")
    for bad in ("c", "d", "nowhere"):
        result = CliRunner().invoke(
            main, ["merge", str(paths[0]), str(tmp_path / f"{bad}.sqlite"), "--into", str(into)]
        )
        assert result.exit_code == 2
        assert stored(into) == before
