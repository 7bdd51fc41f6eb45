"""kNN attention forward: the error of draws and of a weighted tail, and the guarantees they come with (theory 9)."""

from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import rel_entr

from kvfloor.attention import softmax_attention_reference
from kvfloor.attention.knn import Answer, Inputs, Near, knn_attention, sampled_attention, truncated_attention
from kvfloor.attention.knn.forward import draws_for, median_draws_for
from kvfloor.experiments.claims import run_alone
from kvfloor.experiments.drawing.panels import ticks
from kvfloor.experiments.drawing.style import COLOURS, THEORY, Axes, Figure, new_figure
from kvfloor.experiments.engine.store import Record
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.experiments.judging.claim import Cell, Check, Claim, Control, Scale, cells
from kvfloor.experiments.judging.rows import series, where

RATE = "the error of a mean of T draws is σ/√T"
DRAWS = "with the stated number of draws an error exceeds ε at most as often as δ"
RADIUS = "with a weighted tail an error exceeds its radius at most as often as δ"

FALSE_ALARM = 1e-6
TOKENS, DIM, VALUE_DIM = 2048, 32, 4
QUERY_NORM = 8.0
NEAR = 45  # sqrt n
DELTA, EPSILON = 0.05, 0.1
KEYS = ("random", "clustered")
QUERIES = 32  # of each repetition
STATED = ("mean", "median")  # estimators whose number of draws follows from ε and δ


def grid(scale: Scale) -> list[Cell]:
    """Return means over numbers of draws, every estimator at its stated size, and tails over k."""
    more = 1 if scale == "quick" else 8
    drawn = cells(keys=KEYS, estimator="draws", size=[16, 64, 256, 1024], repetitions=2 * more)
    stated = cells(keys=KEYS, estimator=STATED, size=None, repetitions=2 * more)
    kept = (8, 16, 32, 64, 128, 256, 512)
    return (
        drawn + stated + cells(keys=KEYS, estimator=["tail", "truncated"], size=kept, repetitions=40 * more)
    )


class Measured(TypedDict):
    """Distances from exact attention, beside what the theory allows."""

    rms_error: float
    rms_deviation: float
    failed_share: float
    independent: int
    median_radius: float
    draws: int | None
    ratio_mean: float
    ratio_deviation: float
    ratios: int


def measure(parameters: dict[str, Any], randomness: Randomness) -> Measured:
    """Answer fresh queries in independent repetitions; compare with exact attention."""
    estimator, size, fault = parameters["estimator"], parameters["size"], parameters.get("fault")
    queries, keys, values = _instance(
        parameters["keys"], parameters["repetitions"] * QUERIES, randomness.keys()
    )
    exact = softmax_attention_reference(queries, keys, values)
    spread = softmax_attention_reference(queries, keys, values**2) - exact**2
    rng = randomness.secret()
    errors, radii, draws = [], [], None
    for start in range(0, len(queries), QUERIES):  # each with tail samples of its own
        rows = slice(start, start + QUERIES)
        inputs = Inputs(queries[rows], keys, values)
        if estimator == "truncated":
            answer = truncated_attention(inputs, Near(size))
        elif estimator == "tail":
            answer = knn_attention(inputs, Near(size), size, rng)
            if fault:
                cut = truncated_attention(inputs, Near(size))
                answer = Answer(cut.outputs, cut.probes, answer.scale)
        else:
            draws, groups = _plan(estimator, size, fault)
            answer = sampled_attention(inputs, Near(NEAR), draws, rng, groups=groups)
        errors.append(answer.outputs - exact[rows])
        radii.append(answer.radius(DELTA) if estimator == "tail" else np.full(QUERIES, EPSILON))
    gaps = np.array(errors)  # (repetitions, queries, d_v)
    failed = np.abs(gaps).max(axis=2) > np.array(radii) + 1e-12
    informative = spread > 1e-9
    ratios = gaps.reshape(spread.shape)[informative] ** 2 / spread[informative]
    return {
        "rms_error": float(np.sqrt((gaps**2).mean())),
        "rms_deviation": float(np.sqrt(spread.mean())),
        "failed_share": float(failed.mean()),
        "independent": len(failed) if estimator == "tail" else failed.size,  # a tail sample is shared
        "median_radius": float(np.median(radii)),
        "draws": draws,
        "ratio_mean": float(ratios.mean()),
        "ratio_deviation": float(ratios.std(ddof=1)),
        "ratios": int(informative.any(axis=1).sum()),
    }


def _instance(kind: str, count: int, rng: np.random.Generator) -> tuple[NDArray[np.float64], ...]:
    """Return queries, unit keys and 0/1 values; values follow the keys, so that near tokens mislead."""
    centres = rng.normal(size=(32, DIM))
    keys = rng.normal(size=(TOKENS, DIM))
    if kind == "clustered":
        keys = centres[rng.integers(32, size=TOKENS)] + 0.5 * keys
    keys /= np.linalg.norm(keys, axis=1, keepdims=True)
    values = (keys @ rng.normal(size=(DIM, VALUE_DIM)) > 0).astype(np.float64)
    queries = keys[rng.integers(TOKENS, size=count)] + rng.normal(size=(count, DIM)) / DIM**0.5
    return QUERY_NORM * queries / np.linalg.norm(queries, axis=1, keepdims=True), keys, values


def _plan(estimator: str, size: int | None, fault: str | None) -> tuple[int, int]:
    """Return the numbers of draws and of groups."""
    if size is not None:
        return (size // 4 if fault else size), 1
    if estimator == "mean":
        draws = draws_for(EPSILON, DELTA, VALUE_DIM)
        return (draws // 10 if fault else draws), 1
    draws, groups = median_draws_for(EPSILON, DELTA, VALUE_DIM, 0.25)
    return (draws // groups // 10 * groups if fault else draws), groups


def judge(records: Sequence[Record]) -> list[Check]:
    """Check the rate by the mean squared error over variance / T, and both guarantees by their failures."""
    by = {kind: where(records, estimator=kind) for kind in ("draws", "tail")}
    stated = [r for r in records if r.parameters["estimator"] in STATED]
    checks = []
    if by["draws"]:
        bar = float(stats.norm.isf(FALSE_ALARM / 2 / len(by["draws"])))
        # Entries of a query are drawn together: as many independent terms as queries.
        scores = {
            _name(r): (r.measured["ratio_mean"] * r.parameters["size"] - 1)
            / (r.measured["ratio_deviation"] * r.parameters["size"] / r.measured["ratios"] ** 0.5)
            for r in by["draws"]
        }
        worst = max(scores, key=lambda name: abs(scores[name]))
        evidence = {"rows": len(scores), "largest_gap_in_standard_errors": scores[worst], "allowed": bar}
        checks.append(Check(RATE, abs(scores[worst]) <= bar, evidence))
    for name, rows in ((DRAWS, stated), (RADIUS, by["tail"])):
        if rows:
            shares = {_name(r): r.measured["failed_share"] for r in rows}
            level = FALSE_ALARM / len(rows)
            passed = all(
                _at_most(r.measured["failed_share"], r.measured["independent"], DELTA, level) for r in rows
            )
            checks.append(Check(name, passed, {"delta": DELTA, "failed": shares, "false_alarm": FALSE_ALARM}))
    return checks


def _name(record: Record) -> str:
    """Return a row's name in the evidence."""
    size = record.parameters["size"]
    return "{keys}, {estimator}".format(**record.parameters) + (f" {size}" if size else "")


def _at_most(mean: float, terms: int, delta: float, level: float) -> bool:
    """Return whether a mean of independent terms in [0, 1] fits an expectation of `delta` or less (Chernoff)."""
    if mean <= delta:
        return True
    divergence = rel_entr(mean, delta) + rel_entr(1 - mean, 1 - delta)
    return bool(terms * divergence <= -np.log(level))


def draw(records: Sequence[Record]) -> Figure:
    """Draw the error over draws, and over k."""
    figure, axes = new_figure(3, width=3.7, height=3.6)
    _draw_rate(axes[0], records)
    for panel, kind, letter in zip(axes[1:], KEYS, "bc", strict=True):
        _draw_tail(panel, where(records, keys=kind), f"{letter}   {kind.title()} keys")
    return figure


def _draw_rate(axes: Axes, records: Sequence[Record]) -> None:
    """Draw the root mean squared error over the number of draws, with sigma/sqrt(T)."""
    for kind, colour, marker in zip(KEYS, COLOURS, "os", strict=False):
        rows = where(records, keys=kind)
        drawn = where(rows, estimator="draws")
        line = np.geomspace(10, 8000, 50)
        axes.plot(line, drawn[0].measured["rms_deviation"] / np.sqrt(line), color=colour, linewidth=0.9)
        axes.plot(
            *series(drawn, "draws", "rms_error"), marker, color=colour, label=f"mean of draws, {kind} keys"
        )
        for estimator, shape in (("mean", "*"), ("median", "P")):
            (row,) = where(rows, estimator=estimator)
            label = f"{estimator}: draws stated for ε, δ" if kind == KEYS[0] else None
            axes.plot(row.measured["draws"], row.measured["rms_error"], shape, color=colour, markersize=9,
                      markerfacecolor="none", label=label)  # fmt: skip
    axes.axhline(EPSILON, color=THEORY, linestyle=":", linewidth=1)
    axes.text(9000, EPSILON * 1.06, f"ε = {EPSILON:g}, δ = {DELTA:g}", ha="right", fontsize=8)
    axes.set(xscale="log", yscale="log", ylim=(2e-3, 0.4), xlabel="draws T for each query",
             ylabel="root mean squared error", title="a   Draws: lines σ/√T")  # fmt: skip
    axes.legend(loc="lower left", fontsize=7)


def _draw_tail(axes: Axes, records: Sequence[Record], title: str) -> None:
    """Draw the errors of the weighted tail and of truncation over k, with the radius."""
    looks = (
        ("truncated", "s", COLOURS[1], "cut off at k"),
        ("tail", "o", COLOURS[0], "k near and k or more of the tail"),
    )
    for estimator, marker, colour, label in looks:
        sizes, errors, radii = series(
            where(records, estimator=estimator), "size", "rms_error", "median_radius"
        )
        axes.plot(sizes, errors, marker + "-", color=colour, label=label)
        if estimator == "tail":
            axes.plot(
                sizes, radii, "--", color=THEORY, linewidth=1.2, label=f"radius for δ = {DELTA:g} (median)"
            )
    axes.axvline(NEAR, color="#999999", linestyle=":", linewidth=1)
    axes.text(NEAR * 1.08, 2.3e-3, "√n", color="#555555")
    axes.set(xscale="log", yscale="log", ylim=(2e-3, 4), xlabel="near tokens k", title=title)
    ticks(axes, [8, 32, 128, 512])
    axes.legend(loc="upper right", fontsize=7)


CLAIM = Claim(
    id="knn-forward",
    title="kNN attention is as accurate as it says, by draws and by a weighted tail",
    source="Haris, arXiv:2411.04013; the radius is ours",
    statement=(
        "For values in an interval of length 1: the mean of T draws has error σ/√T; ln(2 d_v/δ)/(2ε²) draws, or the "
        "median of means of Chebyshev groups, put an output within ε except with probability δ; k near tokens and l of "
        "the rest put it within (n − k) e^ceiling √(ln(2 d_v/δ)/(2l)) / denominator, a radius that the reader computes."
    ),
    theory="9",
    checks=(RATE, DRAWS, RADIUS),
    cells=grid,
    measure=measure,
    judge=judge,
    draw=draw,
    controls=(
        Control(
            "each draw counted four times",
            RATE,
            cells(keys=KEYS, estimator="draws", size=256, repetitions=8, fault="repeated"),
        ),
        Control(
            "a tenth of the draws",
            DRAWS,
            cells(keys=KEYS, estimator=STATED, size=None, repetitions=2, fault="few"),
        ),
        Control(
            "cut off at k, with the tail's radius",
            RADIUS,
            cells(keys="random", estimator="tail", size=[256, 512], repetitions=40, fault="cut off"),
        ),
    ),
)

if __name__ == "__main__":
    run_alone(CLAIM)
