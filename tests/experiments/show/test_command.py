"""The command: its JSON, its exit statuses, one sentence for wrong input, and Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from kvfloor.experiments.claims import all_claims
from kvfloor.experiments.engine.store import Store
from kvfloor.experiments.engine.sweep import total_blocks
from kvfloor.experiments.show.command import main

AUDIT_FIELDS = {
    "cache", "tokens", "dim", "value_dim", "alphabet", "capacity_bits", "wire_bits", "errors", "accuracy",
    "certified_bits", "significance_log2", "frontier_bits", "verdict", "seconds",
}  # fmt: skip
COMMAND = [
    sys.executable,
    "-c",
    "from kvfloor.experiments.show.command import main; main(prog_name='kvfloor')",
]


def invoke(*arguments):
    """Run the command in this process."""
    return CliRunner().invoke(main, list(arguments))


def test_audit_prints_one_json_document_and_nothing_else():
    result = invoke("audit", "uniform:bits=4", "--tokens", "256", "--dim", "32", "--json")
    assert result.exit_code == 0
    shown = json.loads(result.stdout)
    assert set(shown) >= AUDIT_FIELDS
    assert (shown["cache"], shown["tokens"], shown["dim"], shown["value_dim"]) == (
        "uniform:bits=4",
        256,
        32,
        32,
    )
    assert shown["verdict"] == "consistent"


def test_an_impossible_audit_ends_with_status_1():
    result = invoke(
        "audit", "kvfloor.experiments.game.cheats:FixedFile", "--tokens", "256", "--dim", "32", "--json"
    )
    assert result.exit_code == 1
    assert json.loads(result.stdout)["verdict"] == "impossible"


def test_audit_prints_a_table_for_people():
    result = invoke("audit", "golay", "--tokens", "256", "--dim", "32", "--seed", "3")
    assert result.exit_code == 0
    for word in ("on the wire", "certified", "frontier", "consistent", "256"):
        assert word in result.stdout


def test_claims_and_caches_list_what_there_is():
    claims = json.loads(invoke("claims", "--json").stdout)
    assert {"threshold", "index-barrier"} <= {claim["id"] for claim in claims}
    assert all(set(claim) == {"id", "title", "source", "statement", "theory"} for claim in claims)
    caches = json.loads(invoke("caches", "--json").stdout)
    assert {"name": "dense"}.items() <= caches[0].items()
    assert "threshold" in invoke("claims").stdout
    assert "StreamingLLM" in invoke("caches").stdout


def test_claims_are_a_line_each_and_one_is_told_in_full():
    lines = invoke("claims").stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(all_claims())
    assert all(line.endswith(claim.title) for line, claim in zip(lines, all_claims().values(), strict=True))
    narrow = CliRunner().invoke(main, ["claims"], env={"COLUMNS": "60"}).stdout.splitlines()
    assert len(narrow) == len(lines)
    assert max(map(len, narrow)) == 60
    claim = all_claims()["threshold"]
    told = " ".join(invoke("claims", "threshold").stdout.split())
    for text in (
        claim.title,
        claim.source,
        claim.statement,
        *claim.checks,
        *(c.name for c in claim.controls),
    ):
        assert text in told
    shown = json.loads(invoke("claims", "threshold", "--json").stdout)
    assert (shown["id"], shown["statement"], shown["checks"]) == (
        "threshold",
        claim.statement,
        list(claim.checks),
    )


def test_floor_prints_bounds():
    shown = json.loads(
        invoke("floor", "--tokens", "4096", "--model", "gpt2", "--eta", "0.1", "--json").stdout
    )
    names = [bound["name"] for bound in shown["bounds"]]
    assert names[:3] == ["values", "values, precision", "keys and values"]
    assert {"keys", "values, orthoplex keys"} <= set(names)
    assert all(set(bound) == {"name", "bits", "query_norm", "reason"} for bound in shown["bounds"])
    assert "Theorem B" in invoke("floor").stdout


@pytest.mark.parametrize(("arguments", "sentence"), [
    (["audit", "unifrom"], "did you mean 'uniform'"),
    (["audit", "uniform:bits=0"], "bits"),
    (["audit", "nowhere:Cache", "--tokens", "64"], "nowhere"),
    (["audit", "dense", "--tokens", "0"], "0 is not in the range"),
    (["audit", "dense", "--sides", "all"], "'all' is not one of"),
    (["audit", "dense", "--seed", "-1"], "-1 is not in the range"),
    (["floor", "--model", "lama"], "llama-2-7b"),
    (["floor", "--eta", "2"], "eta"),
    (["reproduce", "treshold"], "threshold"),
    (["reproduce", "--workers", "0"], "0 is not in the range"),
    (["reproduce", "--results", "/nowhere/at/all.sqlite"], "/nowhere/at/all.sqlite"),
    (["reproduce", "--figures", "/proc/figures"], "/proc/figures"),
    (["merge", "/nowhere/at/all.sqlite", "--into", "x.sqlite"], "/nowhere/at/all.sqlite"),
    (["merge", "--into", "x.sqlite"], "RESULTS"),
    (["claims", "treshold"], "the nearest: threshold"),
])  # fmt: skip
def test_wrong_input_is_one_sentence_and_status_2(arguments, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = invoke(*arguments)
    assert result.exit_code == 2
    *_, last = result.stderr.strip().splitlines()
    assert last.startswith("Error: ")
    assert sentence in last
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("arguments", [
    ["reproduce", "treshold"],
    ["merge", "none.sqlite", "--into", "x.sqlite"],
    ["reproduce", "index-barrier", "--results", "no/r.sqlite"],
    ["reproduce", "index-barrier", "--results", "no/r.sqlite", "--figures", "a/b"],
    ["reproduce", "index-barrier", "--results", "/dev/null"],
    ["reproduce", "index-barrier", "--figures", "/proc/figures"],
    ["reproduce", "index-barrier", "--figures", "/dev/null/figures"],
    ["reproduce", "index-barrier", "--executor", "nobody"],
    ["report", "--results", "/dev/null"],
])  # fmt: skip
def test_wrong_input_leaves_nothing_behind(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert invoke(*arguments).exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_a_foreign_results_file_leaves_a_folder_that_was_there(tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "r.sqlite").write_text("no database")
    paths = ["--results", str(tmp_path / "r.sqlite"), "--figures", str(tmp_path / "figures")]
    assert invoke("reproduce", "index-barrier", *paths).exit_code == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figures", "r.sqlite"]
    assert (tmp_path / "r.sqlite").read_text() == "no database"


def test_a_claim_that_fails_ends_with_status_1(tmp_path, monkeypatch):
    from dataclasses import replace

    from kvfloor.experiments.judging.claim import Check

    claim = all_claims()["index-barrier"]
    failing = replace(
        claim, judge=lambda rows: [Check(name, False, {"rows": len(rows)}) for name in claim.checks]
    )
    monkeypatch.setattr("kvfloor.experiments.show.reproduction.all_claims", lambda: {claim.id: failing})
    paths = ["--results", str(tmp_path / "r.sqlite"), "--figures", str(tmp_path)]
    result = invoke("reproduce", "index-barrier", *paths)
    assert result.exit_code == 1
    assert "fails" in result.stdout
    assert '"rows": ' in result.stdout


def test_merge_tells_what_was_new(tmp_path):
    paths = ["--figures", str(tmp_path), "--results"]
    one, two, both = (str(tmp_path / name) for name in ("1.sqlite", "2.sqlite", "3.sqlite"))
    assert invoke("reproduce", "index-barrier", *paths, one).exit_code == 0
    assert invoke("reproduce", "index-barrier", "--seed", "1", *paths, two).exit_code == 0
    total = total_blocks(all_claims()["index-barrier"].tasks("quick"))
    assert f"{total} blocks added, 0 were there" in invoke("merge", one, "--into", both).stdout
    result = invoke("merge", one, two, "--into", both)
    assert f"0 blocks added, {total} were there" in result.stdout
    assert f"{total} blocks added, 0 were there" in result.stdout


def test_every_command_teaches_with_help():
    for command in ("reproduce", "claims", "caches", "audit", "floor", "merge"):
        result = invoke(command, "--help")
        assert result.exit_code == 0
        assert len(result.stdout) > 150


def test_a_claim_runs_as_a_script(tmp_path):
    module = [sys.executable, "-m", "kvfloor.experiments.claims.index.index_barrier"]
    options = [
        "--scale",
        "quick",
        "--results",
        str(tmp_path / "r.sqlite"),
        "--figures",
        str(tmp_path),
        "--json",
    ]
    shown = subprocess.run([*module, *options], capture_output=True, text=True, check=True)
    assert json.loads(shown.stdout)[0]["verdict"] == "holds"
    assert (tmp_path / "index-barrier.svg").exists()


def test_ctrl_c_keeps_what_is_finished_and_says_how_to_go_on(tmp_path):
    store = tmp_path / "r.sqlite"
    arguments = [
        "reproduce",
        "certificate",
        "--workers",
        "1",
        "--results",
        str(store),
        "--figures",
        str(tmp_path),
    ]
    process = subprocess.Popen(
        [*COMMAND, *arguments], stderr=subprocess.PIPE, text=True, start_new_session=True
    )

    def finished():
        if not store.exists():
            return 0
        with Store(store) as opened:
            return len(list(opened.records()))

    while finished() < 5 and process.poll() is None:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the whole group
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command continues there" in " ".join(told.split())
    assert "Traceback" not in told
    kept = finished()
    total = total_blocks(all_claims()["certificate"].tasks("quick"))
    assert 5 <= kept < total
    assert invoke(*arguments).exit_code == 0
    with Store(store) as opened:
        records = list(opened.records())
    assert len(records) == len({record.key for record in records}) == total


def test_a_lost_block_leaves_its_claim_unfinished_and_the_others_go_on(tmp_path, monkeypatch):
    from dataclasses import replace

    claims = {id: all_claims()[id] for id in ("index-barrier", "subgen-unbiased")}
    cell = {"keys": "no such keys", "tokens": 256, "dim": 64, "eta": 0.0}
    claims["index-barrier"] = replace(claims["index-barrier"], cells=lambda scale: [cell])
    monkeypatch.setattr("kvfloor.experiments.show.reproduction.all_claims", lambda: claims)
    paths = ["--results", str(tmp_path / "r.sqlite"), "--figures", str(tmp_path)]
    result = invoke("reproduce", *paths, "--json")
    assert result.exit_code == 1
    lost, fine = json.loads(result.stdout)
    assert (lost["verdict"], lost["figure"], fine["verdict"]) == ("unfinished", "", "holds")
    (block,) = lost["evidence"]["lost"]
    assert (block["parameters"], block["block"]) == (cell, 0)
    assert "no such keys" in block["reason"]
    shown = invoke("reproduce", *paths).stdout
    assert "index-barrier: lost: " in shown
    assert "unfinished" in shown
