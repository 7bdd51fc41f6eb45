"""Every help page, on a terminal of 80 columns: whole summaries, and examples that stand a line each and parse."""

import inspect
import shlex

import click
import pytest
from click.testing import CliRunner

from kvfloor.experiments.show.command import main

PAGES = {"kvfloor": main, **main.commands}
WIDTH = 80


def page(name):
    """Return the lines of a help page."""
    arguments = ["--help"] if name == "kvfloor" else [name, "--help"]
    result = CliRunner().invoke(main, arguments, env={"COLUMNS": str(WIDTH)}, terminal_width=WIDTH)
    assert result.exit_code == 0
    return result.stdout.splitlines()


def examples(command):
    """Return the examples in a command's help: the lines of its blocks that are not to be filled."""
    blocks = [part for part in inspect.cleandoc(command.help).split("\n\n") if part.startswith("\b\n")]
    return [line for block in blocks for line in block.splitlines()[1:]]


@pytest.mark.parametrize("name", PAGES)
def test_every_example_stands_on_a_line_of_its_own(name):
    lines = page(name)
    assert max(map(len, lines)) <= WIDTH
    assert "\\b" not in "".join(lines)
    shown = examples(PAGES[name])
    assert shown
    assert [line.strip() for line in lines if line.startswith("  kvfloor ")][-len(shown) :] == shown


@pytest.mark.parametrize("name", PAGES)
def test_every_example_is_a_command_line_that_parses(name):
    for line in examples(PAGES[name]):
        _, command, *arguments = shlex.split(line.partition("    ")[0])
        assert main.commands[command].make_context(command, arguments).params


@pytest.mark.parametrize("name", main.commands)
def test_every_summary_is_whole_and_fits_its_line(name):
    sentence = main.commands[name].help.partition("\n")[0]
    (line,) = [line for line in page("kvfloor") if line.split()[:1] == [name]]
    assert line.split(maxsplit=1)[1] == sentence
    assert sentence.endswith(".")


@pytest.mark.parametrize("name", PAGES)
def test_every_option_and_its_meaning_are_shown(name):
    text = " ".join(page(name))
    for option in PAGES[name].params:
        if isinstance(option, click.Option):
            assert option.help
            assert option.opts[-1] in text
