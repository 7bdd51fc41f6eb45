"""All n queries take about n^1.5 score evaluations at k = √n (theory 9); seconds are the benchmark's business."""

from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from kvfloor.attention import softmax_attention
from kvfloor.attention.knn import (
    CellIndex,
    ExactIndex,
    Inputs,
    KeyIndex,
    Near,
    knn_attention,
    recall,
    truncated_attention,
)
from kvfloor.experiments.claims import run_alone
from kvfloor.experiments.drawing.style import COLOURS, THEORY, Figure, new_figure
from kvfloor.experiments.engine.store import Record
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.experiments.judging.claim import Cell, Check, Claim, Control, Scale, cells
from kvfloor.experiments.judging.rows import where
from kvfloor.experiments.judging.scaling import fitted_exponent

GROWTH = "score evaluations for all n queries grow as n^1.5"
CLOSER = "a weighted tail errs less than attention cut off at k"

FALSE_ALARM = 1e-6
DIM, VALUE_DIM = 32, 4
QUERY_NORM = 6.0
VISITED = 2
COMPARED = 256  # queries that are also answered exactly
KEYS = ("random", "clustered")


def grid(scale: Scale) -> list[Cell]:
    """Return squares n = r^2, so that k = r exactly, and for scale a few searched exactly."""
    roots = [32, 48, 64, 96, 128] if scale == "quick" else [32, 48, 64, 96, 128, 192, 256, 362]
    found = cells(keys=KEYS, index="cells", root=roots, blocks=3)
    return found + cells(keys="random", index="exact", root=roots[:4])


class Measured(TypedDict):
    """Probes and errors of one index."""

    probes: int
    build_probes: int
    rms_error: float
    rms_error_cut_off: float
    recall: float


def measure(parameters: dict[str, Any], randomness: Randomness) -> Measured:
    """Answer n queries over n tokens, counting score evaluations; compare some with exact attention."""
    rng, root, fault = randomness.secret(), parameters["root"], parameters.get("fault")
    queries, keys, values = _instance(parameters["keys"], root, randomness.keys())
    exact_search = parameters["index"] == "exact" or fault == "exact"
    index: KeyIndex = ExactIndex(keys) if exact_search else CellIndex(keys, rng, visited=VISITED)
    near = Near(root, index)
    answer = knn_attention(Inputs(queries, keys, values), near, root, rng)
    some = queries[:COMPARED]
    exact = softmax_attention(some, keys, values)
    cut = truncated_attention(Inputs(some, keys, values), near).outputs
    outputs = cut if fault == "cut off" else answer.outputs[:COMPARED]
    return {
        "probes": int(answer.probes.sum()) + index.build_probes,
        "build_probes": index.build_probes,
        "rms_error": float(np.sqrt(((outputs - exact) ** 2).mean())),
        "rms_error_cut_off": float(np.sqrt(((cut - exact) ** 2).mean())),
        "recall": recall(index, some, root),
    }


def _instance(kind: str, root: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], ...]:
    """Return n = root^2 queries, unit keys and 0/1 values that follow the keys."""
    tokens = root**2
    keys = rng.normal(size=(tokens, DIM))
    if kind == "clustered":
        keys = rng.normal(size=(root, DIM))[rng.integers(root, size=tokens)] + 0.3 * keys
    keys /= np.linalg.norm(keys, axis=1, keepdims=True)
    queries = keys[rng.permutation(tokens)] + 0.5 * rng.normal(size=(tokens, DIM)) / DIM**0.5
    queries *= QUERY_NORM / np.linalg.norm(queries, axis=1, keepdims=True)
    values = keys @ rng.normal(size=(DIM, VALUE_DIM)) > 0
    return queries.astype(np.float32), keys.astype(np.float32), values.astype(np.float32)


def judge(records: Sequence[Record]) -> list[Check]:
    """Fit the exponent for each kind of keys, and compare errors instance by instance (sign test)."""
    found = where(records, index="cells")
    kinds = sorted({r.parameters["keys"] for r in found})
    checks, fits = [], {}
    for kind in kinds:
        rows = where(found, keys=kind)
        tokens = [r.parameters["root"] ** 2 for r in rows]
        if len(set(tokens)) > 2:
            probes = [r.measured["probes"] for r in rows]
            fits[kind] = fitted_exponent(tokens, probes, FALSE_ALARM / len(kinds))
    if fits:
        # Nearer to 1.5 than to 1 or 2: cells are not quite of equal size, so that lower orders drift a little.
        passed = all(low > 1.25 and high < 1.75 for _, low, high in fits.values())
        shown = {kind: {"exponent": fit, "interval": [low, high]} for kind, (fit, low, high) in fits.items()}
        checks.append(Check(GROWTH, passed, {**shown, "false_alarm": FALSE_ALARM}))
    if found:
        wins = sum(r.measured["rms_error"] < r.measured["rms_error_cut_off"] for r in found)
        chance = float(stats.binom.sf(wins - 1, len(found), 0.5))  # of so many wins if neither were better
        recalls = {kind: min(r.measured["recall"] for r in where(found, keys=kind)) for kind in kinds}
        counts = {"instances": len(found), "closer": wins, "chance": chance, "least_recall": recalls}
        checks.append(Check(CLOSER, chance <= FALSE_ALARM, counts))
    return checks


def draw(records: Sequence[Record]) -> Figure:
    """Draw score evaluations and errors over n."""
    figure, (work, error) = new_figure(2, width=4.6, height=3.7)
    looks = {("random", "cells"): ("o", COLOURS[0]), ("clustered", "cells"): ("s", COLOURS[1]),
             ("random", "exact"): ("D", COLOURS[6])}  # fmt: skip
    roots = [r.parameters["root"] for r in records]
    tokens = np.geomspace(min(roots), max(roots), 50) ** 2
    work.plot(tokens, tokens**2, ":", color=THEORY, linewidth=1.2, label="$n^2$")
    work.plot(tokens, 8 * tokens**1.5, "--", color=THEORY, linewidth=1.2, label="$8\\,n^{1.5}$")
    for (kind, index), (marker, colour) in looks.items():
        rows = where(records, keys=kind, index=index)
        sizes = [r.parameters["root"] ** 2 for r in rows]
        hollow = {"color": colour, "markerfacecolor": "none"}
        name = f"{kind} keys, {'exact search' if index == 'exact' else 'cells'}"
        work.plot(sizes, [r.measured["probes"] for r in rows], marker, **hollow, label=name)
        if index == "cells":
            cut = [r.measured["rms_error_cut_off"] for r in rows]
            error.plot(sizes, cut, marker, color=colour, label=f"{kind} keys, cut off at k")
            tail = [r.measured["rms_error"] for r in rows]
            error.plot(sizes, tail, marker, **hollow, label=f"{kind} keys, weighted tail")
    work.set(xscale="log", yscale="log", xlabel="tokens n", ylabel="score evaluations, index built and n queries",
             title="a   Work at k = √n: the index and all queries")  # fmt: skip
    error.set(xscale="log", yscale="log", ylim=(0.01, 1.2), xlabel="tokens n", ylabel="root mean squared error",
              title="b   Error of the answers from cells")  # fmt: skip
    for axes in (work, error):
        axes.legend(loc="upper left", fontsize=7.5)
    return figure


CLAIM = Claim(
    id="knn-time",
    title="kNN attention takes n^1.5 score evaluations for n queries",
    source="Haris, arXiv:2411.04013",
    statement=(
        "With √n near tokens from cells and √n of the rest, the score evaluations for all n queries and the index "
        "grow as n^1.5, on random and on clustered keys; a weighted tail makes good what cells miss."
    ),
    theory="9",
    checks=(GROWTH, CLOSER),
    cells=grid,
    measure=measure,
    judge=judge,
    draw=draw,
    controls=(
        Control(
            "every key scored",
            GROWTH,
            cells(keys="random", index="cells", root=[32, 48, 64], blocks=2, fault="exact"),
        ),
        Control(
            "no tail",
            CLOSER,
            cells(keys=KEYS, index="cells", root=[32, 48, 64, 96], blocks=3, fault="cut off"),
        ),
    ),
)

if __name__ == "__main__":
    run_alone(CLAIM)
