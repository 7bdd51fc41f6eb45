"""The commands that work and keep what is finished: `kvfloor reproduce` and `kvfloor leaderboard`."""

import dataclasses
import functools
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kvfloor.experiments.show import screen
from kvfloor.experiments.show.group import (
    SEED,
    Subcommand,
    as_json,
    on_executor,
    on_figures,
    on_results,
    on_workers,
    opened,
)

if TYPE_CHECKING:
    from kvfloor.experiments.judging.claim import Claim

__all__ = ["leaderboard", "reproduce"]


@click.command(cls=Subcommand)
@click.argument("claims", nargs=-1, metavar="[CLAIM]...")
@click.option(
    "--scale", type=click.Choice(["quick", "full"]), default="quick", help="How large the grids are."
)
@on_workers
@on_executor
@click.option("--seed", type=SEED, default=0, help="Root seed of every random draw.")
@on_results
@on_figures
@as_json
def reproduce(
    claims: tuple[str, ...],
    scale: Any,
    workers: int | None,
    executor: str,
    seed: int,
    results: str,
    figures: str,
    as_json: bool,
) -> None:
    """Re-run claims, all by default: print verdicts, draw figures.

    Finished blocks of work are kept in the results file: a run that was stopped continues where it was,
    and a second run only judges and draws. Exit status 1 if a claim fails or its control does not.

    \b
    kvfloor reproduce threshold --scale full
    """
    from kvfloor.experiments.engine.executors import executor_of
    from kvfloor.experiments.engine.sweep import run, total_blocks
    from kvfloor.experiments.show.reproduction import chosen_claims, left_out, reproductions
    from kvfloor.experiments.show.stopping import stops_with

    chosen = chosen_claims(claims)
    for id, reason in left_out(chosen).items():
        if claims:
            raise ValueError(f"{id} {reason}")
        click.echo(f"{id} is left out: it {reason}.", err=True)
        chosen = [claim for claim in chosen if claim.id != id]
    total = sum(total_blocks(claim.tasks(scale)) for claim in chosen)
    done = 0
    with executor_of(executor, workers) as workplace, opened(results, figures) as store:

        def stopped() -> str:
            store.close()
            return (
                f"Stopped: {done} of {total} blocks are kept in {results}; the same command continues there."
            )

        with stops_with(stopped), screen.progress(chosen, scale) as advance:

            def count(claim: "Claim", blocks: int) -> None:
                nonlocal done
                done += blocks
                advance(claim, blocks)

            work = functools.partial(run, store=store, seed=seed, executor=workplace)
            folder = Path(figures)
            outcomes = list(reproductions(chosen, work, scale=scale, figures=folder, progress=count))
    if as_json:
        screen.print_json([dataclasses.asdict(outcome) for outcome in outcomes])
    else:
        screen.print_outcomes(outcomes)
        click.echo(f"Figures are in {figures}, measurements in {results}.")
    sys.exit(any(outcome.verdict != "holds" for outcome in outcomes))


@click.command(cls=Subcommand)
@on_workers
@on_executor
@click.option("--seed", type=SEED, default=0, help="Root seed of every random draw.")
@on_results
@on_figures
@as_json
def leaderboard(
    workers: int | None, executor: str, seed: int, results: str, figures: str, as_json: bool
) -> None:
    """Audit every press of kvpress and cache of transformers.

    Each is asked for several budgets. Finished plays are kept in the results file: a run that was
    stopped continues where it was. Writes leaderboard.md, .csv, .svg and .png.

    \b
    kvfloor leaderboard --figures tables
    """
    from kvfloor.experiments.claims.engines.leaderboard import tasks
    from kvfloor.experiments.engine.executors import executor_of
    from kvfloor.experiments.engine.sweep import run
    from kvfloor.experiments.show.leaderboard_page import COLUMNS, publish
    from kvfloor.experiments.show.stopping import stops_with

    wanted = tasks()
    with executor_of(executor, workers) as workplace, opened(results, figures) as store:

        def stopped() -> str:
            store.close()
            return f"Stopped: finished plays are in {results}; the same command continues."

        with stops_with(stopped), screen.bars({"leaderboard": len(wanted)}) as advance:
            progress = functools.partial(advance, "leaderboard")
            records, lost = run(wanted, store, seed=seed, executor=workplace, progress=progress)
            rows = publish(records, lost, Path(figures), seed)
    if as_json:
        screen.print_json(rows)
        return
    table = screen.table(*COLUMNS)
    for row in rows:
        table.add_row(*(str(row[column]) for column in COLUMNS))
    screen.print_table(table)
    click.echo(f"The table and the figure are in {figures}, the plays in {results}.")
