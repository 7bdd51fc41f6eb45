"""What the command shows: tables and JSON on standard output, progress on standard error."""

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from kvfloor.experiments.audits.record import Audit
    from kvfloor.experiments.judging.claim import Claim
    from kvfloor.experiments.show.reproduction import Reproduction

__all__ = [
    "bars",
    "plain",
    "print_audit",
    "print_fields",
    "print_json",
    "print_lines",
    "print_outcomes",
    "print_table",
    "progress",
    "spinner",
    "table",
]


def print_audit(result: "Audit") -> None:
    """Print an audit's table."""
    colours = {
        "impossible": "red",
        "saves nothing": "yellow",
        "does nothing": "yellow",
        "consistent": "green",
    }
    shown = table("", "", "", title=f"audit of {result.cache}")
    for name, number, meaning in result.rows():
        number = f"[bold {colours[result.verdict]}]{number}[/]" if name == "verdict" else number
        shown.add_row(name, number, meaning)
    print_table(shown)


def print_outcomes(outcomes: "Sequence[Reproduction]") -> None:
    """Print the table of verdicts, and the numbers of whatever did not come out as it must."""
    verdicts = table("claim", "verdict", "control", "checks", "seconds")
    colours = {"holds": "green", "fails": "red", "broken": "magenta", "unfinished": "yellow"}
    for outcome in outcomes:
        checks = outcome.evidence["checks"]
        passed = f"{sum(check['passed'] for check in checks)} of {len(checks)}"
        verdict = f"[bold {colours[outcome.verdict]}]{outcome.verdict}[/]"
        control = outcome.control + (", as it must" if outcome.control == "fails" else "")
        verdicts.add_row(outcome.id, verdict, control, passed, f"{outcome.seconds:.1f}")
    print_table(verdicts)
    for outcome in outcomes:
        wrong = [c for c in outcome.evidence["checks"] if not c["passed"]]
        wrong += [c for c in outcome.evidence["controls"] if c["passed"] or c["evidence"] == {"rows": 0}]
        for check in wrong if outcome.verdict != "holds" else []:
            click.echo(f"{outcome.id}: {check['name']}: {json.dumps(check['evidence'])}")
        for block in outcome.evidence["lost"]:
            asked = f"{json.dumps(block['parameters'])}, block {block['block']}"
            click.echo(f"{outcome.id}: lost: {asked}: {block['reason']}")


@contextlib.contextmanager
def progress(claims: "Sequence[Claim]", scale: Any) -> "Iterator[Callable[[Claim, int], None]]":
    """Show a bar a claim on standard error; yield what advances them."""
    from kvfloor.experiments.engine.sweep import total_blocks

    with bars({claim.id: total_blocks(claim.tasks(scale)) for claim in claims}) as advance:
        yield lambda claim, blocks: advance(claim.id, blocks)


@contextlib.contextmanager
def bars(totals: dict[str, int]) -> Iterator[Callable[[str, int], None]]:
    """Show a bar for each of these names on standard error; yield what advances them."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bars = {name: progress.add_task(name, total=total, start=False) for name, total in totals.items()}

        def advance(name: str, blocks: int) -> None:
            progress.start_task(bars[name])
            progress.advance(bars[name], blocks)

        yield advance


@contextlib.contextmanager
def spinner(text: str) -> Iterator[None]:
    """Show on standard error that something is under way."""
    from rich.console import Console

    with Console(stderr=True).status(text):
        yield


def table(*columns: str, title: str | None = None) -> "Table":
    """Return an empty table in the project's style."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    made = Table(box=SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left", show_header=any(columns))
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


def print_table(shown: "Table") -> None:
    """Print a table to standard output."""
    _console().print(shown)


def print_lines(rows: "Sequence[tuple[str, str]]") -> None:
    """Print a name and what it is, a line each; where the terminal ends, the line does."""
    wide = max(len(name) for name, _ in rows) + 2
    for name, text in rows:
        _console().print(
            f"{name:{wide}}{text}", markup=False, highlight=False, no_wrap=True, overflow="ellipsis"
        )


def print_fields(fields: dict[str, str | list[str]]) -> None:
    """Print names and texts one below the other; of a list every entry on lines of its own."""
    from rich.markup import escape

    shown = table("", "")
    for name, value in fields.items():
        for text in [value] if isinstance(value, str) else value:
            shown.add_row(name, escape(text))
            name = ""
    print_table(shown)


def _console() -> "Console":
    """Return standard output: as wide as the terminal or COLUMNS, else wide enough for a file."""
    from rich.console import Console

    fixed = sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit()
    return Console() if fixed else Console(width=160)


def print_json(value: Any) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(value, indent=2, allow_nan=False))


def plain(value: Any) -> Any:
    """Return a mapping as a dict of what JSON can hold, anything else as it is."""
    if not hasattr(value, "items"):
        return value
    return {k: v if v is None or isinstance(v, str | int | float) else repr(v) for k, v in value.items()}
