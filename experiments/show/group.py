"""What all subcommands share: how wrong input is told, and the options that several of them have."""

import contextlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from kvfloor.experiments.engine.store import Store

__all__ = [
    "POSITIVE",
    "SEED",
    "Command",
    "Subcommand",
    "as_json",
    "on_executor",
    "on_figures",
    "on_results",
    "on_workers",
    "opened",
]

SEED = click.IntRange(min=0)
POSITIVE = click.IntRange(min=1)
WORKERS = click.IntRange(min=1, max=1024)
as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
on_workers = click.option("--workers", type=WORKERS, default=None, help="Processes.  [default: one a core]")
on_executor = click.option(
    "--executor",
    default="local",
    metavar="NAME",
    help="Who works: local, or a cluster's scheduler, dask:tcp://host:port.",
)
on_results = click.option(
    "--results", type=click.Path(dir_okay=False), default="kvfloor.sqlite", help="Store of finished work."
)
on_figures = click.option(
    "--figures", type=click.Path(file_okay=False), default="figures", help="Folder for figures and tables."
)


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
            raise Sentence(_short(str(error))) from error
        except OSError as error:
            name = f"{error.filename}: " if error.filename else ""
            raise Sentence(_short(f"{name}{error.strerror or error}")) from error


@contextlib.contextmanager
def opened(results: str, figures: str) -> "Iterator[Store]":
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
    """Return a sentence on one line, in which no word is longer than a line."""
    return re.sub(r"\S{160,}", lambda word: f"{word[0][:60]}...{word[0][-20:]}", " ".join(text.split()))
