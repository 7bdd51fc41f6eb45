"""What the command shows: tables and JSON on standard output, progress on standard error."""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.table import Table

    from kvfloor.experiments.audits.auditor import Audit
    from kvfloor.experiments.audits.real_auditor import RealAudit
    from kvfloor.experiments.judging.claim import Claim
    from kvfloor.experiments.show.reproduction import Reproduction

__all__ = [
    "audit_rows",
    "bars",
    "plain",
    "print_json",
    "print_outcomes",
    "print_table",
    "progress",
    "spinner",
    "table",
]


def audit_rows(result: "Audit | RealAudit") -> Iterator[tuple[str, str, str]]:
    """Yield the lines of an audit's table: name, number, meaning."""
    shape = f"n = {result.tokens:,}, d = {result.dim}, d_v = {result.value_dim}"
    per_bit = f"{result.wire_bits / result.capacity_bits:.3f} for each hidden bit"
    certainty = f"wrong with probability at most 2^{result.significance_log2:g}"
    where = f"{_MODELS.get(result.model, '')}{shape}, in the {_SIDES[result.sides]}"
    yield "hidden", f"{result.capacity_bits:,.0f} bits", where
    if hasattr(result, "allocated_bits"):
        nominal = getattr(result, "nominal_bits", None)
        said = "nothing" if nominal is None else f"{nominal:,.0f} bits"
        yield "nominal", said, "what the method says that it keeps"
        yield "allocated", f"{result.allocated_bits:,} bits", "what the tensors of the cache occupy"
    yield "on the wire", f"{result.wire_bits:,} bits", per_bit
    yield "decoded", f"{result.accuracy:.2%}", f"{result.errors:,} errors in {result.asked:,} symbols asked"
    if hasattr(result, "reader"):
        others = ", ".join(name for name in getattr(result, "readers", ()) if name != result.reader)
        told = f"read no worse than {others}" if others else "the only one that was asked"
        yield "reader", result.reader, told
    yield "certified", f"{result.certified_bits:,.0f} bits", certainty
    yield "frontier", f"{result.frontier_bits:,.0f} bits", "no cache of this accuracy can take less"
    full = (
        ("full cache", f" ({result.model})") if hasattr(result, "allocated_bits") else ("float16 cache", "")
    )
    yield full[0], f"{result.full_cache_bits:,} bits", f"keys and values as they are{full[1]}"
    yield "seed", str(result.seed), "repeats this audit"
    colour, meaning = {
        "impossible": ("red", "more was decoded than crossed the wire: a side channel or a miscount"),
        "saves nothing": ("yellow", "the tensors take no less than the full cache, whatever the method says"),
        "consistent": ("green", "what was decoded fits what crossed the wire"),
    }[result.verdict]
    yield "verdict", f"[bold {colour}]{result.verdict}[/]", meaning


_MODELS = {
    "attention": "",
    "tensor4": "on either of two sides: ",
    "tensor2": "n^2 opaque rows: ",
    "visual": "in all maps but the last, at most n tokens: ",
}
_SIDES = {"values": "values", "keys": "keys", "both": "keys and values"}


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
    """Print a table to standard output, wide enough for a file where there is no terminal."""
    from rich.console import Console

    console = Console() if sys.stdout.isatty() else Console(width=160)
    console.print(shown)


def print_json(value: Any) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(value, indent=2, allow_nan=False))


def plain(value: Any) -> Any:
    """Return a mapping as a dict of what JSON can hold, anything else as it is."""
    if not hasattr(value, "items"):
        return value
    return {k: v if v is None or isinstance(v, str | int | float) else repr(v) for k, v in value.items()}
