"""Theorem A never accuses an honest cache, and no cheat gets past it (theory 1)."""

import math
from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np

from kvfloor.experiments.claims import run_alone
from kvfloor.experiments.drawing.style import COLOURS, THEORY, Axes, Figure, new_figure, shade_impossible
from kvfloor.experiments.engine.store import Record
from kvfloor.experiments.game import cheats
from kvfloor.experiments.game.hosts.isolated import Isolated
from kvfloor.experiments.game.hosts.numpy_caches import NumpyCache
from kvfloor.experiments.game.processes import CacheFailedError
from kvfloor.experiments.game.protocol import play
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.experiments.judging.claim import Cell, Check, Claim, Control, Scale
from kvfloor.experiments.judging.rows import grouped
from kvfloor.reductions.accuracy import TYPICAL
from kvfloor.reductions.encodings.values import ValuesEncoding
from kvfloor.reductions.keys.known import Keys

HONEST = "wire bits + 64 exceed the certificate in every honest play"
CAUGHT = "every cheat is stopped, counted in full, or impossible"

TOKENS, DIM, VALUE_DIM = 128, 32, 16
CHEAT_TOKENS, CHEAT_VALUE_DIM = 256, 8  # cheats that pack a value into a byte need 8 channels
PLAYS = 50
FALSE_ALARM = 1e-6
HONEST_CACHES = (
    "dense:dtype=float64",
    "dense:dtype=float16",
    "dense:dtype=bfloat16",
    "uniform:bits=1",
    "uniform:bits=2",
    "uniform:bits=4",
    "uniform:bits=8",
    "window:kept_tokens=16",
    "sinks:kept_tokens=32",
    "random:kept_tokens=32",
    "knorm:kept_tokens=64",
    "h2o:kept_tokens=32",
    "snapkv:kept_tokens=64",
    "coreset:kept_tokens=32",
    "balance:batch_tokens=32",
    "merge:kept_tokens=96",
    "lowrank:key_rank=16,value_rank=8",
    "linear:features=32",
    "turboquant:bits=1",
    "qjl:sketch_bits=64,group_size=16",
    "bitpack",
    "bitpack:kept_tokens=13",
    "bitpack:kept_tokens=64",
    "repetition",
    "hamming",
    "golay",
)


def grid(scale: Scale) -> list[Cell]:
    """Return blocks of honest plays, and one audit of every cheat."""
    blocks = 3 if scale == "quick" else 40
    honest = [{"honest": cache, "blocks": blocks} for cache in HONEST_CACHES]
    return honest + [
        {"cheat": f"kvfloor.experiments.game.cheats:{cheat.__name__}"} for cheat in cheats.CHEATS
    ]


class Honest(TypedDict):
    """How close the closest of many plays came to its certificate."""

    plays: int
    slack_bits: float
    wire_bits: int
    certified_bits: float


class Cheated(TypedDict):
    """How the audit of a cheat ended."""

    outcome: str
    why: str
    accuracy: float
    wire_bits: int
    certified_bits: float


def measure(parameters: dict[str, Any], randomness: Randomness) -> Honest | Cheated:
    """Play honest caches many times in this process, or audit a cheat between fresh ones."""
    if "honest" in parameters:
        return _play_honestly(parameters["honest"], randomness)
    return _audit_cheat(parameters["cheat"], randomness)


def _encoding(tokens: int, value_dim: int, rng: np.random.Generator) -> ValuesEncoding:
    """Return INDEX in the values over fresh keys."""
    keys = Keys.drawn("gaussian", tokens, DIM, rng, np.float32)
    return ValuesEncoding.build(keys, value_dim, accuracy=TYPICAL)


def _play_honestly(cache: str, randomness: Randomness) -> Honest:
    """Return how close many plays came to the certificate; the closest one's numbers."""
    plays = []
    for number in range(PLAYS):
        streams = Randomness(randomness.root, f"{randomness.name}/{number}", randomness.block)
        transcript = play(_encoding(TOKENS, VALUE_DIM, streams.keys()), cache, streams)
        certificate = transcript.certificate()
        proved = certificate.capacity_bits - certificate.log2_ball + certificate.significance_log2
        plays.append((transcript.wire_bits + 64 - proved, transcript.wire_bits, certificate.certified_bits))
    slack, wire, certified = min(plays)
    return {"plays": PLAYS, "slack_bits": slack, "wire_bits": wire, "certified_bits": certified}


def _audit_cheat(cache: str, randomness: Randomness) -> Cheated:
    """Return how an audit of a cheat ends."""
    encoding = _encoding(CHEAT_TOKENS, CHEAT_VALUE_DIM, randomness.keys())
    try:
        transcript = play(encoding, Isolated(NumpyCache(cache)), randomness)
    except CacheFailedError as error:
        return Cheated(outcome="stopped", why=str(error), accuracy=0.5, wire_bits=0, certified_bits=0.0)
    guess = 0.5 + math.sqrt(math.log(1 / FALSE_ALARM) / (2 * transcript.symbols))  # Hoeffding
    if transcript.impossible():
        outcome = "impossible"
    elif transcript.accuracy <= guess:
        outcome = "stopped"
    elif transcript.wire_bits >= transcript.symbols:
        outcome = "counted"
    else:
        outcome = "escaped"
    return {
        "outcome": outcome,
        "why": "",
        "accuracy": transcript.accuracy,
        "wire_bits": transcript.wire_bits,
        "certified_bits": transcript.certificate().certified_bits,
    }


def judge(records: Sequence[Record]) -> list[Check]:
    """Check the honest plays and the cheats."""
    honest = [r.measured for r in records if "honest" in r.parameters]
    cheating = {_name(r): r.measured["outcome"] for r in records if "cheat" in r.parameters}
    checks = []
    if honest:
        least = min(row["slack_bits"] for row in honest)
        plays = sum(row["plays"] for row in honest)
        checks.append(Check(HONEST, least > 0, {"plays": plays, "least_slack_bits": least}))
    if cheating:
        checks.append(Check(CAUGHT, "escaped" not in cheating.values(), {"outcomes": cheating}))
    return checks


def _name(record: Record) -> str:
    """Return the name of a cheat."""
    return str(record.parameters["cheat"]).rpartition(":")[2]


def draw(records: Sequence[Record]) -> Figure:
    """Draw wire bits against certified bits, and how every cheat ended."""
    figure, (plane, list_) = new_figure(2, width=5.0, height=4.2)
    honest = [r for r in records if "honest" in r.parameters]
    cheating = [r for r in records if "cheat" in r.parameters]
    _draw_plane(plane, honest, cheating)
    _draw_cheats(list_, cheating)
    return figure


def _draw_plane(axes: Axes, honest: Sequence[Record], cheating: Sequence[Record]) -> None:
    """Draw both kinds over the certificate."""
    ramp = np.geomspace(1, 1e6, 200)
    shade_impossible(axes, ramp, 1, ramp)
    axes.plot(ramp, ramp, color=THEORY, linewidth=1)
    ended = grouped(cheating, "outcome")
    for rows, marker, colour, label in (
        (honest, "o", COLOURS[0], "honest: closest of 50 plays"),
        (ended.get("impossible", []), "X", COLOURS[1], "cheat: impossible"),
        (ended.get("counted", []), "s", COLOURS[2], "cheat: counted in full"),
    ):
        x = [max(r.measured["certified_bits"], 1.0) for r in rows]
        axes.plot(x, [r.measured["wire_bits"] for r in rows], marker, color=colour, markersize=5, alpha=0.8,
                  markeredgecolor="white", markeredgewidth=0.5, label=label)  # fmt: skip
    axes.set(
        xscale="log",
        yscale="log",
        xlim=(0.8, 1e4),
        ylim=(20, 2e6),
        xlabel="certified bits (1 stands for none)",
        ylabel="bits on the wire",
        title="a   A cache carries more than is certified",
    )
    axes.text(300, 45, "impossible", style="italic", color="#555555", ha="center")
    axes.legend(loc="upper left")


def _draw_cheats(axes: Axes, cheating: Sequence[Record]) -> None:
    """Draw what every cheat decoded."""
    colours = {"impossible": COLOURS[1], "stopped": COLOURS[6], "counted": COLOURS[2], "escaped": COLOURS[7]}
    rows = sorted(cheating, key=lambda r: (r.measured["outcome"], _name(r)), reverse=True)
    for height, record in enumerate(rows):
        row = record.measured
        axes.plot([0.5, row["accuracy"]], [height, height], color=colours[row["outcome"]], linewidth=2)
        axes.plot(row["accuracy"], height, "o", color=colours[row["outcome"]])
        axes.text(1.04, height, row["outcome"], va="center", fontsize=8, color=colours[row["outcome"]])
    axes.set_yticks(range(len(rows)), [_name(record) for record in rows], fontsize=8)
    axes.set(xlim=(0.45, 1.25), xlabel="hidden bits decoded rightly", title="b   How every cheat ends")
    axes.set_xticks([0.5, 0.75, 1.0])
    axes.grid(visible=False, axis="y")


CLAIM = Claim(
    id="certificate",
    title="One decoded instance certifies how many bits a cache carries",
    source="Theory 1, Theorem A: ours",
    statement=(
        "For uniform x in an alphabet of q, with e errors in N decoded symbols, a message of M bits has "
        "M + 64 > N log2 q − log2 Vol(N, e) − t, wrong with probability at most 2^−t, whatever the cache does."
    ),
    theory="1",
    checks=(HONEST, CAUGHT),
    cells=grid,
    measure=measure,
    judge=judge,
    draw=draw,
    controls=(
        Control(
            "cheats in one process, counted as honest",
            HONEST,
            [{"honest": f"kvfloor.experiments.game.cheats:{name}"} for name in ("ModuleGlobal", "Closure")],
        ),
        # It decodes much, from few bits, and is consistent.
        Control("an honest lossy cache among the cheats", CAUGHT, [{"cheat": "bitpack:kept_tokens=128"}]),
    ),
)

if __name__ == "__main__":
    run_alone(CLAIM)
