"""The leaderboard: every press is there, finished plays are kept, and the table says what was measured."""

import csv
from concurrent.futures import ThreadPoolExecutor

import pytest

from kvfloor.attention.engines.transformers.library import missing
from kvfloor.experiments.claims.engines import leaderboard as board
from kvfloor.experiments.engine.store import Record, Store
from kvfloor.experiments.engine.sweep import Lost, run
from kvfloor.experiments.show.leaderboard_page import publish, table


def row(name, kept=0.5, **measured):
    """Return a stored play."""
    counts = {"nominal_bits": 320.0, "allocated_bits": 320, "full_cache_bits": 640, "peak_bits": None,
              "compresses": True, "wire_bits": 400, "certified_bits": 1.0, "symbols": 10, "errors": 2,
              "masked_entries": 0, "drops_only": True, "kept_entries": 5, "all_entries": 10, **measured}  # fmt: skip
    spec = f"kvpress:{name},compression_ratio={1 - kept}"
    asked = {"name": name, "spec": spec, "kept": kept, "tokens": 10, "dim": 1}
    return Record(name, "0", 0, "c", board.__name__, "claim", asked, counts, 0.0)


def test_every_press_has_every_budget(extra):
    from kvfloor.attention.engines.transformers.compressors import Compressor, presses

    wanted = board.tasks()
    named = [task.parameters["name"] for task in wanted]
    assert all(named.count(name) == len(board.KEPT) for name in presses())
    assert len({task.id for task in wanted}) == len(wanted)
    for task in wanted:
        spec = task.parameters["spec"]
        Compressor.parse(spec).press()  # whatever it says about running: its parameters are right


def test_a_stopped_run_continues_and_the_table_is_written(extra, tmp_path):
    chosen = [t for t in board.tasks(64, 16) if t.parameters["name"] in ("KnormPress", "KVzipPress", "FinchPress", "StaticCache")]  # fmt: skip
    steps = []
    with Store(tmp_path / "r.sqlite") as store, ThreadPoolExecutor(1) as executor:
        for folder in ("first", "again"):
            records, lost = run(chosen, store, seed=0, executor=executor, progress=steps.append)
            found = publish(records, lost, tmp_path / folder, 0)
    assert steps == [0, *[1] * len(chosen), len(chosen)]
    for ending in ("md", "csv", "svg", "png"):
        name = f"leaderboard.{ending}"
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    with (tmp_path / "first" / "leaderboard.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(found) == 1 + 4 + 4 + 1
    verdicts = {r["compressor"].split(":")[1].split(",")[0]: r["verdict"] for r in rows}
    assert verdicts == {"StaticCache": "consistent", "KnormPress": "consistent",
                        "KVzipPress": "saves nothing", "FinchPress": "cannot run"}  # fmt: skip
    assert "delimiter" in rows[-1]["note"]
    page = (tmp_path / "first" / "leaderboard.md").read_text()
    assert "kvpress 0." in page
    assert "`kvfloor leaderboard --seed 0`" in page
    assert page.count("\n|") == len(rows) + 2


def test_the_table_is_in_bits_for_each_hidden_bit_and_by_budget():
    records = [
        row("Low", 0.1), row("Worse", errors=5), row("Better", errors=1, masked_entries=3, allocated_bits=700),
        row("None", nominal_bits=None, drops_only=False),
    ]  # fmt: skip
    refused = [row("Refused", kept) for kept in (0.5, 0.1)]
    for record in refused:
        record.measured.clear()
        record.measured["cannot"] = "it | must " + "be short " * 40
    found = table([*refused, *records])
    assert [r["compressor"].split(":")[1].split(",")[0] for r in found] == [
        "Better",
        "None",
        "Worse",
        "Low",
        "Refused",
    ]
    assert (found[0]["nominal"], found[0]["allocated"], found[0]["wire"]) == (32.0, 70.0, 40.0)
    assert [r["verdict"] for r in found[:3]] == ["saves nothing", "consistent", "consistent"]
    assert [r["note"] for r in found[:3]] == ["masks tokens", "changes keys or values", "drops tokens"]
    assert found[1]["nominal"] == ""
    assert found[2]["accuracy"] == 0.5
    assert found[-1]["verdict"] == "cannot run"
    assert len(found[-1]["note"]) <= 150


def test_a_play_that_ended_its_worker_is_told_in_the_table(extra, tmp_path):
    task = board.tasks(64, 16)[0]
    found = publish([row("Fine")], [Lost(task, 0, "3 workers died over it")], tmp_path, 0)
    assert [(r["verdict"], r["note"]) for r in found] == [
        ("consistent", "drops tokens"), ("cannot run", "3 workers died over it")
    ]  # fmt: skip


def test_without_the_extra_it_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(board, "missing", lambda packages: ("kvpress",))
    with pytest.raises(ValueError, match="kvpress not installed; install it with `make transformers`"):
        board.tasks()
    assert missing(("numpy",)) == ()
