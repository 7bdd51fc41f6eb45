"""Stored rows one by one: where they come from, and whether they can be had again."""

import json
import sqlite3
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from kvfloor.experiments.claims import all_claims
from kvfloor.experiments.engine.origin import command, machine
from kvfloor.experiments.engine.store import Store
from kvfloor.experiments.engine.sweep import run
from kvfloor.experiments.show.command import main

CLAIM = all_claims()["index-barrier"]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Return a results file with a few rows of a claim."""
    from concurrent.futures import ThreadPoolExecutor

    path = tmp_path_factory.mktemp("results") / "r.sqlite"
    with Store(path) as store, ThreadPoolExecutor(1) as executor:
        run(CLAIM.tasks("quick")[:4], store, seed=7, executor=executor)
    return path


def rows(path):
    """Return what a results file holds."""
    with Store(path, writable=False) as store:
        return list(store.records())


def invoke(*arguments):
    """Run the command in this process."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_a_row_says_what_measured_it_and_who_asked(results):
    for record in rows(results):
        shown = json.loads(invoke("show", record.id[:12], "--results", results, "--json").stdout)
        assert shown["id"] == record.id
        assert (shown["claim"], shown["parameters"]) == (CLAIM.module, record.parameters)
        assert shown["measured"] == record.measured
        assert shown["seed_path"] == f"7/{record.task}/0"
        assert {name: shown[name] for name in machine()} == machine()
        assert np.__version__ in shown["numpy"]
        assert "openblas" in shown["blas"]
        assert shown["command"] == command()
        assert shown["written"].endswith("+00:00")
    table = invoke("show", record.id[:12], "--results", results).stdout
    for text in (record.id, machine()["cpu"], machine()["python"], "seed_path"):
        assert text in table


def test_the_revision_is_that_of_the_checkout(results):
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no checkout")
    assert machine()["revision"].rstrip("+") == head.strip()


def test_a_claim_lists_its_rows(results):
    listed = json.loads(invoke("show", CLAIM.id, "--results", results, "--json").stdout)
    assert {row["id"] for row in listed} == {record.id for record in rows(results)}
    table = invoke("show", CLAIM.id, "--results", results).stdout
    assert all(record.id[:12] in table for record in rows(results))


def test_a_row_can_be_had_again(results):
    record = rows(results)[0]
    again = invoke("rerun", record.id[:12], "--results", results)
    assert again.exit_code == 0
    assert "by the same code: the bytes agree." in again.stdout
    told = json.loads(invoke("rerun", record.id[:12], "--results", results, "--json").stdout)
    assert told == {
        "id": record.id,
        "agrees": True,
        "same_code": True,
        "apart": {},
        "measured": record.measured,
    }


def test_a_row_that_comes_out_otherwise_is_told(results, tmp_path):
    record = rows(results)[0]
    path = tmp_path / "r.sqlite"
    wrong = {**record.measured, "wire_bits": record.measured["wire_bits"] * 2}
    with Store(path) as store:
        store.add(replace(record, measured=wrong, code="0" * 32))
        (row,) = store.records()
    result = invoke("rerun", row.id[:12], "--results", path)
    assert result.exit_code == 1
    assert "by other code than then: 1 values differ.\n  wire_bits: 0.5 apart, relatively" in result.stdout
    told = json.loads(invoke("rerun", row.id[:12], "--results", path, "--json").stdout)
    assert (told["agrees"], told["same_code"], told["apart"]) == (False, False, {"wire_bits": 0.5})


def test_a_row_that_cannot_be_had_again_is_told(results, tmp_path):
    record = rows(results)[0]
    path = tmp_path / "r.sqlite"
    with Store(path) as store:
        store.add(replace(record, parameters={**record.parameters, "keys": "no such keys"}))
    result = invoke("rerun", record.id, "--results", path)
    assert result.exit_code == 2
    assert "cannot be measured again: ValueError: kind must be one of" in result.stderr


@pytest.mark.parametrize("name", ["show", "rerun"])
def test_no_row_or_too_many_are_one_sentence(results, tmp_path, name):
    path = tmp_path / "r.sqlite"
    with Store(path) as store:
        others = [replace(rows(results)[0], block=block) for block in range(17)]  # two ids begin alike
        for record in others:
            store.add(record)
    digits = [record.id[0] for record in others]
    shared = max(set(digits), key=digits.count)
    told = f"not one row but {digits.count(shared)} whose id begins with '{shared}'"
    for row, sentence in (("zz", "no row whose id begins with 'zz'"), (shared, told)):
        result = invoke(name, row, "--results", path)
        assert (result.exit_code, result.stdout) == (2, "")
        assert sentence in " ".join(result.stderr.split())


def test_a_row_that_was_changed_is_not_shown(results, tmp_path):
    path = tmp_path / "r.sqlite"
    record = rows(results)[0]
    with Store(path) as store:
        store.add(record)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE blocks SET measured = replace(measured, '\"errors\": ', '\"errors\": 1')")
    connection.close()
    result = invoke("show", record.id, "--results", path)
    assert result.exit_code == 2
    assert "its checksum does not fit what it says" in " ".join(result.stderr.split())
