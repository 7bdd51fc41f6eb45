"""Lazy Gumbel sampling draws from softmax exactly, at n/k score evaluations or fewer (theory 9)."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, TypedDict
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from kvfloor.attention.knn import gumbel
from kvfloor.attention.knn.shortlist import Shortlist
from kvfloor.experiments.claims import run_alone
from kvfloor.experiments.drawing.panels import closed, ticks
from kvfloor.experiments.drawing.style import COLOURS, THEORY, Axes, Figure, new_figure, shade_impossible
from kvfloor.experiments.engine.store import Record
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.experiments.judging.claim import Cell, Check, Claim, Control, Scale, cells
from kvfloor.experiments.judging.rows import series, where

LAW = "draws follow softmax"
OPENED = "the tokens opened are (n − k) c/(1 + c) on average"
BOUND = "near neighbours open at most (n − k)/(k + 1)"

FALSE_ALARM = 1e-6  # of each check, shared out over its rows
TOKENS = 64
LEAST_EXPECTED = 30.0  # tokens of fewer expected draws are pooled

# Any scores will do; these are easy, hard and degenerate for a sampler that trusts its shortlist.
SHAPES = ("flat", "peaked", "two levels", "ramp", "normal", "heavy")
LOOKS = dict(zip(SHAPES, zip("osD^vP", COLOURS, strict=False), strict=True))
KEPT = (1, 2, 4, 8, 16, 32, 63, 64)


def grid(scale: Scale) -> list[Cell]:
    """Return every shape at every k, with true nearest neighbours and with a shortlist drawn at random."""
    draws = 30_000 if scale == "quick" else 400_000
    true = cells(shape=SHAPES, tokens=TOKENS, kept=KEPT, listed="nearest", draws=draws)
    true += cells(shape=SHAPES, tokens=4, kept=[1, 2, 3, 4], listed="nearest", draws=draws)
    return true + cells(shape=SHAPES, tokens=TOKENS, kept=[4, 16], listed="random", draws=draws)


def _control(fault: str, tokens: int, listed: str = "nearest") -> list[Cell]:
    """Return a few cells with something false about the sampler."""
    shapes, kept = ["two levels", "ramp", "normal"], [1] if tokens < TOKENS else [1, 4]
    return cells(shape=shapes, tokens=tokens, kept=kept, listed=listed, draws=30_000, fault=fault)


class Measured(TypedDict):
    """How often each token was drawn, and how many were opened for it."""

    probabilities: list[float]
    counts: list[int]
    mean_opened: float
    deviation_opened: float
    expected_opened: float


def measure(parameters: dict[str, Any], randomness: Randomness) -> Measured:
    """Draw many tokens for one query and count them."""
    rng = randomness.secret()
    scores = _scores(parameters["shape"], parameters["tokens"], randomness.keys())
    tokens, kept, fault = parameters["tokens"], parameters["kept"], parameters.get("fault")
    order = np.argsort(scores) if parameters["listed"] == "nearest" else rng.permutation(tokens)
    listed, rest = order[tokens - kept :], order[: tokens - kept]
    ceiling = scores[listed].min() if fault == "ceiling" else scores[rest].max(initial=-np.inf)
    bound, none = np.array([ceiling]), np.zeros(1, np.int64)
    shortlist = Shortlist(listed[None], scores[None, listed], bound, kept, tokens, none)
    with _faulty(fault):
        drawn = gumbel.lazy_gumbel(np.ones((1, 1)), scores[:, None], shortlist, parameters["draws"], rng)
    odds = float(np.exp(ceiling - np.logaddexp.reduce(scores[listed])))
    return {
        "probabilities": np.exp(scores - np.logaddexp.reduce(scores)).tolist(),
        "counts": np.bincount(drawn.tokens[0], minlength=tokens).tolist(),
        "mean_opened": float(drawn.opened.mean()),
        "deviation_opened": float(drawn.opened.std()),
        "expected_opened": (tokens - kept) * odds / (1 + odds),
    }


def _scores(shape: str, tokens: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the scores of one query on all tokens."""
    ranks = np.arange(1.0, tokens + 1)
    by_shape: dict[str, NDArray[np.float64]] = {
        "flat": np.zeros(tokens),
        "peaked": np.where(ranks == 1, 4.0, 0.0),
        "two levels": np.where(ranks <= max(2, tokens // 8), 0.0, -2.0),
        "ramp": 6.0 * ranks / tokens,
        "normal": 2.0 * rng.normal(size=tokens),
        "heavy": -1.2 * np.log(ranks),
    }
    return by_shape[shape]


@contextlib.contextmanager
def _faulty(fault: str | None) -> Iterator[None]:
    """Replace one ingredient of the sampler by a false one."""

    def repeating(counts: Any, population: int, rng: np.random.Generator) -> Any:
        return rng.integers(population, size=counts.sum())

    def plain(rates: Any, rng: np.random.Generator) -> Any:
        return rng.gumbel(size=len(rates))

    false: dict[str | None, Any] = {
        "replacement": patch.object(gumbel, "distinct", repeating),
        "unconditioned": patch.object(gumbel, "gumbels_above", plain),
    }
    with false.get(fault, contextlib.nullcontext()):
        yield


def judge(records: Sequence[Record]) -> list[Check]:
    """Check the law by chi-square, and the tokens opened by their mean; Bonferroni over the rows."""
    level = FALSE_ALARM / len(records)
    p_values = {_name(r): _chi_square(r.measured["probabilities"], r.measured["counts"]) for r in records}
    worst = min(p_values, key=p_values.__getitem__)
    evidence = {"rows": len(records), "least_p": p_values[worst], "at": worst, "level": level}
    checks = [Check(LAW, p_values[worst] >= level, evidence)]

    bar = float(stats.norm.isf(level / 2))
    gaps = {
        _name(r): abs(r.measured["mean_opened"] - r.measured["expected_opened"]) / _error(r) for r in records
    }
    worst = max(gaps, key=gaps.__getitem__)
    evidence = {"largest_gap_in_standard_errors": gaps[worst], "at": worst, "allowed": bar}
    checks.append(Check(OPENED, gaps[worst] <= bar, evidence))

    near = [r for r in records if r.parameters["listed"] == "nearest" or "fault" in r.parameters]
    if near:
        over = {_name(r): r.measured["mean_opened"] - _most_opened(r) - bar * _error(r) for r in near}
        worst = max(over, key=over.__getitem__)
        checks.append(
            Check(BOUND, over[worst] <= 0, {"rows": len(near), "most_above": over[worst], "at": worst})
        )
    return checks


def _name(record: Record) -> str:
    """Return a row's name in the evidence."""
    return "{shape}, n = {tokens}, k = {kept}, {listed}".format(**record.parameters)


def _most_opened(record: Record) -> float:
    """Return the bound on the mean number of tokens opened with true nearest neighbours."""
    tokens, kept = (int(record.parameters[name]) for name in ("tokens", "kept"))
    return (tokens - kept) / (kept + 1)


def _error(record: Record) -> float:
    """Return the standard error of the mean number of tokens opened; at least one token in all draws."""
    draws: int = record.parameters["draws"]
    error = record.measured["deviation_opened"] / draws**0.5
    return max(float(error), 1 / draws)


def _chi_square(probabilities: Sequence[float], counts: Sequence[int]) -> float:
    """Return the p-value of counts under probabilities; rare tokens are pooled into one."""
    observed, expected = np.array(counts, float), np.array(probabilities) * sum(counts)
    rare = expected < LEAST_EXPECTED
    if rare.any():
        observed = np.append(observed[~rare], observed[rare].sum())
        expected = np.append(expected[~rare], expected[rare].sum())
        if expected[-1] < LEAST_EXPECTED:  # still rare: one with the least of the others
            observed, expected = (np.append(a[:-2], a[-2:].sum()) for a in (observed, expected))
    statistic = ((observed - expected) ** 2 / expected).sum()
    return float(stats.chi2.sf(statistic, max(len(expected) - 1, 1)))


def draw(records: Sequence[Record]) -> Figure:
    """Draw frequencies against probabilities, and tokens opened against k."""
    figure, (law, opened) = new_figure(2, width=4.6, height=3.7)
    near = where(records, listed="nearest", tokens=TOKENS)
    _draw_law(law, where(near, kept=8))
    _draw_opened(opened, near)
    return figure


def _draw_law(axes: Axes, records: Sequence[Record]) -> None:
    """Draw what was drawn against what softmax says."""
    draws = records[0].parameters["draws"]
    line = np.geomspace(2e-4, 1, 200)
    spread = 5 * np.sqrt(line / draws)
    axes.fill_between(line, np.maximum(line - spread, 1e-9), line + spread, color="#DDDDDD", linewidth=0,
                      label="5 standard deviations")  # fmt: skip
    axes.plot(line, line, color=THEORY, linewidth=1, label="softmax")
    for record in records:
        marker, colour = LOOKS[record.parameters["shape"]]
        frequencies = np.array(record.measured["counts"]) / draws
        axes.plot(record.measured["probabilities"], frequencies, marker, color=colour, markersize=4,
                  markerfacecolor="none", label=record.parameters["shape"])  # fmt: skip
    axes.set(xscale="log", yscale="log", xlim=(4e-4, 1), ylim=(2e-4, 1), xlabel="probability of a token under softmax",
             ylabel=f"its share of {draws:,} draws", title=f"a   The law, n = {TOKENS}, k = 8")  # fmt: skip
    axes.legend(loc="upper left")


def _draw_opened(axes: Axes, records: Sequence[Record]) -> None:
    """Draw the tokens that had to be opened for a draw, with the bound."""
    kept = np.geomspace(1, TOKENS - 1, 200)
    bound = (TOKENS - kept) / (kept + 1)
    shade_impossible(axes, kept, bound, 1e3)
    axes.plot(kept, bound, color=THEORY, linewidth=1.2, label="bound (n − k)/(k + 1)")
    axes.plot(kept, TOKENS / kept, "--", color=THEORY, linewidth=0.9, label="n/k")
    for shape in SHAPES:
        marker, colour = LOOKS[shape]
        rows = [r for r in where(records, shape=shape) if r.parameters["kept"] < TOKENS]
        listed, expected, opened = series(rows, "kept", "expected_opened", "mean_opened")
        axes.plot(listed, expected, color=colour, linewidth=0.8)
        axes.plot(listed, opened, marker, color=colour, markerfacecolor="none", label=shape)
    closed(axes, 11, 45, "closed with\nnear neighbours", va="center")
    axes.set(xscale="log", yscale="log", xlim=(0.9, 70), ylim=(5e-3, 100), xlabel="neighbours listed, k",
             ylabel="tokens opened for a draw", title="b   The cost: lines (n − k) c/(1 + c)")  # fmt: skip
    ticks(axes, [1, 2, 4, 8, 16, 32, 64])
    axes.legend(loc="lower left")


CLAIM = Claim(
    id="lazy-gumbel",
    title="Lazy Gumbel sampling is exact, and opens at most n/k tokens for a draw",
    source="Mussmann, Levy and Ermon, UAI 2017; Haris, arXiv:2411.04013; any ceiling is ours",
    statement=(
        "Draws by lazy Gumbel sampling have exactly the law of softmax, for every shortlist and every true ceiling on "
        "the scores outside it; the tokens opened for a draw are (n − k) c/(1 + c) on average, "
        "c = e^ceiling / Σ_S e^s, so at most (n − k)/(k + 1) where the shortlist S holds the k largest scores."
    ),
    theory="9",
    checks=(LAW, OPENED, BOUND),
    cells=grid,
    measure=measure,
    judge=judge,
    draw=draw,
    controls=(
        Control("tail tokens with replacement", LAW, _control("replacement", 4)),  # a short tail tells
        Control("Gumbels that are not conditioned", LAW, _control("unconditioned", TOKENS)),
        Control("a missed neighbour above the ceiling", LAW, _control("ceiling", TOKENS, "random")),
        Control("a random shortlist as the nearest", BOUND, _control("mislabelled", TOKENS, "random")),
    ),
)

if __name__ == "__main__":
    run_alone(CLAIM)
