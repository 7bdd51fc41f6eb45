"""The price of additive accuracy, a quantiser's capacity, and which barrier binds where (theory 15)."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NotRequired

import numpy as np

from kvfloor.experiments.claims import run_alone
from kvfloor.experiments.claims.temperature.noisy import Answers, answered
from kvfloor.experiments.drawing.panels import closed
from kvfloor.experiments.drawing.style import COLOURS, THEORY, new_figure, shade_impossible
from kvfloor.experiments.engine.store import Record
from kvfloor.experiments.game.cheats import LEAKING
from kvfloor.experiments.game.measured import Certified
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.experiments.judging.claim import Check, Claim, Control, Scale
from kvfloor.experiments.judging.plays import carries, decodes
from kvfloor.experiments.judging.rows import series, where
from kvfloor.reductions.bounds.certificates import one_shot_certificate
from kvfloor.reductions.bounds.temperature import (
    additive_levels,
    averages_floor,
    differences_floor,
    threshold_floor,
)
from kvfloor.reductions.encodings.levels import Levels
from kvfloor.reductions.encodings.values import ValuesEncoding, interference
from kvfloor.reductions.keys.known import Keys

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DECODES = "every level decodes under the worst additive noise"
TIGHT = "one level more does not"
CARRIES = "no quantiser carries more than it spends"

DIM, VALUE_DIM, COLD, WARM = 16, 128, 120.0, 30.0
ACCURACIES = (0.23, 0.11, 0.047, 0.021, 0.011, 0.0047, 0.0021, 0.0011)
FEW_BITS = 8  # below, the map is blank
LEVEL_SETS = (2, 3, 4, 6, 8, 12, 16, 32, 64, 128, 256, 1024, 4096)
QUANTISERS = {
    "uniform-values": ("o", COLOURS[1], "uniform, 1 to 8 bits", [f"uniform-values:bits={b}" for b in range(1, 9)]),
    "turboquant": ("s", COLOURS[0], "rotated, 1 to 8 bits", [f"turboquant:bits={b}" for b in (1, 2, 3, 4, 6, 8)]),
    "qjl": ("v", COLOURS[2], "uniform, 2 and 4 bits, beside sign sketches of keys", [f"qjl:value_bits={b}" for b in (2, 4)]),
    "dense": ("D", COLOURS[7], "bfloat16, float16", ["dense:dtype=bfloat16", "dense:dtype=float16"]),
}  # fmt: skip
FAMILY = {cache: family for family, (*_, caches) in QUANTISERS.items() for cache in caches}


def grid(scale: Scale) -> list[dict[str, Any]]:
    """Return exact caches over the accuracy, cold and warm, and every quantiser with all sets of levels."""
    tokens = 64 if scale == "quick" else 512
    exact = [
        _exact(tokens, norm, eps, extra) for norm in (COLD, WARM) for eps in ACCURACIES for extra in (0, 1)
    ]
    kept = [cell for cell in exact if cell["norm"] == COLD or not cell["extra"]]
    return kept + [_capacity(tokens, cache) for cache in FAMILY]


def _exact(tokens: int, norm: float, eps: float, extra: int, said: int | None = None) -> dict[str, Any]:
    """Return a play under the adversary, with more levels than accuracy tells apart; `said` is what is told of them."""
    return {"play": "noise", "tokens": tokens, "norm": norm, "eps": eps, "levels_more": extra,
            "extra": extra if said is None else said}  # fmt: skip


def _capacity(tokens: int, cache: str, family: str | None = None) -> dict[str, Any]:
    """Return a quantiser's plays."""
    return {
        "play": "capacity",
        "tokens": tokens,
        "cache": cache,
        "family": family or FAMILY.get(cache, "other"),
    }


class Measured(Certified):
    """A play; for a quantiser the one whose set of levels certifies most."""

    alphabet: int
    largest_error: NotRequired[float]


def measure(parameters: dict[str, Any], randomness: Randomness) -> Measured:
    """Play at the worst ends of the noise, or through a quantiser with every set of levels."""
    keys = Keys.drawn("gaussian", parameters["tokens"], DIM, randomness.keys()).measured()
    if parameters["play"] == "noise":
        norm, eps = parameters["norm"], parameters["eps"]
        levels = (
            additive_levels(eps, interference(len(keys), norm, keys.incoherence()))
            + parameters["levels_more"]
        )
        encoding = ValuesEncoding.build(keys, VALUE_DIM, Levels.equal(levels), query_norm=norm)
        answers = answered(encoding, "exact", randomness)
        return _row(encoding, answers, (-eps, eps), 1)
    best: Measured | None = None
    for number, levels in enumerate(LEVEL_SETS):
        streams = Randomness(randomness.root, f"{randomness.name}/{number}", randomness.block)
        encoding = ValuesEncoding.build(keys, VALUE_DIM, Levels.equal(levels), query_norm=COLD)
        answers = answered(encoding, parameters["cache"], streams)
        row = _row(encoding, answers, (0.0,), len(LEVEL_SETS))
        row["largest_error"] = max(answers.largest_error, 0.0 if best is None else best["largest_error"])
        if best is None or row["certified_bits"] > best["certified_bits"]:
            best = row
        best["largest_error"] = row["largest_error"]
    assert best is not None
    return best


def _row(encoding: ValuesEncoding, answers: Answers, noise: Sequence[float], sets: int) -> Measured:
    """Return what a play left, each answer at the worst of the given ends; `sets` instances are tried."""
    problem, wrong = encoding.problem, np.zeros(len(answers.x), np.bool_)
    for end in noise:
        wrong |= encoding.decode(answers.outputs + end, answers.questions) != answers.x
    errors = int(wrong.sum())
    certificate = one_shot_certificate(problem.length, errors, problem.alphabet, decoders=sets)
    return {"errors": errors, "symbols": problem.length, "wire_bits": answers.wire_bits, "alphabet": problem.alphabet,
            "certified_bits": certificate.certified_bits}  # fmt: skip


def judge(records: Sequence[Record]) -> list[Check]:
    """Check decoding at and above the levels of the floor, and what quantisers carry."""
    capacity = {r.parameters["cache"]: _certified(r) for r in where(records, play="capacity")}
    carried = carries(CARRIES, records)
    checks = [replace(carried, evidence={**carried.evidence, "certified_bits_a_value": capacity})]
    within = where(records, play="noise", extra=0)
    if within:
        checks.append(decodes(DECODES, within))
    beyond = where(records, play="noise", extra=1)
    if beyond:
        fewest = min(r.measured["errors"] for r in beyond)
        checks.append(Check(TIGHT, fewest > 0, {"plays": len(beyond), "fewest_errors": fewest}))
    return checks


def draw(records: Sequence[Record]) -> "Figure":
    """Draw the price of accuracy, what quantisers carry, and which barrier binds for few and many tokens."""
    figure, panels = new_figure(2, rows=2, width=5.0, height=7.6)
    _draw_price(panels[0, 0], records)
    _draw_capacity(panels[0, 1], where(records, play="capacity"))
    for axes, name, tokens in zip(panels[1], "cd", (256, 65536), strict=True):
        _draw_map(axes, tokens)
        axes.set_title(f"{name}   n = {tokens:,}: the barrier that binds")
    return figure


def _draw_price(axes: "Axes", records: Sequence[Record]) -> None:
    """Draw the floor over the accuracy, and quantisers at the worst error that they showed."""
    ramp = np.geomspace(0.4, 1e-4, 400)
    floor = [math.log2(additive_levels(eps)) for eps in ramp]
    shade_impossible(axes, ramp, 0, floor)
    axes.plot(ramp, floor, color=THEORY, label="floor: log2 ⌈1/2ε⌉")
    played = where(records, play="noise", norm=COLD, extra=0)
    eps, alphabet = series(played, "eps", "alphabet")
    axes.plot(
        eps, np.log2(alphabet), "x", color=COLOURS[4], markersize=7, label="decodes at the worst of noise"
    )
    for family, (marker, colour, label, _) in QUANTISERS.items():
        rows = where(records, play="capacity", family=family)
        axes.plot(
            *series(rows, "largest_error", _spent), marker, color=colour, markerfacecolor="none", label=label
        )
    axes.set(
        xscale="log", xlim=(0.4, 1e-4), ylim=(0, 21), xlabel="largest additive error ε of an answer",
        ylabel="bits for each value, on the wire", title="a   Additive accuracy has its price",
    )  # fmt: skip
    closed(axes, 0.0012, 2.0, "closed to every cache\nof that accuracy", ha="center")
    axes.legend(loc="upper left", fontsize=7)


def _spent(record: Record) -> float:
    """Return bits on the wire a value."""
    return float(record.measured["wire_bits"] / record.measured["symbols"])


def _draw_capacity(axes: "Axes", records: Sequence[Record]) -> None:
    """Draw what is certified of quantisers over what they spend."""
    ramp = np.array([0.3, 40.0])
    shade_impossible(axes, ramp, ramp, 40)
    axes.plot(ramp, ramp, color=THEORY, linewidth=1)
    for family, (marker, colour, label, _) in QUANTISERS.items():
        spent, certified = series(where(records, family=family), _spent, _certified)
        axes.plot(
            spent, certified, marker + "-", color=colour, linewidth=0.7, markerfacecolor="none", label=label
        )
    axes.set(
        xscale="log", yscale="log", xlim=(1, 30), ylim=(0.3, 30), xlabel="bits for each value, on the wire",
        ylabel="bits for each value, certified", title="b   What quantisers carry of what they spend",
    )  # fmt: skip
    closed(axes, 1.1, 14, "impossible")
    axes.legend(loc="lower right", fontsize=7)


def _certified(record: Record) -> float:
    """Return certified bits a value."""
    return float(record.measured["certified_bits"] / record.measured["symbols"])


FLOORS = (
    (averages_floor, COLOURS[5], "averages"),
    (differences_floor, COLOURS[4], "differences of single tokens"),
    (threshold_floor, COLOURS[3], "the same, by thresholds: at least half as many"),
)


def _draw_map(axes: "Axes", tokens: int) -> None:
    """Draw which floor is largest over accuracy and temperature, and its bits."""
    scores, accuracies = np.geomspace(0.02, 30, 90), np.geomspace(0.3, 1e-4, 90)
    floors = np.array(
        [[[floor(tokens, rho, eps) for rho in scores] for eps in accuracies] for floor, *_ in FLOORS]
    )
    binding = np.where(floors[0] > floors[1], 0, np.where(2 * floors[2] >= floors[1], 2, 1))
    most = floors.max(axis=0)
    colours = [colour for _, colour, _ in FLOORS]
    axes.contourf(scores, accuracies, np.where(most >= FEW_BITS, binding, -1), levels=[-1.5, -0.5, 0.5, 1.5, 2.5],
                  colors=["white", *colours], alpha=0.45)  # fmt: skip
    lines = axes.contour(
        scores, accuracies, most, levels=[10, 100, 1e3, 1e4, 1e5, 1e6], colors=THEORY, linewidths=0.7
    )
    axes.clabel(lines, fmt=lambda bits: f"{bits:,.0f}", fontsize=7)
    for _, colour, name in FLOORS:
        axes.fill_between([], [], color=colour, alpha=0.45, label=name)
    axes.set(xscale="log", yscale="log", ylim=(0.3, 1e-4), xlabel="largest score ρ of a query: inverse temperature",
             ylabel="additive accuracy ε")  # fmt: skip
    axes.legend(loc="lower left", fontsize=7, title="bits a value channel on the lines", title_fontsize=7)


CLAIM = Claim(
    id="additive-precision",
    title="Additive accuracy costs log2 of its levels, at every temperature that singles tokens out",
    source="Theory 15, ours",
    statement=(
        "Values on L = ⌈1/(2ε(1 + κ) + κ)⌉ equally spaced levels decode from attention within ε, one level more does "
        "not: a cache of that accuracy keeps n d_v log2 L bits. No quantiser is certified to carry more than it spends."
    ),
    theory="15",
    checks=(DECODES, TIGHT, CARRIES),
    cells=grid,
    measure=measure,
    judge=judge,
    draw=draw,
    controls=(
        Control("one level more, counted as none", DECODES, [_exact(64, COLD, 0.047, 1, said=0)]),
        Control("no level more, counted as one", TIGHT, [_exact(64, COLD, 0.047, 0, said=1)]),
        Control("state outside the bytes", CARRIES, [_capacity(64, LEAKING)]),
    ),
)

if __name__ == "__main__":
    run_alone(CLAIM)
