"""The commands about what is stored: `kvfloor report`, `merge`, `show` and `rerun`."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kvfloor.experiments.show import screen
from kvfloor.experiments.show.group import SEED, Subcommand, as_json, on_results

if TYPE_CHECKING:
    from kvfloor.experiments.engine.store import Record

__all__ = ["merge", "report", "rerun", "show"]

SHOWN_DIGITS = 12


@click.command(cls=Subcommand)
@on_results
@click.option("--out", type=click.Path(dir_okay=False), default="report.html", help="The page to write.")
@click.option("--seed", type=SEED, default=0, help="Root seed of the runs to report.")
def report(results: str, out: str, seed: int) -> None:
    """Write verdicts, evidence and figures on one page of HTML.

    Nothing is run. Each claim is shown at the largest scale of which every block is stored.

    \b
    kvfloor report --results all.sqlite --out all.html
    """
    from kvfloor.experiments.engine.store import Store
    from kvfloor.experiments.show.report import write_report

    with Store(results, writable=False) as store:
        shown = write_report(store, out, seed=seed)
    whole = sum(section.verdict is not None for section in shown)
    click.echo(f"{out}: {whole} of {len(shown)} claims; run `kvfloor reproduce` for the others.")


@click.command(cls=Subcommand)
@click.argument("results", nargs=-1, required=True, type=click.Path(dir_okay=False))
@click.option("--into", required=True, type=click.Path(dir_okay=False), help="The store they are added to.")
def merge(results: tuple[str, ...], into: str) -> None:
    """Put the finished work of several stores into one.

    What is there already is not added twice; if anything is wrong with a store, nothing is added at all.

    \b
    kvfloor merge a.sqlite b.sqlite --into all.sqlite
    """
    from kvfloor.experiments.claims import all_claims
    from kvfloor.experiments.engine.merging import merge as run

    modules = [claim.module for claim in all_claims().values()]
    for merged in run([Path(name) for name in results], Path(into), modules):
        click.echo(f"{merged.path}: {merged.added} blocks added, {merged.known} were there already.")


@click.command(cls=Subcommand)
@click.argument("row")
@on_results
@as_json
def show(row: str, results: str, as_json: bool) -> None:
    """Tell what a stored row says, and where it comes from.

    ROW is the beginning of a row's id; the id of a claim lists that claim's rows.

    \b
    kvfloor show index-barrier
    kvfloor show 5b0f
    """
    from kvfloor.experiments.claims import all_claims
    from kvfloor.experiments.engine.store import Store

    claim = all_claims().get(row)
    if claim is None:
        shown = _described(_row(row, results))
        if as_json:
            screen.print_json(shown)
            return
        table = screen.table("", "", title=f"row {shown['id']}")
        for name, value in shown.items():
            table.add_row(name, value if isinstance(value, str) else json.dumps(value))
        screen.print_table(table)
        return
    with Store(results, writable=False) as store:
        records = [record for record in store.records() if record.claim == claim.module]
    if as_json:
        screen.print_json([_described(record) for record in records])
        return
    table = screen.table("row", "part", "asked", "block", "seed", "written")
    for record in records:
        asked = json.dumps(record.parameters)
        place = (str(record.block), record.seed, record.written)
        table.add_row(record.id[:SHOWN_DIGITS], record.variant, asked, *place)
    screen.print_table(table)


@click.command(cls=Subcommand)
@click.argument("row")
@on_results
@as_json
def rerun(row: str, results: str, as_json: bool) -> None:
    """Measure a stored row again, and compare the bytes.

    ROW is the beginning of a row's id, as `kvfloor show CLAIM` lists them. Exit status 1 if they do not agree.

    \b
    kvfloor rerun 5b0f
    """
    from math import isinf

    from kvfloor.experiments.engine.code import code_digest
    from kvfloor.experiments.engine.executors import executor_of
    from kvfloor.experiments.engine.rows import apart
    from kvfloor.experiments.engine.sweep import again

    record = _row(row, results)
    with executor_of("local", 1) as executor:
        measured = again(record, executor)
    differ = apart(record.measured, measured)
    same_code = record.code == code_digest(record.claim)
    if as_json:
        gaps = {place: None if isinf(gap) else gap for place, gap in differ.items()}
        facts = {"id": record.id, "agrees": not differ, "same_code": same_code, "apart": gaps}
        screen.print_json(facts | {"measured": measured})
    else:
        code = "by the same code" if same_code else "by other code than then"
        click.echo(f"Row {record.id[:SHOWN_DIGITS]} measured again, {code}: ", nl=False)
        click.echo("the bytes agree." if not differ else f"{len(differ)} values differ.")
        for place, gap in differ.items():
            click.echo(f"  {place}: {'another value' if isinf(gap) else f'{gap:.2g} apart, relatively'}")
    sys.exit(bool(differ))


def _row(row: str, results: str) -> "Record":
    """Return the one row whose id begins like this."""
    from kvfloor.experiments.engine.store import Store

    with Store(results, writable=False) as store:
        found = list(store.records(row=row.lower()))
    if len(found) != 1:
        count = "no row" if not found else f"not one row but {len(found)}"
        raise ValueError(
            f"{results} has {count} whose id begins with {row!r}; `kvfloor show CLAIM` lists a claim's"
        )
    return found[0]


def _described(record: "Record") -> dict[str, Any]:
    """Return everything that is known of a row, as JSON values."""
    return {
        "id": record.id,
        "claim": record.claim,
        "part": record.variant,
        "parameters": record.parameters,
        "seed_path": f"{record.seed}/{record.task}/{record.block}",
        "code": record.code,
        "measured": record.measured,
        "seconds": record.seconds,
        "written": record.written,
        **record.origin,
    }
