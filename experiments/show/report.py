"""One page of HTML from a result store: verdicts, evidence and figures, without running anything."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from kvfloor import __version__
from kvfloor.experiments.claims import all_claims
from kvfloor.experiments.drawing import style
from kvfloor.experiments.engine.files import write_whole
from kvfloor.experiments.engine.store import Record, Store
from kvfloor.experiments.engine.sweep import finished, total_blocks
from kvfloor.experiments.judging.claim import Claim, Scale, Verdict, draw_claim, judge_claim

__all__ = ["Section", "sections", "write_report"]


@dataclass(frozen=True, slots=True)
class Section:
    """A claim as the store shows it.

    Parameters
    ----------
    claim : Claim
        The claim.
    scale : str or None
        The largest scale of which every block is stored, None if there is none.
    blocks, total : int
        Stored blocks, and how many there are, at that scale or at quick.
    verdict : Verdict or None
        The judgement of the stored rows.
    figure : str
        The figure as SVG text, empty if there is no verdict.
    """

    claim: Claim
    scale: Scale | None
    blocks: int
    total: int
    verdict: Verdict | None
    figure: str


def sections(store: Store, *, seed: int) -> list[Section]:
    """Return every claim with what the store has of it, measured by the present code.

    Parameters
    ----------
    store : Store
        The results.
    seed : int
        Root seed of the runs to report.

    Returns
    -------
    list of Section
        In the order of the claims.
    """
    return [_section(claim, store, seed) for claim in all_claims().values()]


def write_report(store: Store, path: str | Path, *, seed: int) -> list[Section]:
    """Write the page, whole or not at all, and return its sections.

    Parameters
    ----------
    store : Store
        The results.
    path : str or Path
        Where the page goes.
    seed : int
        Root seed of the runs to report.

    Returns
    -------
    list of Section
        What the page shows.
    """
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["number"] = _number
    shown = sections(store, seed=seed)
    page = environment.get_template("report.html.jinja").render(
        sections=shown, seed=seed, results=store.path.name, version=__version__
    )
    write_whole(path, page.encode())
    return shown


def _section(claim: Claim, store: Store, seed: int) -> Section:
    """Return a claim's section at the largest scale that is whole."""
    scales: tuple[Scale, ...] = ("full", "quick")
    for scale in scales:
        tasks = claim.tasks(scale)
        found = finished(tasks, store, seed=seed)
        if len(found) == total_blocks(tasks):
            records = [found[task.id, block] for task in tasks for block in range(task.blocks)]
            verdict = judge_claim(claim, records)
            return Section(claim, scale, len(found), len(found), verdict, _svg(claim, records))
    return Section(claim, None, len(found), total_blocks(tasks), None, "")


def _svg(claim: Claim, records: list[Record]) -> str:
    """Return a claim's figure as an SVG element."""
    buffer = io.StringIO()
    with style.styled():
        draw_claim(claim, records).savefig(buffer, format="svg", metadata=style.METADATA["svg"])
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _number(value: Any) -> str:
    """Return a piece of evidence as a reader wants it: few digits, no quotes."""
    match value:
        case dict():
            return ", ".join(f"{name}: {_number(entry)}" for name, entry in value.items())
        case list():
            return ", ".join(map(_number, value)) or "none"
        case bool() | str() | None:
            return str(value)
        case _:
            return f"{value:,.6g}" if isinstance(value, float) else f"{value:,}"
