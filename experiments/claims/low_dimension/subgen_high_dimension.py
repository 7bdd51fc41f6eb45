"""SubGen in high dimension: every token is its own cluster, and nothing is saved (theory 4)."""

from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np

from kvfloor.attention.caches import Coins, resolve
from kvfloor.experiments.claims import run_alone
from kvfloor.experiments.claims.low_dimension.streams import clusters_of
from kvfloor.experiments.drawing.panels import ticks
from kvfloor.experiments.drawing.style import COLOURS, THEORY, Figure, new_figure
from kvfloor.experiments.engine.store import Record
from kvfloor.experiments.game.hosts.numpy_caches import write
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.experiments.judging.claim import Cell, Check, Claim, Control, Scale
from kvfloor.experiments.judging.rows import series, where
from kvfloor.reductions.encodings.protocol import Tokens
from kvfloor.reductions.keys.incoherence import dim_needed, incoherence
from kvfloor.reductions.keys.projections import gaussian_keys

APART = "keys whose incoherence is below 1 − δ²/2 are a cluster each"
ALONE = "from the dimension of the JL lemma on, every token is its own cluster"
UNSAVED = "there SubGen takes no fewer bits than the dense cache"

FALSE_ALARM = 1e-6
DELTA = 1.0  # as wide as the ball: e^(2 δ |q|) slots a cluster would be needed for accuracy
INCOHERENCE = 1 - DELTA**2 / 2


def grid(scale: Scale) -> list[Cell]:
    """Return JL keys over numbers of tokens and dimensions, the proved dimension included."""
    lengths = (256, 1024, 2048) if scale == "quick" else (256, 1024, 4096, 16384)
    dims = (2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
    return [
        {"tokens": tokens, "dim": dim, "rank": dim}
        for tokens in lengths
        for dim in (*dims, proved_dim(tokens))
    ]


def proved_dim(tokens: int) -> int:
    """Return a dimension in which the keys of all rows are apart, up to the false alarm."""
    return dim_needed(tokens, INCOHERENCE, FALSE_ALARM / 8)


class Measured(TypedDict):
    """What SubGen takes, beside the dense cache."""

    clusters: int
    wire_bits: int
    dense_bits: int
    incoherence: float


def measure(parameters: dict[str, Any], randomness: Randomness) -> Measured:
    """Return the clusters and bits of the least SubGen there is, with one slot of each kind, and dense bits."""
    tokens, dim, rank = parameters["tokens"], parameters["dim"], parameters["rank"]
    rng = randomness.keys()
    keys = gaussian_keys(tokens, rank, rng, dtype=np.float32)
    if rank < dim:
        keys = (keys @ np.linalg.qr(rng.standard_normal((dim, rank)))[0].T).astype(np.float32)
    stream = Tokens(keys, randomness.secret().integers(0, 2, (tokens, dim)).astype(np.float32))
    coins = Coins(randomness.coins_seed())
    delta = parameters.get("delta", DELTA)
    subgen = resolve(f"subgen:delta={delta},cluster_slots=1,value_slots=1")
    payload = write(subgen.make(dim, dim, coins), stream)
    dense = write(resolve("dense:dtype=float32").make(dim, dim, coins), stream)
    return {
        "clusters": clusters_of(payload),
        "wire_bits": 8 * len(payload),
        "dense_bits": 8 * len(dense),
        "incoherence": incoherence(keys),
    }


def judge(records: Sequence[Record]) -> list[Check]:
    """Check rows whose keys are apart, and those that must be by the JL lemma."""
    margin = 1e-6  # keys are unit to float32
    apart = [r for r in records if r.measured["incoherence"] < INCOHERENCE - margin]
    proved = [r for r in records if r.parameters["dim"] >= proved_dim(r.parameters["tokens"])]
    checks = []
    if apart:
        merged = [r.parameters for r in apart if r.measured["clusters"] < r.parameters["tokens"]]
        checks.append(Check(APART, not merged, {"rows": len(apart), "merged": merged}))
    if proved:
        shares = [r.measured["clusters"] / r.parameters["tokens"] for r in proved]
        largest = max(r.measured["incoherence"] for r in proved)
        checks.append(
            Check(ALONE, min(shares) == 1, {"least_clusters_per_token": min(shares), "incoherence": largest})
        )
        ratios = [r.measured["wire_bits"] / r.measured["dense_bits"] for r in proved]
        checks.append(Check(UNSAVED, min(ratios) >= 1, {"least_bits_over_dense": min(ratios)}))
    return checks


def draw(records: Sequence[Record]) -> Figure:
    """Draw clusters a token and bits relative to the dense cache over the dimension."""
    figure, (left, right) = new_figure(2, width=4.8, height=3.5)
    lengths = sorted({r.parameters["tokens"] for r in records})
    for tokens, marker, colour in zip(lengths, "osD^", COLOURS, strict=False):
        columns = series(where(records, tokens=tokens), "dim", "clusters", "wire_bits", "dense_bits")
        dims, *counts = (np.array(column) for column in columns)
        clusters, bits = counts[0] / tokens, counts[1] / counts[2]
        left.plot(dims, clusters, marker=marker, color=colour, label=f"n = {tokens:,}")
        right.plot(dims, bits, marker=marker, color=colour, label=f"n = {tokens:,}")
        for axes in (left, right):
            axes.axvline(proved_dim(tokens), color=colour, linewidth=0.9, linestyle=":")
    left.plot([], [], ":", color=THEORY, label="m = n is proved")
    right.axhline(1, color=THEORY, linewidth=1.2, label="dense cache, float32")
    left.set(ylabel="clusters a token, m / n", title="a   Clusters of JL keys, δ = 1")
    right.set(ylabel="wire bits over the dense cache's", title="b   SubGen with one slot of each kind")
    for axes in (left, right):
        axes.set(xscale="log", xlabel="key dimension d = $d_v$")
        ticks(axes, [2, 4, 8, 16, 32, 64, 128, 256])
        axes.set_ylim(0, 1.12)
        axes.legend(loc="upper left", bbox_to_anchor=(0.0, 0.88))
    return figure


CLAIM = Claim(
    id="subgen-high-dimension",
    title="In high dimension every token is a cluster of its own, and SubGen saves nothing",
    source="Compression barriers (arXiv:2502.15955) against SubGen (arXiv:2402.06082)",
    statement=(
        "On JL keys of dimension d ≫ log n SubGen has m = n clusters even with δ as large as the ball's radius, and "
        "with a single slot of each kind it takes no fewer bits than the dense cache with d = d_v."
    ),
    theory="4",
    checks=(APART, ALONE, UNSAVED),
    cells=grid,
    measure=measure,
    judge=judge,
    draw=draw,
    controls=(
        Control(
            "clusters twice as wide as stated",
            APART,
            [{"tokens": 256, "dim": 128, "rank": 128, "delta": 2 * DELTA}],
        ),
        Control(
            "keys of four dimensions presented as JL keys: clusters",
            ALONE,
            [{"tokens": 1024, "dim": proved_dim(1024), "rank": 4}],
        ),
        Control(
            "keys of four dimensions presented as JL keys: bits",
            UNSAVED,
            [{"tokens": 1024, "dim": proved_dim(1024), "rank": 4}],
        ),
    ),
)

if __name__ == "__main__":
    run_alone(CLAIM)
