"""Command lines that nobody would write, generated from the commands' own options: one sentence, and nothing left."""

import json
import random
import shlex

import click
import pytest
from click.testing import CliRunner
from matplotlib.figure import Figure

from kvfloor.experiments.audits import audit, memory
from kvfloor.experiments.claims.engines import leaderboard
from kvfloor.experiments.judging.claim import Claim
from kvfloor.experiments.show import reproduction
from kvfloor.experiments.show.command import main

LINES = 160
WIDE = "9" * 400
NUMBERS = [
    "0",
    "-1",
    "1",
    "2",
    "3",
    "16",
    "64",
    "1e3",
    "nan",
    "",
    " 5",
    "x",
    "2147483648",
    "1" + 18 * "0",
    WIDE,
    12 * WIDE,
]
REALS = ["nan", "inf", "-inf", "1e400", "-0.0", "0", "0.5", "1", "0.1", "", "x", WIDE]
PATHS = ["", ".", "/nowhere/x", "/dev/null/x", "/proc/x", "a\x00b", 300 * "x", "new", "new/er"]
TEXTS = [
    "",
    "?",
    "nobody",
    "gpt2",
    "visual",
    "tensor4",
    "tensor2",
    "threshold",
    "probe",
    "local",
    "\ud800",
    "a\nb",
    WIDE,
]
CACHES = [
    "", "dense", "golay", "uniform:bits=4", "uniform:bits=0", "uniform:bits=nan", f"uniform:bits={WIDE}", "unifrom",
    "window", "window:", "window:kept_tokens", "window:kept_tokens=", "window:kept_tokens=3", "window:kept_tokens=3,",
    "window:kept_tokens=3,kept_tokens=4", ":", "::", "+", "dense+", "+dense", "dense+golay", "dense+dense+dense",
    "nowhere:Cache", "builtins:print", "os:_exit", "kvpress:", "kvpress:?", "transformers:os", "llamacpp:", "llamacpp:x=y",
    "dense\x00", "\ud800", "a b:c", WIDE,
]  # fmt: skip


@pytest.fixture
def quiet(tmp_path, monkeypatch):
    """Let commands parse, check and refuse, in an empty folder: what would take long is left out."""

    def play(encoding, *_, **__):
        raise ValueError(f"{encoding.problem.length} symbols would be played")

    def tasks():
        raise ValueError("presses would be played")

    claim = Claim(id="none", title="None", source="ours", statement="None.", theory="0", checks=("any",),
                  cells=lambda scale: [], measure=leaderboard.measure, judge=lambda rows: [],
                  draw=lambda rows: Figure(), controls=())  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(memory, "available_bytes", lambda: 16 << 30)
    monkeypatch.setattr(audit, "play_in_full", play)
    monkeypatch.setattr(leaderboard, "tasks", tasks)
    monkeypatch.setattr(reproduction, "all_claims", lambda: {"none": claim})
    return tmp_path


def values(parameter):
    """Return what may be written for a parameter, wrong and right."""
    kind = parameter.type
    if parameter.name == "cache":
        return CACHES
    if isinstance(kind, click.Choice):
        return [*kind.choices, "all", "", kind.choices[0].upper()]
    if isinstance(kind, click.Path):
        return PATHS
    if isinstance(kind, click.types.IntParamType):
        return NUMBERS
    return REALS if isinstance(kind, click.types.FloatParamType) else TEXTS


def generated(number):
    """Return a command line: a command, its arguments or too many of them, and up to four of its options."""
    rng = random.Random(number)
    name = rng.choice(
        [name for name in main.commands if name != "structure"]
    )  # which takes minutes wherever it is right
    parameters = main.commands[name].params
    words = [name]
    for parameter in parameters:
        if isinstance(parameter, click.Argument):
            words += [rng.choice(values(parameter)) for _ in range(rng.choice([0, 1, 1, 1, 1, 2]))]
    options = [p for p in parameters if isinstance(p, click.Option)]
    for option in rng.sample(options, min(len(options), rng.randint(0, 4))):
        words.append(option.opts[-1])
        if not option.is_flag:
            words.append(rng.choice(values(option)))
    if rng.random() < 0.2:
        words.append(rng.choice(["--nothing", "-x", "--"]))
    return words


def check(words, folder):
    """Run a command line and hold it to its contract; return the exit status."""
    before = sorted(path.name for path in folder.iterdir())
    result = CliRunner().invoke(main, words)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise AssertionError(words) from result.exception
    assert "Traceback" not in result.stderr
    if result.exit_code == 2:
        assert result.stdout == ""
        told = [
            line
            for line in result.stderr.splitlines()
            if line.strip() and not line.startswith(("Usage: ", "Try "))
        ]
        assert len(told) == 1, told
        assert told[0].startswith("Error: ")
        assert 10 < len(told[0]) < 700
        assert sorted(path.name for path in folder.iterdir()) == before
    else:
        assert result.exit_code in (0, 1)
        if "--json" in words:
            json.loads(result.stdout)
    return result.exit_code


@pytest.mark.parametrize("number", range(LINES))
def test_a_generated_command_line_keeps_the_contract(number, quiet):
    check(generated(number), quiet)


def test_right_and_wrong_lines_of_every_command_are_among_them(quiet):
    ends = {(words[0], check(words, quiet) == 2) for words in map(generated, range(LINES))}
    assert {name for name, wrong in ends if wrong} == set(main.commands) - {"structure"}
    assert {"caches", "claims", "floor", "reproduce"} <= {name for name, wrong in ends if not wrong}


@pytest.mark.parametrize("line", [
    "audit dense --model tensor4 --dim 2147483648", "audit dense --levels 1000000000000000000",
    "audit dense --model visual --tokens 2147483648", "audit dense --model visual --tokens 1000000000000000000",
    "audit kvpress:KnormPress --tokens 1000000000000000000", "reproduce --workers 1000000000000000000",
    f"floor --tokens {WIDE}", f"floor --dim {WIDE}", "reproduce --figures ''", "reproduce --results ''",
    "audit dense --model ''", "audit ''", "report --out ''", "merge '' --into x", "audit dense --reader ''",
])  # fmt: skip
def test_a_line_that_once_broke_the_contract_does_not(line, quiet):
    assert check(shlex.split(line), quiet) == 2


@pytest.mark.parametrize(("cache", "sentence"), [
    ("builtins:print", "expected a cache class or a function"), ("os:_exit", "expected a cache class or a function"),
    ("builtins:dict", "cannot be called"), ("os:path", "is a module"), ("nowhere:Cache", "No module named 'nowhere'"),
    ("window:kept_tokens=0", "kept_tokens is 0"), ("::", "Empty module name"), ("broken:Cache", "SyntaxError"),
    ("quits:Cache", "SystemExit"), ("mute:Cache", "has no method append"), ("dies:Cache", "ended with status"),
])  # fmt: skip
def test_a_cache_that_is_none_is_told_in_one_sentence_by_the_process_that_met_it(
    cache, sentence, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.py").write_text("class Cache(\n")
    (tmp_path / "quits.py").write_text("raise SystemExit('no')\n")
    (tmp_path / "mute.py").write_text("def Cache(dim, value_dim, coins):\n    return coins\n")
    (tmp_path / "dies.py").write_text("import os\n\n\ndef Cache(dim, value_dim, coins):\n    os._exit(3)\n")
    result = CliRunner().invoke(main, ["audit", cache, "--tokens", "16", "--dim", "8"])
    assert (result.exit_code, result.stdout) == (2, "")
    (told,) = result.stderr.splitlines()
    assert told.startswith("Error: ")
    assert sentence in told


def test_the_hint_for_a_parameter_is_what_one_may_write():
    for cache in ("window", "window:"):
        told = CliRunner().invoke(main, ["audit", cache]).stderr
        assert told.endswith("as in window:kept_tokens=...\n")
