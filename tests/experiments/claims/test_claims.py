"""The claims: each holds, each control fails, and the judgement itself can fail."""

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from kvfloor.experiments.claims import all_claims
from kvfloor.experiments.claims.index.phase_diagram import typical_boundary
from kvfloor.experiments.engine.store import Record, Store
from kvfloor.experiments.judging.claim import Check, Claim, Control, cells, judge_claim
from kvfloor.experiments.show.command import main
from kvfloor.experiments.show.reproduction import left_out

RUNNABLE = [id for id in all_claims() if id not in left_out(list(all_claims().values()))]
FIELDS = {"id", "title", "source", "verdict", "control", "evidence", "figure", "seconds"}


def test_every_claim_holds_and_every_control_fails(reproduced):
    outcomes, _ = reproduced
    assert [outcome["id"] for outcome in outcomes] == RUNNABLE
    for outcome in outcomes:
        assert set(outcome) == FIELDS
        assert (outcome["id"], outcome["verdict"], outcome["control"]) == (outcome["id"], "holds", "fails")
        assert all(check["passed"] for check in outcome["evidence"]["checks"])
        assert outcome["evidence"]["controls"]


def test_a_second_run_measures_nothing_and_draws_the_same_bytes(reproduced):
    _, folder = reproduced
    again = folder / "again"
    arguments = ["--results", str(folder / "r.sqlite"), "--figures", str(again), "--workers", "1", "--json"]
    with Store(folder / "r.sqlite") as store:
        before = list(store.records())
    assert CliRunner().invoke(main, ["reproduce", *arguments]).exit_code == 0
    with Store(folder / "r.sqlite") as store:
        assert list(store.records()) == before
    figures = sorted(path.name for path in (folder / "figures").iterdir())
    assert figures == sorted(f"{claim}.{ending}" for claim in RUNNABLE for ending in ("png", "svg"))
    for name in figures:
        assert (folder / "figures" / name).read_bytes() == (again / name).read_bytes(), name


def test_fewer_workers_and_a_fresh_store_give_the_same_bytes(reproduced, tmp_path):
    _, folder = reproduced
    arguments = ["--results", str(tmp_path / "r.sqlite"), "--figures", str(tmp_path), "--workers", "1"]
    assert CliRunner().invoke(main, ["reproduce", "index-barrier", "threshold", *arguments]).exit_code == 0
    for name in ("index-barrier.svg", "threshold.svg", "threshold.png"):
        assert (folder / "figures" / name).read_bytes() == (tmp_path / name).read_bytes(), name


@pytest.mark.parametrize("claim", all_claims().values(), ids=lambda claim: claim.id)
def test_a_claim_is_whole(claim):
    assert claim.module.startswith("kvfloor.experiments.claims.")
    assert claim.module.rpartition(".")[2] == claim.id.replace("-", "_")
    assert claim.checks
    assert {control.breaks for control in claim.controls} <= set(claim.checks)
    for scale in ("quick", "full"):
        tasks = claim.tasks(scale)
        assert len({task.id for task in tasks}) == len(tasks)
        assert {task.variant for task in tasks} == {"claim", *(control.name for control in claim.controls)}


def test_a_claim_that_cannot_run_is_left_out_and_says_why(tmp_path, monkeypatch):
    known = {
        "x": replace(CLAIM, id="x", requires=("numpy", "nowhere")),
        "index-barrier": all_claims()["index-barrier"],
    }
    monkeypatch.setattr("kvfloor.experiments.show.reproduction.all_claims", lambda: known)
    arguments = ["--results", str(tmp_path / "r.sqlite"), "--figures", str(tmp_path), "--json"]
    result = CliRunner().invoke(main, ["reproduce", *arguments])
    assert result.exit_code == 0
    assert [outcome["id"] for outcome in json.loads(result.stdout)] == ["index-barrier"]
    assert "x is left out: it needs nowhere; install it with `make transformers`" in result.stderr
    named = CliRunner().invoke(main, ["reproduce", "x", *arguments])
    assert named.exit_code == 2
    assert "Error: x needs nowhere; install" in named.stderr


def record(variant, value):
    """Return a row that measured a number."""
    return Record("t", "0", 0, "c", "m", variant, {}, {"value": value}, 0.0)


def judge(records):
    """Demand that every value is positive."""
    values = [r.measured["value"] for r in records]
    return [Check("positive", min(values) > 0, {"least": min(values)})] if values else []


CLAIM = Claim("x", "X", "ours", "X.", "0", ("positive",), lambda scale: [], lambda asked, randomness: {}, judge,
              lambda records: None, (Control("negative", "positive", []),))  # fmt: skip


@pytest.mark.parametrize(("claimed", "sabotaged", "verdict", "control"), [
    (1, -1, "holds", "fails"),
    (-1, -1, "fails", "fails"),
    (1, 1, "broken", "passes"),
    (-1, 1, "broken", "passes"),
])  # fmt: skip
def test_the_four_ways_a_claim_can_end(claimed, sabotaged, verdict, control):
    outcome = judge_claim(CLAIM, [record("claim", claimed), record("negative", sabotaged)])
    assert (outcome.verdict, outcome.control) == (verdict, control)


def test_a_check_without_rows_proves_nothing():
    assert judge_claim(CLAIM, [record("claim", 1)]).verdict == "broken"
    assert judge_claim(CLAIM, [record("negative", -1)]).verdict == "fails"
    assert judge_claim(replace(CLAIM, controls=()), [record("claim", 1)]).verdict == "broken"
    assert judge_claim(replace(CLAIM, checks=("positive", "another")), [
        record("claim", 1), record("negative", -1)]).verdict == "fails"  # fmt: skip


def test_cells_are_all_combinations():
    assert cells(a=[1, 2], b=["x"]) == [{"a": 1, "b": "x"}, {"a": 2, "b": "x"}]
    assert cells(a=range(2), b="xy", c=None) == [
        {"a": 0, "b": "xy", "c": None},
        {"a": 1, "b": "xy", "c": None},
    ]


@pytest.mark.parametrize("number", [float("nan"), float("inf"), np.float64("nan")])
def test_evidence_that_is_not_finite_shows_nothing(number):
    for passed in (True, False):  # neither that a claim holds nor that a control fails
        with pytest.raises(ValueError, match="the evidence of 'positive' must be finite JSON"):
            Check("positive", passed, {"rows": [{"least": number}]})


def test_evidence_is_json_by_construction():
    check = Check("positive", np.bool_(True), {"ends": (1, 2.0), 3: {"a": (None, True)}})
    assert check.passed is True
    assert check.evidence == {"ends": [1, 2.0], "3": {"a": [None, True]}}
    with pytest.raises(ValueError, match=r"must be finite JSON values: .* int64"):
        Check("positive", True, {"n": np.int64(3)})


def test_the_typical_boundary_has_its_known_limits():
    # In many dimensions products concentrate at 0: n tokens of weight e^-C against 1, so 2 c = 1.
    assert typical_boundary(1e6) == pytest.approx(0.5, abs=1e-3)
    # The Gaussian approximation of theory 3: c = (a/2)(1 - sqrt(1 - 2/a)), good where products are small.
    assert typical_boundary(50.0) == pytest.approx(25 * (1 - (1 - 2 / 50) ** 0.5), rel=0.02)
    assert typical_boundary(1.0) > typical_boundary(2.0) > typical_boundary(4.0)
