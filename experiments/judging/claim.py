"""What a claim is: a statement that can fail, the work that tests it, and controls that must fail."""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from kvfloor.experiments.engine.store import Record
from kvfloor.experiments.engine.sweep import Task
from kvfloor.experiments.engine.worker import told
from kvfloor.experiments.game.randomness import Randomness

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Cell", "Check", "Claim", "Control", "Scale", "Verdict", "cells", "draw_claim", "judge_claim"]

Scale = Literal["quick", "full"]
Cell: TypeAlias = dict[str, Any]
"""What one block of work is asked: parameters by name, as JSON values."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that the statement predicts, and whether the rows show it.

    Parameters
    ----------
    name : str
        The prediction in a few words.
    passed : bool
        Whether every row agrees.
    evidence : dict
        The numbers behind it, with units in their names; kept as the JSON values that they stand for.

    Raises
    ------
    ValueError
        If the evidence is no JSON, or a number in it is not finite: that shows nothing, either way.
    """

    name: str
    passed: bool
    evidence: dict[str, Any]

    def __post_init__(self) -> None:
        try:
            evidence = json.loads(json.dumps(self.evidence, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise ValueError(f"the evidence of {self.name!r} must be finite JSON values: {error}") from error
        object.__setattr__(self, "evidence", evidence)
        object.__setattr__(self, "passed", bool(self.passed))


@dataclass(frozen=True, slots=True)
class Control:
    """A deliberately false variant: the claim's own code on it must fail the check it breaks.

    Parameters
    ----------
    name : str
        What is false about it.
    breaks : str
        Name of the check that must fail.
    cells : sequence of dict
        The variant's grid, the same at every scale.
    """

    name: str
    breaks: str
    cells: Sequence[Cell] = field(hash=False)


@dataclass(frozen=True, slots=True)
class Claim:
    """A statement with everything that tests, judges and draws it.

    Parameters
    ----------
    id, title, source, statement, theory : str
        Name on the command line, one line, whose it is, what exactly, section of docs/theory.md.
    checks : tuple of str
        Names of the checks that `judge` must come to; a missing one counts as failed.
    cells : callable
        The grid at a scale: a list of JSON parameters; the key "blocks", if there, repeats a cell.
    measure : callable
        One block of work, ``measure(parameters, randomness) -> dict``, under this name in the claim's module.
    judge : callable
        From rows to checks; a check is returned only if some row bears on it.
    draw : callable
        From the claim's rows to its figure.
    controls : tuple of Control
        At least one.
    requires : tuple of str
        Optional packages that its work imports; without them the claim is left out.
    """

    id: str
    title: str
    source: str
    statement: str
    theory: str
    checks: tuple[str, ...]
    cells: Callable[[Scale], list[Cell]]
    measure: Callable[[dict[str, Any], Randomness], Mapping[str, object]]
    judge: Callable[[Sequence[Record]], list[Check]]
    draw: Callable[[Sequence[Record]], "Figure"]
    controls: tuple[Control, ...]
    requires: tuple[str, ...] = ()

    @property
    def module(self) -> str:
        """Dotted name of the module that does its work."""
        return self.measure.__module__

    def tasks(self, scale: Scale) -> list[Task]:
        """Return all the work of the claim and its controls at a scale."""
        variants = [("claim", self.cells(scale)), *((each.name, each.cells) for each in self.controls)]
        return [
            Task(self.module, name, {k: v for k, v in cell.items() if k != "blocks"}, cell.get("blocks", 1))
            for name, grid in variants
            for cell in grid
        ]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came out.

    Parameters
    ----------
    verdict : str
        "holds", "fails", or "broken" if a control did not fail as it must.
    control : str
        "fails", as it must, or "passes".
    checks : tuple of Check
        The claim's checks.
    controls : tuple of Check
        For each control the check it breaks, as it came out (so `passed` must be false).
    """

    verdict: Literal["holds", "fails", "broken"]
    control: Literal["fails", "passes"]
    checks: tuple[Check, ...]
    controls: tuple[Check, ...]


def cells(**axes: Any) -> list[Cell]:
    """Return the grid of all combinations of the given axes, the last one fastest.

    Parameters
    ----------
    **axes : list, tuple, range or another value
        The values of each parameter; what is no list, tuple or range is the only value.

    Returns
    -------
    list of dict
        A dict of parameters a cell.

    Examples
    --------
    >>> cells(cache="dense", tokens=[16, 32])
    [{'cache': 'dense', 'tokens': 16}, {'cache': 'dense', 'tokens': 32}]
    """
    grid: list[Cell] = [{}]
    for name, values in axes.items():
        several = values if isinstance(values, list | tuple | range) else [values]
        grid = [{**cell, name: value} for cell in grid for value in several]
    return grid


def judge_claim(claim: Claim, records: Sequence[Record]) -> Verdict:
    """Judge a claim and its controls from stored rows alone.

    Parameters
    ----------
    claim : Claim
        The claim.
    records : sequence of Record
        Its rows and its controls' rows.

    Returns
    -------
    Verdict
        `holds` only if every named check was reached and passed; `broken` if a control did not fail in
        just the check that it breaks.

    Raises
    ------
    ValueError
        If the rows do not fit together, so that the claim stumbles over them; one sentence.
    """

    def outcome(variant: str, names: tuple[str, ...]) -> tuple[Check, ...]:
        with _explained(claim, "judged"):
            reached = {c.name: c for c in claim.judge([r for r in records if r.variant == variant])}
        return tuple(reached.get(name, Check(name, False, {"rows": 0})) for name in names)

    checks = outcome("claim", claim.checks)
    controls = []
    caught = bool(claim.controls)
    for control in claim.controls:
        (check,) = outcome(control.name, (control.breaks,))
        caught &= not check.passed and check.evidence != {"rows": 0}
        controls.append(Check(f"{control.name}: {check.name}", check.passed, check.evidence))
    holds = all(check.passed for check in checks)
    verdict: Literal["holds", "fails", "broken"] = "broken" if not caught else "holds" if holds else "fails"
    return Verdict(verdict, "fails" if caught else "passes", checks, tuple(controls))


def draw_claim(claim: Claim, records: Sequence[Record]) -> "Figure":
    """Draw a claim from its rows; those of its controls are left out.

    Raises
    ------
    ValueError
        If the claim stumbles over the rows; one sentence.
    """
    with _explained(claim, "drawn"):
        return claim.draw([record for record in records if record.variant == "claim"])


@contextlib.contextmanager
def _explained(claim: Claim, done: str) -> Iterator[None]:
    """Turn what goes wrong in a claim's own code into one sentence: rows may have been changed by hand."""
    try:
        yield
    except Exception as error:
        raise ValueError(f"the rows of {claim.id} cannot be {done}: {told(error)}") from error
