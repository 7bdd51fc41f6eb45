"""One random walk estimates dQ, dK and dV together, without bias (theory 9)."""

from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from kvfloor.attention import softmax_attention_reference
from kvfloor.attention.checks import Matrix
from kvfloor.attention.gradients import Gradients, attention_gradients
from kvfloor.attention.knn import Inputs, Near, Walk, estimated_gradients, row_probabilities
from kvfloor.experiments.claims import run_alone
from kvfloor.experiments.drawing.style import COLOURS, THEORY, Axes, Figure, new_figure
from kvfloor.experiments.engine.store import Record
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.experiments.judging.claim import Cell, Check, Claim, Control, Scale, cells
from kvfloor.experiments.judging.rows import where
from kvfloor.experiments.judging.scaling import fitted_exponent

UNBIASED = "the walk averages to the exact dQ, dK and dV"
RATE = "its error falls as the number of samples to the power −1/2"
IMPORTANCE = "importance rows err less than uniform rows"

FALSE_ALARM = 1e-6
TOKENS, DIM, VALUE_DIM = 192, 8, 4
KEPT, DRAWS = 14, 4
VISITS = 48  # of an estimate that is averaged
PARTS = ("dQ", "dK", "dV")
DIRECTIONS = 4  # along the exact gradient, and random ones
SETTINGS = ("outputs given", "outputs estimated", "causal")


def grid(scale: Scale) -> list[Cell]:
    """Return averages of many estimates, and single estimates over the number of visits."""
    more = 1 if scale == "quick" else 5
    mean = cells(task="average", setting=SETTINGS, repetitions=300 * more, blocks=2)
    visits = [32, 128, 512, 2048, 8192]
    return mean + cells(task="error", rows=["importance", "uniform"], visits=visits, repetitions=24 * more)


class Averaged(TypedDict):
    """Distance of the average from the gradient, by gradient and direction."""

    standard_errors_off: list[list[float]]


class Estimated(TypedDict):
    """Error of each gradient in each repetition."""

    relative_errors: list[list[float]]


def measure(parameters: dict[str, Any], randomness: Randomness) -> Averaged | Estimated:
    """Estimate the gradients of one instance again and again."""
    inputs, upstream = _instance(Randomness(randomness.root, "knn-gradients").keys())
    task = _average if parameters["task"] == "average" else _errors
    return task(parameters, inputs, upstream, randomness.secret())


def _instance(rng: np.random.Generator) -> tuple[Inputs, Matrix]:
    """Return inputs and upstream gradients of very different lengths; the same for all rows."""
    queries, keys = rng.normal(size=(2, TOKENS, DIM))
    values, upstream = rng.normal(size=(2, TOKENS, VALUE_DIM))
    lengths = np.exp(rng.normal(size=(2, TOKENS, 1)))
    return Inputs(queries * lengths[0], keys / DIM**0.5, values + 1.0), upstream * lengths[1]


def _average(
    parameters: dict[str, Any], inputs: Inputs, upstream: Matrix, rng: np.random.Generator
) -> Averaged:
    """Return, for each gradient and direction, how many standard errors the average is off."""
    causal, fault = parameters["setting"] == "causal", parameters.get("fault")
    exact = _parts(attention_gradients(inputs, upstream, causal=causal))
    outputs = _outputs(inputs) if parameters["setting"] == "outputs given" else None
    p = row_probabilities(inputs, upstream)
    directions = [np.concatenate([e[None], rng.normal(size=(DIRECTIONS - 1, *e.shape))]) for e in exact]

    def project(parts: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
        return np.array([np.tensordot(d, part, 2) for d, part in zip(directions, parts, strict=True)])

    if fault == "sign" and outputs is not None:
        outputs = -outputs
    if fault == "weight":  # rows by importance, but each weighted as if its probability were 1/n
        upstream = upstream * (p * TOKENS)[:, None]
    walk, near = Walk(VISITS, DRAWS, p, outputs), Near(KEPT, causal=causal)
    repetitions = range(parameters["repetitions"])
    estimates = (estimated_gradients(inputs, upstream, near, walk, rng) for _ in repetitions)
    found = [project(_parts(estimate)) for estimate in estimates]
    gaps = np.mean(found, axis=0) - project(exact)
    errors = np.std(found, axis=0, ddof=1) / len(found) ** 0.5
    return {"standard_errors_off": (gaps / errors).tolist()}


def _errors(
    parameters: dict[str, Any], inputs: Inputs, upstream: Matrix, rng: np.random.Generator
) -> Estimated:
    """Return the relative error of each gradient in each repetition."""
    rows, visits, fault = parameters["rows"], parameters["visits"], parameters.get("fault")
    if fault == "swapped":
        rows = "uniform" if rows == "importance" else "importance"
    if fault == "repeated":
        visits = 32
    p = row_probabilities(inputs, upstream) if rows == "importance" else np.full(TOKENS, 1 / TOKENS)
    exact = _parts(attention_gradients(inputs, upstream))
    walk, errors = Walk(visits, DRAWS, p, _outputs(inputs)), []
    for _ in range(parameters["repetitions"]):
        estimate = estimated_gradients(inputs, upstream, Near(KEPT), walk, rng)
        pairs = zip(_parts(estimate), exact, strict=True)
        errors.append([float(np.linalg.norm(e - x) / np.linalg.norm(x)) for e, x in pairs])
    return {"relative_errors": errors}


def _outputs(inputs: Inputs) -> NDArray[np.float64]:
    """Return the exact outputs."""
    return softmax_attention_reference(inputs.queries, inputs.keys, inputs.values)


def _parts(gradients: Gradients) -> tuple[NDArray[Any], ...]:
    """Return dQ, dK, dV."""
    return gradients.queries, gradients.keys, gradients.values


def judge(records: Sequence[Record]) -> list[Check]:
    """Check the averages, the slope of the error, and which rows are better (rank test)."""
    averages = where(records, task="average")
    errors = {(r.parameters["rows"], r.parameters["visits"]): np.array(r.measured["relative_errors"])
              for r in where(records, task="error")}  # fmt: skip
    checks = []
    if averages:
        off = np.abs([r.measured["standard_errors_off"] for r in averages])
        terms = min(r.parameters["repetitions"] for r in averages)
        bar = float(stats.t.isf(FALSE_ALARM / 2 / off.size, terms - 1))
        worst = dict(zip(PARTS, off.max(axis=(0, 2)).tolist(), strict=True))
        passed = bool(off.max() <= bar)
        checks.append(
            Check(UNBIASED, passed, {"standard_errors_off": worst, "allowed": bar, "tests": off.size})
        )
    if len({visits for rows, visits in errors if rows == "importance"}) > 2:
        slopes = {name: _slope(errors, part) for part, name in enumerate(PARTS)}
        passed = all(low <= -0.5 <= high for _, low, high in slopes.values())
        shown = {
            name: {"slope": slope, "interval": [low, high]} for name, (slope, low, high) in slopes.items()
        }
        checks.append(Check(RATE, passed, {**shown, "false_alarm": FALSE_ALARM}))
    if any(rows == "uniform" for rows, _ in errors):
        best = max(visits for _, visits in errors)
        pairs = errors["importance", best], errors["uniform", best]
        chances = {
            name: float(stats.mannwhitneyu(pairs[0][:, part], pairs[1][:, part], alternative="less").pvalue)
            for part, name in enumerate(PARTS)
        }
        ratios = {
            name: float(np.mean(pairs[1][:, part]) / np.mean(pairs[0][:, part]))
            for part, name in enumerate(PARTS)
        }
        passed = max(chances.values()) <= FALSE_ALARM
        checks.append(Check(IMPORTANCE, passed, {"uniform_over_importance": ratios, "chance": chances}))
    return checks


def _slope(errors: dict[tuple[str, int], NDArray[np.float64]], part: int) -> tuple[float, float, float]:
    """Return the slope of log error over log visits for importance rows, with its interval for all three parts."""
    points = [
        (v, found[part]) for (rows, v), each in errors.items() if rows == "importance" for found in each
    ]
    visits, parts = zip(*points, strict=True)
    return fitted_exponent(visits, parts, FALSE_ALARM / len(PARTS))


def draw(records: Sequence[Record]) -> Figure:
    """Draw the error over visits, and the averages in standard errors."""
    figure, (rate, bias) = new_figure(2, width=4.6, height=3.7)
    _draw_rate(rate, where(records, task="error"))
    _draw_bias(bias, where(records, task="average"))
    return figure


def _draw_rate(axes: Axes, records: Sequence[Record]) -> None:
    """Draw the mean relative error of each gradient, importance beside uniform rows, with slope -1/2."""
    for part, (name, colour, marker) in enumerate(zip(PARTS, COLOURS, "osD", strict=False)):
        for rows, style, fill in (("importance", "-", colour), ("uniform", "--", "none")):
            found = where(records, rows=rows)
            visits = [r.parameters["visits"] for r in found]
            means = [np.mean(np.array(r.measured["relative_errors"])[:, part]) for r in found]
            axes.plot(visits, means, marker + style, color=colour, markerfacecolor=fill, linewidth=1,
                      label=f"{name}, {rows} rows")  # fmt: skip
    line = np.array([32, 8192])
    axes.plot(line, 2.2 * (line / 32) ** -0.5, color=THEORY, linewidth=1.4, label="slope −1/2")
    axes.set(xscale="log", yscale="log", xlabel=f"visits N of the walk, {DRAWS} draws each",
             ylabel="error relative to the exact gradient", title=f"a   Error, n = {TOKENS}")  # fmt: skip
    axes.legend(loc="lower left", fontsize=7)


def _draw_bias(axes: Axes, records: Sequence[Record]) -> None:
    """Draw the averages' distances from the exact gradients against normal quantiles."""
    off = np.sort(np.concatenate([np.ravel(r.measured["standard_errors_off"]) for r in records]))
    normal = stats.norm.ppf((np.arange(len(off)) + 0.5) / len(off))
    axes.plot([-3, 3], [-3, 3], color=THEORY, linewidth=1.2, label="no bias: standard normal")
    axes.plot(
        normal, off, "o", color=COLOURS[0], markerfacecolor="none", label="averages along fixed directions"
    )
    axes.set(xlabel="standard normal quantile", ylabel="average − exact, in standard errors",
             title="b   Bias of dQ, dK and dV: none")  # fmt: skip
    axes.legend(loc="upper left")


CLAIM = Claim(
    id="knn-gradients",
    title="One random walk estimates all three gradients of attention without bias",
    source="Haris, arXiv:2411.04013; D_i from the walk's own draws is ours",
    statement=(
        "The walk that draws a row with probability p_i and tokens by lazy Gumbel sampling averages to the exact dQ, "
        "dK and dV, with outputs given or estimated from its own draws, causal or not; its error falls as N^(−1/2), "
        "and rows drawn by |G_i| |Q_i| err less than uniform ones."
    ),
    theory="9",
    checks=(UNBIASED, RATE, IMPORTANCE),
    cells=grid,
    measure=measure,
    judge=judge,
    draw=draw,
    controls=(
        Control(
            "D_i with the wrong sign",
            UNBIASED,
            cells(task="average", setting="outputs given", repetitions=300, fault="sign"),
        ),
        Control(
            "importance rows weighted as uniform",
            UNBIASED,
            cells(task="average", setting="outputs given", repetitions=300, fault="weight"),
        ),
        Control(
            "one sample counted many times",
            RATE,
            cells(task="error", rows="importance", visits=[32, 128, 512], repetitions=24, fault="repeated"),
        ),
        Control(
            "uniform rows as importance",
            IMPORTANCE,
            cells(task="error", rows=["importance", "uniform"], visits=512, repetitions=24, fault="swapped"),
        ),
    ),
)

if __name__ == "__main__":
    run_alone(CLAIM)
