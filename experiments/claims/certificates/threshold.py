"""Decoding succeeds exactly when the cache keeps enough bits (theory 1 and 3)."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from kvfloor.experiments.claims import run_alone
from kvfloor.experiments.drawing.panels import closed, draw_frontier
from kvfloor.experiments.drawing.style import COLOURS, Axes, Figure, new_figure
from kvfloor.experiments.engine.store import Record
from kvfloor.experiments.game.cheats import LEAKING
from kvfloor.experiments.game.measured import Decoded, decoded
from kvfloor.experiments.game.protocol import play
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.experiments.judging.claim import Cell, Check, Claim, Control, Scale
from kvfloor.experiments.judging.plays import HEADER_BITS, accuracy, transcript
from kvfloor.experiments.judging.rows import grouped, series
from kvfloor.reductions.accuracy import TYPICAL
from kvfloor.reductions.encodings.values import ValuesEncoding
from kvfloor.reductions.keys.known import Keys

ABOVE = "no cache is below the frontier"
EXACT = "the packed cache is free of error exactly when it keeps every bit"
PACKED = "packing takes one bit per bit"
DISTORTION = "covering codes have the distortion of their codes"
CONVEX = "covering codes beat time sharing"

Points = dict[str, list[tuple[float, ...]]]  # of each family, rates and accuracies

DIM = VALUE_DIM = 64
FALSE_ALARM = 1e-6
# Block length, covering radius, and the fraction of uniform bits that the code gets wrong (theory 1).
CODES = {
    "repetition": (3, 1, 1 / 4),
    "hamming": (7, 1, 1 / 8),
    "golay": (23, 3, (0 * 1 + 1 * 23 + 2 * 253 + 3 * 1771) / (2048 * 23)),
}
EVICTION = ("window", "sinks", "random", "knorm", "h2o", "snapkv")
MIXING = {"merge": "merged tokens", "lowrank": "values of low rank", "linear": "linear attention"}


def grid(scale: Scale) -> list[Cell]:
    """Return every cache over its budgets."""
    tokens = 1024 if scale == "quick" else 4096
    shares = (
        (0.125, 0.25, 0.5, 0.75)
        if scale == "quick"
        else (0.0625, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875)
    )
    packs = np.round(np.linspace(0.1, 1.0, 10), 2).tolist()
    runs = [("dense", f"dense:dtype={dtype}", 1.0) for dtype in ("float64", "float32", "float16", "bfloat16")]
    runs += [("uniform", f"uniform:bits={bits}", 1.0) for bits in range(1, 9)]
    runs += [(name, f"{name}:kept_tokens={round(s * tokens)}", s) for name in EVICTION for s in shares]
    runs += [("bitpack", f"bitpack:kept_tokens={round(share * tokens)}", share) for share in packs]
    runs += [("turboquant", f"turboquant:bits={bits}", 1.0) for bits in range(1, 5)]
    runs += [("merge", f"merge:kept_tokens={round(share * tokens)}", share) for share in shares]
    runs += [("lowrank", f"lowrank:key_rank=64,value_rank={rank}", 1.0) for rank in (8, 16, 32, 48)]
    runs += [("linear", f"linear:features={features}", 1.0) for features in (32, 128, 512)]
    runs += [(name, name, 1.0) for name in CODES]
    return [_cell(tokens, *run) for run in runs]


def _cell(tokens: int, family: str, cache: str, share: float) -> Cell:
    """Return the parameters of one play."""
    return {"tokens": tokens, "family": family, "cache": cache, "kept_share": share}


def measure(parameters: dict[str, Any], randomness: Randomness) -> Decoded:
    """Play INDEX in the values once through the cache."""
    keys = Keys.drawn("gaussian", parameters["tokens"], DIM, randomness.keys(), np.float32)
    encoding = ValuesEncoding.build(keys, VALUE_DIM, accuracy=TYPICAL)
    return decoded(play(encoding, parameters["cache"], randomness))


def judge(records: Sequence[Record]) -> list[Check]:
    """Check the frontier on every row, and packing and codes on theirs."""
    plays = [(r.parameters, transcript(r.measured)) for r in records]
    below = [p["cache"] for p, t in plays if t.impossible()]
    least = min(t.wire_bits - t.certificate().certified_bits for _, t in plays)
    checks = [Check(ABOVE, not below, {"plays": len(plays), "below": below, "least_slack_bits": least})]

    packed = [(p, t) for p, t in plays if p["family"] == "bitpack"]
    if packed:
        wrong = [p["cache"] for p, t in packed if (t.errors == 0) != (p["kept_share"] == 1)]
        checks.append(Check(EXACT, not wrong, {"budgets": len(packed), "otherwise": wrong}))
        excess = {p["cache"]: t.wire_bits - t.symbols for p, t in packed if p["kept_share"] == 1}
        lean = bool(excess) and all(0 <= bits <= HEADER_BITS for bits in excess.values())
        checks.append(Check(PACKED, lean, {"bits_beyond_one_per_bit": excess}))

    coded = [(p["family"], t) for p, t in plays if p["family"] in CODES]
    if coded:
        shown = {name: {"measured": t.errors / t.symbols, "expected": CODES[name][2]} for name, t in coded}
        near = [abs(t.errors / t.symbols - CODES[name][2]) <= _slack(name, t.symbols) for name, t in coded]
        checks.append(Check(DISTORTION, all(near), {"distortion": shown, "false_alarm": FALSE_ALARM}))
        line = {name: (1 - t.wire_bits / t.symbols) / 2 for name, t in coded}
        better = [t.errors / t.symbols + _slack(name, t.symbols) < line[name] for name, t in coded]
        checks.append(Check(CONVEX, all(better), {"distortion": shown, "time_sharing": line}))
    return checks


def _slack(code: str, symbols: int) -> float:
    """Return how far the measured distortion may be off (Hoeffding over independent blocks)."""
    length, radius, _ = CODES[code]
    blocks = symbols // length
    return radius / length * math.sqrt(math.log(2 / FALSE_ALARM) / (2 * blocks)) + length / symbols


def draw(records: Sequence[Record]) -> Figure:
    """Draw accuracy against wire bits a hidden bit: all caches, and the threshold enlarged."""
    figure, (wide, near) = new_figure(2, width=5.4, height=4.0, sharey=True)
    rates = np.concatenate([np.linspace(0, 1, 400), [300.0]])
    for axes in (wide, near):
        draw_frontier(axes, rates, 1.06)
        axes.axhline(0.5, color="#999999", linewidth=0.8, linestyle=":")
        axes.set_xlabel("bits on the wire for each hidden bit")
    families = grouped(records, "family")
    points = {family: series(rows, _rate, accuracy) for family, rows in families.items()}
    _draw_families(wide, points)
    _draw_threshold(near, points)
    wide.set(
        xscale="log",
        xlim=(0.085, 260),
        ylim=(0.46, 1.035),
        ylabel="hidden bits decoded rightly",
        title="a   Every cache over its budgets",
    )
    wide.set_xticks([0.1, 1, 10, 100], ["0.1", "1", "10", "100"])
    near.set(xlim=(0, 1.3), title="b   The threshold: one bit per bit")
    for axes, x in ((wide, 0.105), (near, 0.05)):
        closed(axes, x, 0.95, "closed to\nevery cache", va="top")
    return figure


def _rate(record: Record) -> float:
    """Return the bits on the wire for each hidden bit."""
    return float(record.measured["wire_bits"] / record.measured["symbols"])


def _draw_families(axes: Axes, points: Points) -> None:
    """Draw each family's budgets; the eviction rules lie on top of each other, which is the point."""
    looks = {
        "dense": ("D", COLOURS[7], "float16 to 64"),
        "uniform": ("s", COLOURS[0], "uniform, 1 to 8 bits"),
        "turboquant": ("d", COLOURS[4], "rotated, 1 to 4 bits"),
        "bitpack": ("x", COLOURS[7], "packed bits"),
    }
    for family, (marker, colour, label) in looks.items():
        rates, accuracies = points[family]
        axes.plot(rates, accuracies, marker=marker, color=colour, linewidth=0.9, label=label)
    for family, marker, size in zip(EVICTION, "ov^<>P", (9, 8, 7, 6, 5, 4), strict=True):
        rates, accuracies = points[family]
        name = "six eviction rules" if family == "window" else None
        axes.plot(rates, accuracies, marker=marker, color=COLOURS[2], markersize=size, linewidth=0.7,
                  markerfacecolor="none", label=name)  # fmt: skip
    for (family, label), marker in zip(MIXING.items(), "vhX", strict=True):
        rates, accuracies = points[family]
        axes.plot(rates, accuracies, marker=marker, color=COLOURS[3], markersize=6, linewidth=0.7,
                  linestyle=":", label=label)  # fmt: skip
    codes = ([points[name][column][0] for name in CODES] for column in range(2))
    axes.plot(*codes, "*", color=COLOURS[1], markersize=9, label="covering codes")
    axes.legend(loc="lower right", borderaxespad=0.1, handlelength=1.6)


def _draw_threshold(axes: Axes, points: Points) -> None:
    """Draw packing, time sharing and the covering codes on a linear axis."""
    axes.plot([0, 1], [0.5, 1], "--", color=COLOURS[6], linewidth=1, label="time sharing")
    rates, accuracies = points["bitpack"]
    axes.plot(rates, accuracies, "x", color=COLOURS[7], markersize=6, label="packed bits of a fraction")
    names = {"repetition": "[3,1]", "hamming": "[7,4]", "golay": "[23,12]"}
    label: str | None = "repetition [3,1], Hamming [7,4],\nGolay [23,12]"
    for name, text in names.items():
        (rate,), (height,) = points[name]
        axes.plot(rate, height, "*", color=COLOURS[1], markersize=10, linestyle="none", label=label)
        left = name == "golay"
        axes.annotate(text, (rate, height), (-6 if left else 7, -11), textcoords="offset points",
                      ha="right" if left else "left", fontsize=8)  # fmt: skip
        label = None
    axes.legend(loc="lower right")


CLAIM = Claim(
    id="threshold",
    title="Decoding succeeds exactly when the cache keeps enough bits",
    source="Theory 1, ours, on the barrier of Haris and Onak, arXiv:2502.15955",
    statement=(
        "No cache decodes a fraction p of N hidden bits from fewer than N (1 − H2(1−p)) bits, up to the slack of "
        "the certificate; packing reaches one bit per bit, and covering codes lie strictly between the frontier "
        "and time sharing."
    ),
    theory="1",
    checks=(ABOVE, EXACT, PACKED, DISTORTION, CONVEX),
    cells=grid,
    measure=measure,
    judge=judge,
    draw=draw,
    controls=(
        Control("state outside the bytes", ABOVE, [_cell(1024, "dense", LEAKING, 1.0)]),
        Control("one token short", EXACT, [_cell(1024, "bitpack", "bitpack:kept_tokens=1023", 1.0)]),
        Control("a 1-bit quantiser as packing", PACKED, [_cell(1024, "bitpack", "uniform:bits=1", 1.0)]),
        Control("the repetition code as Golay's", DISTORTION, [_cell(1024, "golay", "repetition", 1.0)]),
        Control(
            "time sharing as Hamming's code", CONVEX, [_cell(1024, "hamming", "bitpack:kept_tokens=585", 1.0)]
        ),
    ),
)

if __name__ == "__main__":
    run_alone(CLAIM)
