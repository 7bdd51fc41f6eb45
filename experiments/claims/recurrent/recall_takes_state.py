"""No recurrent state recalls more than its bits, and how close each family comes (theory 14)."""

import math
from collections.abc import Sequence
from typing import Any, NotRequired

import numpy as np
from numpy.typing import NDArray

from kvfloor.experiments.claims import run_alone
from kvfloor.experiments.claims.recurrent.superposition import sign_errors
from kvfloor.experiments.drawing.panels import closed, ticks
from kvfloor.experiments.drawing.style import COLOURS, THEORY, Axes, Figure, new_figure, shade_impossible
from kvfloor.experiments.engine.store import Record
from kvfloor.experiments.game.cheats import LEAKING
from kvfloor.experiments.game.measured import Decoded
from kvfloor.experiments.game.protocol import play_in_full
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.experiments.judging.claim import Cell, Check, Claim, Control, Scale
from kvfloor.experiments.judging.plays import HEADER_BITS, accuracy
from kvfloor.experiments.judging.rows import grouped, series, where
from kvfloor.reductions.bounds.certificates import one_shot_certificate
from kvfloor.reductions.encodings.recall import RecallEncoding
from kvfloor.reductions.keys.known import Keys

CARRIES = "no state recalls more than its bits"
SUPERPOSED = "linear attention reads as wrongly as a sum of random signs"
SLOTTED = "slots recall just the words that were not overwritten"
NEWEST = "delta rule, slots and windows recall the newest words"
REACHED = "a table of levels recalls the stated share of its bits"

WIDTH = 12  # bits of a word: zoology's vocabulary has 4096 values
NORM = 40.0  # of the queries, for windows and attention's caches; recurrent states read directions alone
CHANNELS = 2048
TABLE_ROWS = 512
WINDOW = 16
FALSE_ALARM = 1e-6
LEVEL_BITS = {"bfloat16": 7, "float16": 10, "float32": 20}
FORMAT_BITS = {"bfloat16": 16, "float16": 16, "float32": 32}
STATES = {
    "linear-attention": "linear attention",
    "delta-net:rate=0.5": "delta rule, β = 1/2",
    "delta-net": "delta rule, β = 1",
    "selective-ssm": "selective SSM, slots",
    "rwkv": "RWKV-4, slots",
    f"hybrid:window_tokens={WINDOW},state=selective-ssm": "window of 16 and slots",
    "linear:features=64": "Performer, 64 features",
}
OTHERS = {
    "dense": "attention, float16",
    "uniform:bits=4": "attention, 4 bits",
    "window:kept_tokens=20": "window of 20",
    "bitpack": "packed words, public keys",
}
TABLES = {"linear-attention": 1, "delta-net": 1, "selective-ssm": 1, "rwkv": 3}  # matrices of the state
RECENT = {"delta-net": 1, "selective-ssm": 1, "rwkv": 1,
          f"hybrid:window_tokens={WINDOW},state=selective-ssm": WINDOW - 1}  # fmt: skip


def grid(scale: Scale) -> list[Cell]:
    """Return associative recall through every state, long sums, and tables."""
    dims, most = ((32, 64, 128), 4) if scale == "quick" else ((32, 64, 128, 256), 16)
    pairs = [(dim, int(dim * share)) for dim in dims for share in (0.125, 0.25, 0.5, 1, 2, 4, 8, 16)]
    recalled = [
        _cell("recall", cache, dim, count)
        for cache in (*STATES, *OTHERS)
        for dim, count in pairs
        if count <= most * dim
    ]
    tables = [
        _cell("table", f"{cache}{':' if ':' not in cache else ','}dtype={dtype}", TABLE_ROWS, TABLE_ROWS,
              family=cache, dtype=dtype)
        for cache in TABLES for dtype in LEVEL_BITS
    ]  # fmt: skip
    return recalled + tables + [_cell("sums", "linear-attention", 64, count) for count in (32, 64, 128)]


def _cell(instance: str, cache: str, dim: int, pairs: int, **change: Any) -> Cell:
    """Return the parameters of one play."""
    return {"instance": instance, "cache": cache, "family": cache, "dim": dim, "pairs": pairs, **change}


class Measured(Decoded):
    """A play with the bits that its words tell; what only some instances have is optional."""

    alphabet: int
    recalled_bits: float
    refuted: bool
    recent_errors: NotRequired[int]
    slots_taken: NotRequired[int]
    error_rate: NotRequired[float]
    expected_error_rate: NotRequired[float]
    slack: NotRequired[float]


def measure(parameters: dict[str, Any], randomness: Randomness) -> Measured:
    """Play associative recall once through a state."""
    dim, pairs, instance = parameters["dim"], parameters["pairs"], parameters["instance"]
    if instance == "table" and parameters.get("keys") != "gaussian":
        keys = Keys(np.eye(dim, dtype=np.float32))
    else:
        keys = Keys.drawn("gaussian", pairs, dim, randomness.keys(), np.float32)
    encoding = {
        "recall": lambda: RecallEncoding(keys, WIDTH, norm=NORM),
        "sums": lambda: RecallEncoding(keys, 1, words=CHANNELS, norm=NORM),
        "table": lambda: RecallEncoding(keys, 1, 2 ** LEVEL_BITS[parameters["dtype"]], norm=NORM),
    }[instance]()
    played = play_in_full(encoding, parameters["cache"], randomness)
    wire_bits, wrong = played.transcript.wire_bits, played.wrong
    problem = encoding.problem
    certificate = one_shot_certificate(problem.length, int(wrong.sum()), problem.alphabet)
    measured: Measured = {
        "wire_bits": wire_bits,
        "symbols": problem.length,
        "alphabet": problem.alphabet,
        "errors": int(wrong.sum()),
        "recalled_bits": certificate.capacity_bits - certificate.log2_ball,
        "refuted": certificate.refutes(wire_bits),
    }
    if instance == "sums":
        rate, expected, slack = _compare(keys.rows.astype(np.float64), wrong.reshape(pairs, CHANNELS))
        return {**measured, "error_rate": rate, "expected_error_rate": expected, "slack": slack}
    if instance == "recall":
        recent = RECENT.get(parameters["family"], 1)
        measured["recent_errors"] = int(wrong[-recent:].sum())
        measured["slots_taken"] = len(np.unique(keys.rows.argmax(axis=1)))
    return measured


def _compare(keys: NDArray[np.float64], wrong: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Return the measured rate of errors, what theory says, and how far they may lie apart.

    Channels are independent given the keys: an empirical Bernstein bound (Maurer and Pontil 2009) over them.
    """
    products = keys @ keys.T
    np.fill_diagonal(products, 0)
    rates = wrong.mean(axis=0)
    log = math.log(4 / FALSE_ALARM)
    slack = math.sqrt(2 * rates.var(ddof=1) * log / len(rates)) + 7 * log / (3 * (len(rates) - 1))
    return float(rates.mean()), float(sign_errors(products).mean()), slack


def judge(records: Sequence[Record]) -> list[Check]:
    """Check Theorem A on every row, and each family's own law on its rows."""
    refuted = [r.parameters["cache"] for r in records if r.measured["refuted"]]
    shares = _shares(records)
    checks = [Check(CARRIES, not refuted, {"plays": len(records), "recalled_share_of_wire": shares})]
    sums = [r.measured for r in where(records, instance="sums")]
    if sums:
        apart = [abs(row["error_rate"] - row["expected_error_rate"]) for row in sums]
        near = [found <= row["slack"] for found, row in zip(apart, sums, strict=True)]
        evidence = {"measured": [row["error_rate"] for row in sums], "false_alarm": FALSE_ALARM,
                    "expected": [row["expected_error_rate"] for row in sums]}  # fmt: skip
        checks.append(Check(SUPERPOSED, all(near), evidence))
    recalled = where(records, instance="recall")
    slotted = [r.measured for r in where(recalled, family="selective-ssm")]
    if slotted:
        beyond = [row["symbols"] - row["errors"] - row["slots_taken"] for row in slotted]
        lost = sum(row["symbols"] - row["slots_taken"] for row in slotted)
        inside = min(beyond) >= 0 and sum(beyond) <= _most_lucky(lost, 2.0**-WIDTH)
        checks.append(Check(SLOTTED, inside, {"words_beyond_slots": sum(beyond), "overwritten": lost}))
    recent = [r for r in recalled if r.parameters["family"] in RECENT]
    if recent:
        missed = {r.parameters["cache"]: r.measured["recent_errors"] for r in recent}
        errors = sum(r.measured["recent_errors"] for r in recent)
        checks.append(
            Check(NEWEST, errors == 0, {"plays": len(recent), "families": sorted(missed), "errors": errors})
        )
    tables = where(records, instance="table")
    if tables:
        reached = all(_reaches(r) for r in tables)
        share = {r.parameters["cache"]: r.measured["recalled_bits"] / r.measured["wire_bits"] for r in tables}
        checks.append(Check(REACHED, reached, {"recalled_share_of_wire": share}))
    return checks


def _reaches(record: Record) -> bool:
    """Return whether a table is free of error and takes no more than its numbers and a header."""
    p, row = record.parameters, record.measured
    numbers = TABLES[p["family"]] * FORMAT_BITS[p["dtype"]] * row["symbols"]
    return bool(row["errors"] == 0 and row["wire_bits"] <= numbers + HEADER_BITS)


def _most_lucky(words: int, chance: float) -> float:
    """Return how many of so many overwritten words are right by chance, but for the false alarm (Bernstein)."""
    log = math.log(1 / FALSE_ALARM)
    return words * chance + math.sqrt(2 * words * chance * log + log**2 / 9) + log / 3


def _shares(records: Sequence[Record]) -> dict[str, float]:
    """Return for each family the largest recalled share of the wire."""
    shares: dict[str, float] = {}
    for record in records:
        row, family = record.measured, record.parameters["family"]
        shares[family] = max(shares.get(family, 0.0), row["recalled_bits"] / row["wire_bits"])
    return shares


LOOKS = dict(zip((*STATES, *OTHERS), zip("os^DPvXxd+*", [0, 4, 1, 2, 3, 5, 6, 7, 7, 7, 7], strict=True),
                 strict=True))  # fmt: skip


def draw(records: Sequence[Record]) -> Figure:
    """Draw what each state recalls over its bits, and associative recall at one size of state."""
    figure, (plane, recall) = new_figure(2, width=5.4, height=4.4)
    _draw_plane(plane, records)
    _draw_recall(recall, where(records, instance="recall", dim=64))
    return figure


def _draw_plane(axes: Axes, records: Sequence[Record]) -> None:
    """Draw the bits that come back over the bits that crossed."""
    ramp = np.geomspace(1e2, 1e8, 100)
    shade_impossible(axes, ramp, ramp, 1e9)
    axes.plot(ramp, ramp, color=THEORY, linewidth=1)
    for cache, (marker, colour) in LOOKS.items():
        by_dim = grouped(where(records, instance="recall", cache=cache), "dim").values()
        best = [max((r.measured["recalled_bits"], r.measured["wire_bits"]) for r in rows) for rows in by_dim]
        recalled, wire = zip(*best, strict=True)
        axes.plot(wire, recalled, marker + "-", color=COLOURS[colour], linewidth=0.7, markersize=5.5,
                  markerfacecolor="none", label=(STATES | OTHERS)[cache])  # fmt: skip
    for cache in TABLES:
        marker, colour = LOOKS[cache]
        rows = [r.measured for r in where(records, instance="table", family=cache)]
        axes.plot([row["wire_bits"] for row in rows], [row["recalled_bits"] for row in rows], marker,
                  color=COLOURS[colour], markersize=5.5)  # fmt: skip
    axes.plot([], [], "o", color="#777777", label="filled: table of levels,\northogonal keys")
    axes.set(
        xscale="log", yscale="log", xlim=(6e2, 3e6), ylim=(30, 3e5),
        xlabel="bits of the state on the wire", ylabel="bits recalled",
        title="a   Recall takes state",
    )  # fmt: skip
    closed(axes, 800, 9e4, "closed to\nevery state", va="top")
    axes.legend(loc="lower right", fontsize=7, borderaxespad=0.2)


def _draw_recall(axes: Axes, records: Sequence[Record]) -> None:
    """Draw the share of words recalled over their number."""
    for cache, (marker, colour) in LOOKS.items():
        if cache == "bitpack":
            continue
        pairs, right, wire = series(where(records, cache=cache), "pairs", accuracy, "wire_bits")
        axes.plot(pairs, right, marker + "-", color=COLOURS[colour], linewidth=0.9, markerfacecolor="none",
                  label=f"{(STATES | OTHERS)[cache]}: {wire[-1] / 1000:.0f}")  # fmt: skip
    axes.set(
        xscale="log", xlabel="pairs of a key and a word of 12 bits", ylabel="words recalled", ylim=(-0.02, 1.04),
        title="b   64 dimensions: slots recall more than sums",
    )  # fmt: skip
    ticks(axes, sorted({r.parameters["pairs"] for r in records}))
    axes.legend(loc="lower left", fontsize=7, title="kilobits at the most pairs", title_fontsize=7)


CLAIM = Claim(
    id="recall-takes-state",
    title="No recurrent state recalls more than its bits, and most families far less",
    source="Theory 14, ours, on arXiv:2312.04927 (MQAR) and arXiv:2402.01032",
    statement=(
        "A state of B bits recalls at most B + 64 + t bits, wrong with probability 2^−t, whatever its recurrence. "
        "Linear attention errs like a sum of random signs; slots recall the words that were not overwritten; the "
        "delta rule, slots and windows recall the newest; a table with orthogonal keys and levels recalls 7 to 10 "
        "of 16 or 20 of 32 bits a number."
    ),
    theory="14",
    checks=(CARRIES, SUPERPOSED, SLOTTED, NEWEST, REACHED),
    cells=grid,
    measure=measure,
    judge=judge,
    draw=draw,
    controls=(
        Control("state outside the bytes", CARRIES, [_cell("recall", LEAKING, 64, 256)]),
        Control(
            "the delta rule as a sum",
            SUPERPOSED,
            [_cell("sums", "delta-net", 64, 128, family="linear-attention")],
        ),
        # Words in one slot add up.
        Control(
            "slots that forget nothing",
            SLOTTED,
            [_cell("recall", "selective-ssm:forget=nothing", 64, 128, family="selective-ssm")],
        ),
        Control(
            "linear attention as the delta rule",
            NEWEST,
            [_cell("recall", "linear-attention", 32, 128, family="delta-net")],
        ),
        Control(
            "a table with random keys",
            REACHED,
            [_cell("table", "linear-attention", TABLE_ROWS, TABLE_ROWS, dtype="float32", keys="gaussian")],
        ),
    ),
)

if __name__ == "__main__":
    run_alone(CLAIM)
