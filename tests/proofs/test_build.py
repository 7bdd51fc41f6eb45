"""The proofs that Coq reads: none is left out, and the build refuses what is false or not proved."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

PROOFS = Path(__file__).parents[2] / "proofs"
SOURCES = {path.name: path.read_text() for path in sorted(PROOFS.glob("*.v"))}
THEORY = (PROOFS.parent / "docs" / "theory.md").read_text()

CHEATS = re.compile(
    r"\b(Admitted|admit|give_up|Abort|Axioms?|Conjecture|Parameters?|Declare|bypass_check|Unset Guard Checking)\b"
)

needs_coq = pytest.mark.skipif(shutil.which("coqc") is None, reason="make proofs installs Coq")


def without_comments(source):
    """Return Coq's text without its comments, which do not nest here."""
    return re.sub(r"\(\*.*?\*\)", "", source, flags=re.DOTALL)


def statements():
    """Return the names of everything that is stated and proved."""
    found = (re.findall(r"^(?:Theorem|Lemma) (\w+)", text, re.MULTILINE) for text in SOURCES.values())
    return {name for names in found for name in names}


@pytest.mark.parametrize("name", SOURCES)
def test_no_proof_is_left_out(name):
    assert not CHEATS.search(without_comments(SOURCES[name]))


@pytest.mark.parametrize(
    "cheat", ["Proof. Admitted.", "Axiom cheat : False.", "by admit.", "Parameter x : nat."]
)
def test_a_proof_that_is_left_out_is_seen(cheat):
    assert CHEATS.search(without_comments(SOURCES["hamming.v"] + cheat))


def test_every_theorem_is_asked_for_what_it_assumes():
    theorems = {n for text in SOURCES.values() for n in re.findall(r"^Theorem (\w+)", text, re.MULTILINE)}
    asked = re.findall(r"^Print Assumptions (\w+)\.", SOURCES["assumptions.v"], re.MULTILINE)
    assert "theorem_A" in theorems
    assert theorems <= set(asked)


def test_every_file_is_compiled():
    listed = re.findall(r"^(\w+\.v)$", (PROOFS / "_CoqProject").read_text(), re.MULTILINE)
    assert sorted([*listed, "assumptions.v"]) == sorted(SOURCES)


@pytest.mark.parametrize("page", [THEORY, (PROOFS / "README.md").read_text()])
def test_every_theorem_that_is_told_of_is_there(page):
    told = set(re.findall(r"`((?:theorem|count|card|upper|least|attention|levels|over|barrier)\w*)`", page))
    assert "theorem_A" in told
    assert told <= statements() | {"least_bound", "attention"}


def check(folder, path):
    """Run the build in a folder, with a search path of its own."""
    return subprocess.run(
        [shutil.which("bash"), folder / "check.sh"],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def beginning(folder, change=lambda text: text):
    """Copy the proofs up to the volume of a ball, hamming.v changed."""
    shutil.copy(PROOFS / "check.sh", folder)
    (folder / "_CoqProject").write_text("-Q . kvfloor\ncounting.v\nhamming.v\n")
    (folder / "counting.v").write_text(SOURCES["counting.v"])
    (folder / "hamming.v").write_text(change(SOURCES["hamming.v"]))
    (folder / "assumptions.v").write_text(
        "From kvfloor Require Import hamming.\nPrint Assumptions card_ball.\nPrint Assumptions leq_vol.\n"
    )
    return folder


def off_by_one(text):
    """Leave the outermost sphere out of the volume of a ball."""
    assert "k < e.+1) 'C" in text
    return text.replace("k < e.+1) 'C", "k < e) 'C")


def unproved(text):
    """Leave the proof of what card_ball rests on out."""
    return re.sub(r"(Lemma card_errors.*?)Proof\..*?Qed\.", r"\1Admitted.", text, count=1, flags=re.DOTALL)


def test_without_coq_and_packages_a_sentence_says_what_is_needed(tmp_path):
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("dirname", "id"):
        (tools / tool).symlink_to(shutil.which(tool))
    result = check(beginning(tmp_path), str(tools))
    assert result.returncode == 1
    assert "apt-get install coq libcoq-mathcomp-algebra" in result.stderr


@needs_coq
def test_the_build_counts_what_is_proved(tmp_path):
    result = check(beginning(tmp_path), os.environ["PATH"])
    assert result.returncode == 0
    assert "Coq has read 2 theorems" in result.stdout


@needs_coq
def test_coq_refuses_a_ball_that_is_off_by_one(tmp_path):
    result = check(beginning(tmp_path, off_by_one), os.environ["PATH"])
    assert result.returncode != 0
    assert re.search(r'File "./hamming.v".*Error', result.stderr, re.DOTALL)


@needs_coq
def test_the_build_refuses_a_theorem_whose_proof_is_left_out(tmp_path):
    result = check(beginning(tmp_path, unproved), os.environ["PATH"])
    assert result.returncode == 1
    assert "1 of 2 theorems rest on something that is not proved" in result.stderr
