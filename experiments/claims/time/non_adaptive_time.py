"""A reader that fixes its probes before it sees the query needs them in proportion to n d_v (theory 6)."""

from collections.abc import Sequence
from math import log, sqrt
from typing import Any, TypedDict

import numpy as np
from scipy.special import bdtr, bdtrc

from kvfloor.experiments.claims import run_alone
from kvfloor.experiments.claims.time.probes import ProbedStore, UndeclaredReadError
from kvfloor.experiments.claims.time.probing_readers import ADAPTIVE, READERS, HashIndex, Shape
from kvfloor.experiments.drawing.panels import closed
from kvfloor.experiments.drawing.style import COLOURS, THEORY, Axes, Figure, new_figure, shade_impossible
from kvfloor.experiments.engine.store import Record
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.experiments.judging.claim import Cell, Check, Claim, Control, Scale, cells
from kvfloor.experiments.judging.rows import where
from kvfloor.reductions.encodings.values import required_query_norm
from kvfloor.reductions.keys.incoherence import incoherence
from kvfloor.reductions.keys.projections import gaussian_keys

HONEST = "non-adaptive readers read just what they declared"
MEETS = "the optimal reader meets 1/2 + T/(2N)"
LINE = "no non-adaptive reader is above 1/2 + T/(2N)"
BEATS = "an adaptive reader is above the line, with all its probes counted"

DIM = VALUE_DIM = 64
SHARES = (0.0, 1 / 8, 1 / 4, 1 / 3, 1 / 2, 2 / 3, 3 / 4, 1.0)  # of the entries; whole tokens for n = 0 mod 24
ASKED = 4096  # positions asked of the adaptive reader
FALSE_ALARM = 1e-6  # of each check, over all its rows


def grid(scale: Scale) -> list[Cell]:
    """Return every non-adaptive reader over its probes, and the adaptive one over the number of tokens."""
    tokens = 384 if scale == "quick" else 1536
    blocks = 2 if scale == "quick" else 8
    fixed = cells(reader=list(READERS), tokens=tokens, share=SHARES, blocks=blocks)
    lengths = (96, 384, 1536) if scale == "quick" else (96, 384, 1536, 6144)
    return fixed + cells(reader=ADAPTIVE, tokens=lengths)


class Read(TypedDict):
    """What a reader of declared positions says."""

    declared: int
    probes: int
    refused: bool
    right: int
    entries: int


class LookedUp(TypedDict):
    """What the adaptive reader says."""

    right: int
    asked: int
    entries: int
    most_probes: int
    mean_probes: float


class Taken(Read):
    """What it says, taken at its word."""

    asked: int


def measure(parameters: dict[str, Any], randomness: Randomness) -> Read | Taken | LookedUp:
    """Let a reader answer random bits through a store that counts."""
    keys = gaussian_keys(parameters["tokens"], DIM, randomness.keys())
    shape = Shape(keys, VALUE_DIM, required_query_norm(len(keys), incoherence(keys)))
    ones = parameters.get("ones", 0.5)
    bits = (randomness.secret().random(shape.entries) < ones).astype(np.uint8)
    coins = np.random.default_rng(randomness.coins_seed())
    if parameters["reader"] == ADAPTIVE:
        return _look_up(parameters, shape, bits, coins, randomness)
    return _read(parameters, shape, bits, coins)


def _read(
    parameters: dict[str, Any], shape: Shape, bits: np.ndarray[Any, Any], coins: np.random.Generator
) -> Read:
    """Return how many of all N bits a non-adaptive reader says rightly, and what it really read."""
    store, reader = ProbedStore(bits), READERS[parameters["reader"]]
    positions = reader.plan(shape, round(parameters["share"] * shape.entries), coins)
    declared = store.declare(positions)
    change = parameters.get("undeclared", 0)
    if change > 0:
        positions = np.append(positions, np.setdiff1d(np.arange(shape.entries), positions)[:change])
    elif change < 0:
        positions = positions[:change]
    try:
        seen = store.read(positions)
    except UndeclaredReadError:
        return {"declared": declared, "probes": int(store.probes()[0]), "refused": True, "right": 0,
                "entries": shape.entries}  # fmt: skip
    kept = len(positions) - round(parameters.get("lost", 0.0) * len(positions))
    right = reader.answer(shape, positions[:kept], seen[:kept], coins) == bits
    return {
        "declared": declared,
        "probes": int(store.probes()[0]),
        "refused": False,
        "right": int(right.sum()),
        "entries": shape.entries,
    }


def _look_up(
    parameters: dict[str, Any],
    shape: Shape,
    bits: np.ndarray[Any, Any],
    coins: np.random.Generator,
    randomness: Randomness,
) -> Taken | LookedUp:
    """Return how many random positions the adaptive reader says rightly, and the most probes of any."""
    indexed = shape
    if parameters.get("foreign"):
        indexed = Shape(gaussian_keys(len(shape.keys), DIM, coins), VALUE_DIM, shape.query_norm)
    index = HashIndex(indexed, bits, coins)
    everything = "said_share" in parameters  # as a non-adaptive reader it answers all positions
    asked = (
        np.arange(shape.entries) if everything else randomness.positions().integers(0, shape.entries, ASKED)
    )
    token, channel = np.divmod(asked, VALUE_DIM)
    right = index.answer(shape.query_norm * shape.keys[token], channel) == bits[asked]
    probes = index.probes(len(asked))
    found, size, entries = int(right.sum()), len(asked), shape.entries
    if everything:
        said = round(parameters["said_share"] * entries)
        return {"right": found, "asked": size, "entries": entries, "declared": said, "probes": said,
                "refused": False}  # fmt: skip
    return {"right": found, "asked": size, "entries": entries, "most_probes": int(probes.max()),
            "mean_probes": float(probes.mean())}  # fmt: skip


def judge(records: Sequence[Record]) -> list[Check]:
    """Check declarations, and the success of both kinds of readers against the line."""
    checks = []
    fixed = [r for r in records if "declared" in r.measured]
    if fixed:
        strayed = sum(r.measured["refused"] or r.measured["probes"] != r.measured["declared"] for r in fixed)
        checks.append(Check(HONEST, strayed == 0, {"readers": len(fixed), "strayed": strayed}))
    answered = [r for r in fixed if not r.measured["refused"]]
    if answered:
        above = min(chance_above(r.measured) for r in answered) * len(answered)
        evidence = {"readers": len(answered), "least_p_value": min(above, 1.0), "false_alarm": FALSE_ALARM}
        checks.append(Check(LINE, above > FALSE_ALARM, evidence))
    optimal = [r.measured for r in where(answered, reader="optimal")]
    if optimal:
        off = 2 * min(min(chance_above(row), chance_below(row)) for row in optimal) * len(optimal)
        evidence = {"plays": len(optimal), "least_p_value": min(off, 1.0), "false_alarm": FALSE_ALARM}
        checks.append(Check(MEETS, off > FALSE_ALARM, evidence))
    adaptive = [r.measured for r in records if "most_probes" in r.measured]
    if adaptive:
        # Hoeffding over positions drawn independently, for all rows at once.
        slack = sqrt(log(len(adaptive) / FALSE_ALARM) / (2 * ASKED))
        leads = [
            row["right"] / row["asked"] - slack - _line(row["most_probes"], row["entries"])
            for row in adaptive
        ]
        evidence = {"plays": len(adaptive), "least_lead_above_the_line": min(leads)}
        checks.append(Check(BEATS, min(leads) > 0, evidence))
    return checks


def chance_above(row: dict[str, Any]) -> float:
    """Return the probability that a reader at the line says as many or more of all bits rightly.

    Whatever a reader says of a uniform bit that it did not read is right with probability 1/2, independently
    of the others given what it read: at most T + Binomial(N - T, 1/2) answers are right (theory 6).

    Parameters
    ----------
    row : dict
        "right", "probes" and "entries": right answers, T and N.

    Returns
    -------
    float
        A p-value.
    """
    unread, lucky = row["entries"] - row["probes"], row["right"] - row["probes"]
    return 1.0 if lucky <= 0 else 0.0 if lucky > unread else float(bdtrc(lucky - 1, unread, 0.5))


def chance_below(row: dict[str, Any]) -> float:
    """Return the probability that a reader at the line says as few or fewer of all bits rightly.

    Parameters
    ----------
    row : dict
        As for `chance_above`.

    Returns
    -------
    float
        A p-value.
    """
    unread, lucky = row["entries"] - row["probes"], row["right"] - row["probes"]
    return 0.0 if lucky < 0 else 1.0 if lucky >= unread else float(bdtr(lucky, unread, 0.5))


def _line(probes: float, entries: int) -> float:
    """Return 1/2 + T/(2N)."""
    return 0.5 + probes / (2 * entries)


def draw(records: Sequence[Record]) -> Figure:
    """Draw success over probes, and the probes that success 2/3 takes over the number of entries."""
    figure, (left, right) = new_figure(2, width=4.7, height=3.9)
    _draw_success(left, records)
    _draw_probes(right, [r.measured for r in where(records, reader=ADAPTIVE)])
    return figure


def _draw_success(axes: Axes, records: Sequence[Record]) -> None:
    """Draw every reader's success over the share of the entries that it reads."""
    ramp = np.linspace(0, 1, 2)
    shade_impossible(axes, ramp, 0.5 + ramp / 2, 1.03)
    axes.plot(ramp, 0.5 + ramp / 2, color=THEORY, label="1/2 + T/(2N)")
    looks = {"optimal": ("o", 11, "first T entries"), "random": ("s", 8, "random entries, coins"),
             "majority": ("D", 6, "random entries, majority"), "attention": ("^", 4, "attention to fixed tokens")}  # fmt: skip
    for name, colour in zip(READERS, COLOURS, strict=False):
        marker, size, label = looks[name]
        rows = [r.measured for r in where(records, reader=name)]
        axes.plot([row["probes"] / row["entries"] for row in rows], [row["right"] / row["entries"] for row in rows],
                  marker, color=colour, markersize=size, markerfacecolor="none", label=label)  # fmt: skip
    rows = [r.measured for r in where(records, reader=ADAPTIVE)]
    axes.plot([row["most_probes"] / row["entries"] for row in rows], [row["right"] / row["asked"] for row in rows],
              "*", color=COLOURS[4], markersize=11, markeredgecolor="black", markeredgewidth=0.5,
              label="adaptive: index over keys")  # fmt: skip
    axes.set(xlim=(-0.02, 1.02), ylim=(0.47, 1.03), xlabel="entries read, T / N",
             ylabel="queries answered rightly", title="a   Probes fixed beforehand")  # fmt: skip
    closed(axes, 0.12, 0.82, "closed to\nnon-adaptive readers")
    axes.legend(loc="lower right")


def _draw_probes(axes: Axes, rows: Sequence[dict[str, Any]]) -> None:
    """Draw the adaptive reader's probes beside those that success 2/3 takes without adaptivity."""
    entries = np.array([row["entries"] for row in rows])
    ramp = np.geomspace(entries.min() / 1.6, entries.max() * 1.6, 50)
    shade_impossible(axes, ramp, 1, ramp / 3)
    axes.plot(ramp, ramp / 3, color=THEORY, label="non-adaptive: T = N/3")
    axes.plot(entries, [row["most_probes"] for row in rows], "-*", color=COLOURS[4], markersize=11,
              markeredgecolor="black", markeredgewidth=0.5, label="adaptive: most of any query")  # fmt: skip
    axes.plot(entries, [row["mean_probes"] for row in rows], "--v", color=COLOURS[0], label="adaptive: mean")
    axes.set(xscale="log", yscale="log", xlim=(ramp[0], ramp[-1]), ylim=(20, ramp[-1] * 6),
             xlabel="stored bits, N = n d_v", ylabel="entries read for a query, T",
             title="b   Probes for success 2/3 and more")  # fmt: skip
    closed(axes, ramp[-5], 34, "closed to non-adaptive readers", ha="right")
    axes.legend(loc="upper left")


CLAIM = Claim(
    id="non-adaptive-time",
    title="A reader whose probes are fixed before the query needs Ω(n d) of them; an adaptive one does not",
    source="Haris and Onak, COLT 2025, arXiv:2502.15955; the exact line is ours",
    statement=(
        "With T of N = n d_v uniform bits read at positions fixed before the query, a random query is answered "
        "rightly with probability at most 1/2 + T/(2N), and T fixed entries reach it. An index over the keys, "
        "which looks at the query, answers with few probes."
    ),
    theory="6",
    checks=(HONEST, MEETS, LINE, BEATS),
    cells=grid,
    measure=measure,
    judge=judge,
    draw=draw,
    controls=(
        Control(
            "one probe more than declared",
            HONEST,
            cells(reader=["optimal", "random"], tokens=384, share=1 / 3, undeclared=1),
        ),
        Control(
            "one probe fewer than counted",
            HONEST,
            cells(reader=["optimal", "random"], tokens=384, share=1 / 3, undeclared=-1),
        ),
        Control(
            "a tenth of what was read is lost",
            MEETS,
            cells(reader="optimal", tokens=384, share=[1 / 2, 1.0], lost=0.1),
        ),
        Control(
            "bits that are not uniform",
            LINE,
            cells(reader="majority", tokens=384, share=[1 / 4, 1 / 2], ones=0.6),
        ),
        Control(
            "an adaptive reader taken at its word", LINE, cells(reader=ADAPTIVE, tokens=96, said_share=1 / 8)
        ),
        Control("an index over other keys", BEATS, cells(reader=ADAPTIVE, tokens=384, foreign=True)),
    ),
)

if __name__ == "__main__":
    run_alone(CLAIM)
