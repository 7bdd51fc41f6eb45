"""Re-run claims: work, verdict, figure."""

import difflib
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from kvfloor.attention.engines.llamacpp import library as engine
from kvfloor.attention.engines.plain import files as model
from kvfloor.attention.engines.transformers.library import INSTALL, missing
from kvfloor.experiments.claims import all_claims
from kvfloor.experiments.drawing import style
from kvfloor.experiments.engine import sweep
from kvfloor.experiments.engine.store import Record
from kvfloor.experiments.judging.claim import Check, Claim, Scale, Verdict, draw_claim, judge_claim

Run: TypeAlias = Callable[..., tuple[list[Record], list[sweep.Lost]]]

__all__ = ["Reproduction", "chosen_claims", "left_out", "reproductions"]

# What to do about packages that are not of the extra `transformers`.
INSTALLS = {**dict.fromkeys(engine.EXTRA, engine.INSTALL), model.PACKAGES[-1]: model.INSTALL}


@dataclass(frozen=True, slots=True)
class Reproduction:
    """One claim, re-run.

    Parameters
    ----------
    id, title, source : str
        As the claim has them.
    verdict : str
        "holds", "fails", "broken", or "unfinished" if blocks were lost: then nothing is judged or drawn.
    control : str
        "fails", as it must, or "passes"; "unfinished" as the verdict.
    evidence : dict
        "checks" and "controls": for each its name, whether it passed, and its numbers. "lost": for each lost
        block what was asked, which repetition, and why.
    figure : str
        Path of the SVG, empty if there is none.
    seconds : float
        Wall time.
    """

    id: str
    title: str
    source: str
    verdict: Literal["holds", "fails", "broken", "unfinished"]
    control: Literal["fails", "passes", "unfinished"]
    evidence: dict[str, Any]
    figure: str
    seconds: float


def chosen_claims(ids: Sequence[str]) -> list[Claim]:
    """Return the claims of these ids, or all if there are none.

    Raises
    ------
    ValueError
        If there is no such claim; the message names the nearest.
    """
    known = all_claims()
    for name in ids:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3) or list(known)
            raise ValueError(f"there is no claim {name!r}; the nearest: {', '.join(near)}")
    return [known[name] for name in dict.fromkeys(ids)] or list(known.values())


def left_out(claims: Sequence[Claim]) -> dict[str, str]:
    """Return which claims cannot run here, and why.

    Parameters
    ----------
    claims : sequence of Claim
        What is wanted.

    Returns
    -------
    dict of str to str
        By the claim's id the missing packages and how to install them, in one sentence.
    """
    lacking = {claim.id: missing(claim.requires) for claim in claims}
    return {
        id: f"needs {', '.join(names)}; {INSTALLS.get(names[-1], INSTALL)}"
        for id, names in lacking.items()
        if names
    }


def reproductions(
    claims: Sequence[Claim],
    run: Run,
    *,
    scale: Scale,
    figures: Path,
    progress: Callable[[Claim, int], None] = lambda claim, blocks: None,
) -> Iterator[Reproduction]:
    """Re-run claims one after the other, yielding each as it is judged and drawn.

    Parameters
    ----------
    claims : sequence of Claim
        What to re-run.
    run : callable
        `kvfloor.experiments.engine.sweep.run` with a store, a seed and an executor.
    scale : {"quick", "full"}
        How large the grids are.
    figures : Path
        Folder for the figures.
    progress : callable
        Told of a claim's blocks as they are found or finished.

    Yields
    ------
    Reproduction
    """
    for claim in claims:
        start = time.perf_counter()
        records, lost = run(claim.tasks(scale), progress=functools.partial(progress, claim))
        outcome: dict[str, Any] = {"verdict": "unfinished", "control": "unfinished", "figure": ""}
        if lost:
            outcome["evidence"] = {"checks": [], "controls": [], "lost": [_asked(block) for block in lost]}
        else:
            verdict = judge_claim(claim, records)
            with style.styled():
                drawn = style.save(draw_claim(claim, records), figures, claim.id)
            outcome = {"verdict": verdict.verdict, "control": verdict.control, "figure": str(drawn)}
            outcome["evidence"] = _evidence(verdict)
        seconds = time.perf_counter() - start
        yield Reproduction(claim.id, claim.title, claim.source, seconds=seconds, **outcome)


def _asked(block: sweep.Lost) -> dict[str, Any]:
    """Return a lost block as JSON values."""
    asked = {"variant": block.task.variant, "parameters": block.task.parameters, "block": block.block}
    return asked | {"reason": block.reason}


def _evidence(verdict: Verdict) -> dict[str, Any]:
    """Return the checks behind a verdict as JSON values."""

    def plain(checks: tuple[Check, ...]) -> list[dict[str, Any]]:
        return [asdict(check) for check in checks]

    return {"checks": plain(verdict.checks), "controls": plain(verdict.controls), "lost": []}
