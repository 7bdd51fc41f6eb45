"""The floor grows with the accuracy asked for: n d_v log2 L(η) bits (theory 3, precision)."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from kvfloor.experiments.claims import run_alone
from kvfloor.experiments.drawing.panels import closed
from kvfloor.experiments.drawing.style import COLOURS, THEORY, Figure, new_figure, shade_impossible
from kvfloor.experiments.engine.store import Record
from kvfloor.experiments.game.cheats import LEAKING
from kvfloor.experiments.game.measured import Decoded, decoded
from kvfloor.experiments.game.protocol import Transcript, play
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.experiments.judging.claim import Cell, Check, Claim, Control, Scale, cells
from kvfloor.experiments.judging.plays import HEADER_BITS, accuracy, transcript
from kvfloor.experiments.judging.rows import series, where
from kvfloor.reductions.accuracy import Accuracy
from kvfloor.reductions.bounds.frontier import rate_distortion
from kvfloor.reductions.encodings.levels import Levels
from kvfloor.reductions.encodings.values import ValuesEncoding, level_count
from kvfloor.reductions.keys.known import Keys

DECODES = "every level decodes under worst-case noise"
REACHED = "packing reaches the floor to within one bit per value and its table of levels"
RATE = "no cache is below the floor at its accuracy"
UNIFORM = "uniform quantisers of up to 8 bits err at every eta"

DIM, VALUE_DIM, QUERY_NORM, LOWEST = 64, 512, 80.0, 1e-6
ETAS = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)
DRAWN_ETA = 0.1


def grid(scale: Scale) -> list[Cell]:
    """Return exact and packed caches under noise, and inexact caches without, over eta."""
    tokens = [512] if scale == "quick" else [2048]
    noisy = cells(cache=["dense:dtype=float64", "bitpack"], noise=True, tokens=tokens, eta=ETAS)
    caches = [f"uniform-values:bits={bits}" for bits in range(1, 9)]
    caches += [f"dense:dtype={dtype}" for dtype in ("float32", "float16", "bfloat16")]
    return noisy + cells(cache=caches, noise=False, tokens=tokens, eta=ETAS)


class Measured(Decoded):
    """A play with so many levels."""

    levels: int


def measure(parameters: dict[str, Any], randomness: Randomness) -> Measured:
    """Play an instance with all the levels that eta tells apart."""
    tokens, eta = parameters["tokens"], parameters["eta"]
    keys = Keys.drawn("gaussian", tokens, DIM, randomness.keys()).measured()
    levels = level_count(eta, QUERY_NORM, tokens, keys.incoherence(), LOWEST)
    crowded = Levels.geometric(math.ceil(levels * parameters.get("crowding", 1.0)), LOWEST)
    encoding = ValuesEncoding.build(keys, VALUE_DIM, crowded, Accuracy(eta), QUERY_NORM)
    cache = parameters.get("really", parameters["cache"])
    transcript = play(encoding, cache, randomness, eta=eta if parameters["noise"] else 0.0)
    return {**decoded(transcript), "levels": transcript.alphabet}


def judge(records: Sequence[Record]) -> list[Check]:
    """Check decoding, packing, the rate and the uniform quantisers on the rows that bear on each."""
    checks = []
    noisy = where(records, noise=True)
    if noisy:
        errors = sum(r.measured["errors"] for r in noisy)
        symbols = sum(r.measured["symbols"] for r in noisy)
        checks.append(Check(DECODES, errors == 0, {"symbols": symbols, "errors": errors}))
    packed = [r.measured for r in where(records, cache="bitpack")]
    if packed:
        excess = [row["wire_bits"] - row["symbols"] * math.log2(row["levels"]) for row in packed]
        reached = all(
            0 <= bits <= row["symbols"] + 64 * row["levels"] + HEADER_BITS
            for bits, row in zip(excess, packed, strict=True)
        )
        per_value = [bits / row["symbols"] for bits, row in zip(excess, packed, strict=True)]
        checks.append(Check(REACHED, reached, {"bits_above_the_floor_per_value": max(per_value)}))
    below = [r.parameters["cache"] for r in records if _transcript(r).impossible()]
    checks.append(Check(RATE, not below, {"plays": len(records), "below": below}))
    uniform = [r for r in records if r.parameters["cache"].startswith("uniform")]
    if uniform:
        fewest = min(r.measured["errors"] / r.measured["symbols"] for r in uniform)
        checks.append(Check(UNIFORM, fewest > 0, {"plays": len(uniform), "least_error_rate": fewest}))
    return checks


def _transcript(record: Record) -> Transcript:
    """Return a row as the transcript it came from."""
    return transcript(record.measured, record.measured["levels"])


def _rate(record: Record) -> float:
    """Return the bits on the wire for each value."""
    return float(record.measured["wire_bits"] / record.measured["symbols"])


def draw(records: Sequence[Record]) -> Figure:
    """Draw bits per value over eta, and accuracy over bits at one eta."""
    figure, (left, right) = new_figure(2, width=5.2, height=3.9)
    _draw_floor(left, records)
    _draw_accuracy(right, where(records, eta=DRAWN_ETA))
    return figure


def _draw_floor(axes: Any, records: Sequence[Record]) -> None:
    """Draw the floor and who decodes everything above it."""
    exact = where(records, cache="dense:dtype=float64")
    etas, floor = series(exact, "eta", lambda r: math.log2(r.measured["levels"]))
    shade_impossible(axes, etas, 0, floor)
    axes.plot(etas, floor, color=THEORY, label="floor: log2 L(η)")
    axes.plot(
        *series(where(records, cache="bitpack"), "eta", _rate), "x", color=COLOURS[7], label="packed levels"
    )
    shown = (
        ("dense:dtype=float16", 16, "s", COLOURS[0], "float16"),
        ("dense:dtype=bfloat16", 16, "D", COLOURS[2], "bfloat16"),
        ("uniform-values:bits=8", 9, "o", COLOURS[1], "uniform, 8 bits and scales"),
        ("uniform-values:bits=4", 5, "^", COLOURS[3], "uniform, 4 bits and scales"),
    )
    for cache, bits, marker, colour, label in shown:
        for record in sorted(where(records, cache=cache), key=lambda r: r.parameters["eta"]):
            right = record.measured["errors"] == 0
            height = bits + (0.35 if cache.endswith("bfloat16") else 0.0)
            axes.plot(record.parameters["eta"], height, marker, color=colour, markersize=6,
                      markerfacecolor=colour if right else "white", label=label)  # fmt: skip
            label = "_"
    axes.plot([], [], "o", color="#777777", markerfacecolor="white", label="hollow: errs")
    axes.set(
        xscale="log",
        xlim=(0.6, 0.0009),
        ylim=(0, 25),
        xlabel="relative accuracy η asked for",
        ylabel="bits per value",
        title="a   Accuracy has its price",
    )
    closed(axes, 0.006, 1.2, "closed to every cache\nthat decodes all", ha="center")
    axes.legend(loc="upper left", ncols=2)


def _draw_accuracy(axes: Any, records: Sequence[Record]) -> None:
    """Draw accuracy against the bits spent on a value at one eta."""
    levels = records[0].measured["levels"]
    distortions = np.linspace(0, 1 - 1 / levels, 400)
    rates = np.array([rate_distortion(distortion, levels) for distortion in distortions])
    shade_impossible(axes, rates, 1 - distortions, 1.05)
    axes.plot(rates, 1 - distortions, color=THEORY, label="Shannon frontier")
    uniform = [where(records, cache=f"uniform-values:bits={bits}")[0] for bits in range(1, 9)]
    points = [_rate(r) for r in uniform], [accuracy(r) for r in uniform]
    axes.plot(*points, "-o", color=COLOURS[1], label="uniform quantisation, 1 to 8 bits")
    packed = where(records, cache="bitpack")[0]
    axes.plot(_rate(packed), accuracy(packed), "x", color=COLOURS[7], markersize=7, label="packed levels")
    axes.set(
        xlim=(0, 11),
        ylim=(0, 1.04),
        xlabel="bits on the wire per value (keys are public)",
        ylabel="values decoded rightly",
        title=f"b   η = {DRAWN_ETA:g}: {levels} levels, log2 L = {math.log2(levels):.2f}",
    )
    axes.legend(loc="center right")


CLAIM = Claim(
    id="precision",
    title="The floor grows with the accuracy asked for",
    source="Theory 3, precision: ours",
    statement=(
        "Values on L(η) geometric levels decode from every (1 ± η)-approximation of attention, so a cache of that "
        "accuracy keeps n d_v log2 L(η) bits; uniform quantisers lose the small levels whatever their rate."
    ),
    theory="3",
    checks=(DECODES, REACHED, RATE, UNIFORM),
    cells=grid,
    measure=measure,
    judge=judge,
    draw=draw,
    controls=(
        Control(
            "a twentieth more levels than eta tells apart",
            DECODES,
            cells(cache="dense:dtype=float64", noise=True, tokens=512, eta=[0.5, 0.1, 0.01], crowding=1.05),
        ),
        Control(
            "a float32 cache as packing",
            REACHED,
            cells(cache="bitpack", really="dense:dtype=float32", noise=True, tokens=512, eta=0.1),
        ),
        Control(
            "state outside the bytes",
            RATE,
            cells(cache="dense:dtype=float32", really=LEAKING, noise=False, tokens=512, eta=0.1),
        ),
        Control(
            "packing as a uniform quantiser",
            UNIFORM,
            cells(cache="uniform-values:bits=8", really="bitpack", noise=False, tokens=512, eta=0.1),
        ),
    ),
)

if __name__ == "__main__":
    run_alone(CLAIM)
