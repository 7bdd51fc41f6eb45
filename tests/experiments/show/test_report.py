"""The report: from stored rows alone, for whole claims only, and the same bytes again."""

import html
import xml.etree.ElementTree as ElementTree

import pytest
from click.testing import CliRunner

from kvfloor.experiments.claims import all_claims
from kvfloor.experiments.engine.store import Store
from kvfloor.experiments.show.command import main
from kvfloor.experiments.show.report import write_report


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Return a store with one whole claim."""
    folder = tmp_path_factory.mktemp("results")
    arguments = ["--results", str(folder / "r.sqlite"), "--figures", str(folder)]
    assert CliRunner().invoke(main, ["reproduce", "index-barrier", *arguments]).exit_code == 0
    return folder / "r.sqlite"


def test_whole_claims_are_shown_and_others_are_named(results, tmp_path):
    out = tmp_path / "report.html"
    result = CliRunner().invoke(main, ["report", "--results", str(results), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert f"1 of {len(all_claims())} claims" in result.output
    page = out.read_text()
    assert page.count("<svg") == 1
    assert all(f"#{name}" in page or name in page for name in all_claims())
    claim = all_claims()["index-barrier"]
    assert claim.title in page.replace("&#39;", "'")
    assert all(control.name in page for control in claim.controls)
    svg = page[page.index("<svg") : page.index("</svg>") + 6]
    ElementTree.fromstring(svg)


def test_every_claim_is_shown_whole(reproduced, tmp_path):
    outcomes, folder = reproduced
    arguments = ["--results", str(folder / "r.sqlite"), "--out", str(tmp_path / "r.html")]
    result = CliRunner().invoke(main, ["report", *arguments])
    assert result.exit_code == 0, result.output
    assert f"{len(outcomes)} of {len(all_claims())} claims" in result.output
    page = html.unescape((tmp_path / "r.html").read_text())
    assert page.count("<svg") == len(outcomes)
    for outcome in outcomes:
        assert outcome["title"] in page
        for check in outcome["evidence"]["checks"] + outcome["evidence"]["controls"]:
            assert check["name"] in page
            assert all(f"{name.replace('_', ' ')}: " in page for name in check["evidence"])


def test_the_same_results_give_the_same_bytes(results, tmp_path):
    pages = []
    for name in ("one.html", "two.html"):
        with Store(results) as store:
            write_report(store, tmp_path / name, seed=0)
        pages.append((tmp_path / name).read_bytes())
    assert pages[0] == pages[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.html", "two.html"]


def test_another_seed_or_other_code_shows_nothing(results, tmp_path, monkeypatch):
    with Store(results) as store:
        assert all(s.verdict is None for s in write_report(store, tmp_path / "r.html", seed=9))
        monkeypatch.setattr("kvfloor.experiments.engine.sweep.code_digest", lambda claim: "other")
        assert all(s.verdict is None for s in write_report(store, tmp_path / "r.html", seed=0))


@pytest.mark.parametrize(("results_name", "out", "sentence"), [
    ("none.sqlite", "r.html", "there is no results file"),
    (None, "nowhere/r.html", "nowhere"),
])  # fmt: skip
def test_wrong_paths_are_one_sentence(results, tmp_path, monkeypatch, results_name, out, sentence):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["report", "--results", results_name or str(results), "--out", out])
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert list(tmp_path.iterdir()) == []
