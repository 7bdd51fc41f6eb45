"""SubGen in low dimension: a constant number of bits answers a stream of any length (theory 4)."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar, TypedDict

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches import CacheSpec, Coins, resolve
from kvfloor.attention.caches.subgen.reservoirs import ValueSlots
from kvfloor.attention.caches.subgen.subgen import SubGen
from kvfloor.experiments.claims import run_alone
from kvfloor.experiments.claims.low_dimension.streams import (
    ACCURACY,
    DELTA,
    QUERY_NORM,
    VALUE_DIM,
    S,
    T,
    clusters_of,
    draw_queries,
    draw_tokens,
    relative_errors,
)
from kvfloor.experiments.drawing.panels import closed, ticks
from kvfloor.experiments.drawing.style import COLOURS, THEORY, Axes, Figure, new_figure, shade_impossible
from kvfloor.experiments.engine.store import Record
from kvfloor.experiments.game.hosts.numpy_caches import write
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.experiments.judging.claim import Cell, Check, Claim, Control, Scale
from kvfloor.experiments.judging.rows import where
from kvfloor.reductions.encodings.protocol import Tokens
from kvfloor.reductions.keys.kissing import KISSING
from kvfloor.reductions.keys.packing_numbers import cap_area, packing_bound
from kvfloor.reductions.keys.projections import gaussian_keys

GUARANTEE = "every answer is within ε |softmax|₂ |V|_op"
ALLOWED = "theory allows an exception with probability at most 1e-6"
FLAT = "wire bits stay below a constant, however long the stream"
COVERING = "clusters grow with the dimension as the covering number"

ETA = 0.5
COARSE = 0.5  # radius of the clusters that are counted over dimensions
FALSE_ALARM = 1e-6


class UniformValueSlots(ValueSlots):
    """Draws every token alike, whatever its value."""

    @staticmethod
    def _weights(values: NDArray[Any]) -> NDArray[np.float64]:
        return np.ones(len(values))


class UniformValues(SubGen):
    """SubGen that draws value slots uniformly and weighs them as if by |v|^2."""

    value_sampling: ClassVar[type[ValueSlots]] = UniformValueSlots


def grid(scale: Scale) -> list[Cell]:
    """Return streams over dimensions, and key sets to count clusters of."""
    full = scale == "full"
    longest = {2: 20, 3: 20, 4: 20} if full else {2: 18, 3: 18, 4: 16}
    streams = [_stream(dim, [1 << k for k in range(4, power + 1, 2)]) for dim, power in longest.items()]
    counted = [_counted(dim, 1 << (17 if full else 14)) for dim in range(2, 9 if full else 8)]
    return [*streams, *counted]


def _stream(dim: int, lengths: list[int], **change: Any) -> Cell:
    """Return one stream, answered after each of these lengths."""
    cell = {"kind": "stream", "dim": dim, "lengths": lengths, "cache": "subgen", "delta": DELTA}
    return {**cell, "cluster_slots": T, "value_slots": S, **change}


def _counted(dim: int, tokens: int, delta: float = COARSE) -> Cell:
    """Return uniform keys of which the clusters are counted."""
    return {"kind": "count", "dim": dim, "tokens": tokens, "cache": "subgen", "delta": delta}


class Streamed(TypedDict):
    """Size and error after each of the lengths."""

    wire_bits: list[int]
    clusters: list[int]
    worst: list[float]
    median: list[float]
    failure: list[float]


class Counted(TypedDict):
    """Clusters after half of the keys and after all."""

    clusters: tuple[int, int]


def measure(parameters: dict[str, Any], randomness: Randomness) -> Streamed | Counted:
    """Stream tokens through the cache, and ask what crossed the wire."""
    kind = _measure_stream if parameters["kind"] == "stream" else _measure_count
    return kind(parameters, randomness)


def _measure_stream(parameters: dict[str, Any], randomness: Randomness) -> Streamed:
    """Return size and error of the cache after each of the lengths."""
    dim, lengths, rng = parameters["dim"], parameters["lengths"], randomness.keys()
    tokens = draw_tokens(lengths[-1], dim, rng)
    tokens.keys[:] *= (1 + parameters.get("drift", 0.0) * np.arange(len(tokens)))[:, None]
    queries = draw_queries(dim, rng)
    spec, coins = _spec(parameters), Coins(randomness.coins_seed())
    cache, rows, start = spec.make(dim, VALUE_DIM, coins), [], 0
    for length in lengths:
        payload = write(cache, Tokens(tokens.keys[start:length], tokens.values[start:length]))
        start = length
        restored = spec.restore(payload, dim, VALUE_DIM, coins)
        prefix = Tokens(tokens.keys[:length], tokens.values[:length])
        errors, tails = relative_errors(restored, prefix, queries, parameters)
        rows.append([8 * len(payload), clusters_of(payload), errors.max(), np.median(errors), tails.sum()])
    bits, clusters, *shares = map(list, zip(*rows, strict=True))
    worst, median, failure = np.array(shares).tolist()
    return {"wire_bits": bits, "clusters": clusters, "worst": worst, "median": median, "failure": failure}


def _measure_count(parameters: dict[str, Any], randomness: Randomness) -> Counted:
    """Return how many clusters uniform unit keys make, after half of them and after all."""
    dim, tokens = parameters["dim"], parameters["tokens"]
    keys = gaussian_keys(tokens, dim, randomness.keys(), dtype=np.float32)
    spec = _spec({**parameters, "cluster_slots": 1, "value_slots": 1})
    cache = spec.make(dim, 1, Coins(randomness.coins_seed()))
    half, whole = (
        clusters_of(write(cache, Tokens(half, np.ones((len(half), 1)))))
        for half in np.split(keys, [tokens // 2])
    )
    return {"clusters": (half, whole)}


def _spec(parameters: dict[str, Any]) -> CacheSpec:
    """Return the cache of a cell."""
    slots = {name: parameters[name] for name in ("delta", "cluster_slots", "value_slots")}
    return resolve(f"{parameters['cache']}:" + ",".join(f"{name}={value}" for name, value in slots.items()))


def most_clusters(dim: int) -> int:
    """Return how many clusters of a stream there can be: disjoint caps in an enlarged one, and the needles'."""
    half = math.asin(DELTA / 2)  # representatives are more than 2 half apart
    return int(cap_area(dim, math.cos(math.pi / 3 + half)) / cap_area(dim, math.cos(half))) + 1


def most_bits(dim: int) -> int:
    """Return what no payload of such a stream exceeds: its floats, 64 bits a count, and its frame."""
    clusters = most_clusters(dim)
    floats = clusters * dim * (1 + T) + S * (dim + VALUE_DIM + 2) + 2
    return 32 * floats + 64 * clusters + 8 * 1024


def floor_bits(tokens: int, dim: int) -> int:
    """Return d_v min(n, P(d, eps)), the floor of INDEX at the same query norm, for the best eps (theory 4)."""
    best = 1
    for incoherence in np.linspace(0, 0.99, 100):
        packed = math.ceil(packing_bound(dim, incoherence))
        reach = math.exp(QUERY_NORM * (1 - incoherence)) * (1 - ETA) / (1 + ETA)
        best = max(best, min(packed, int((reach + 1) / 2)))  # 2P - 1 < reach
    return VALUE_DIM * min(tokens, best)


def judge(records: Sequence[Record]) -> list[Check]:
    """Check the streams and the counts of clusters, each if there are any."""
    streams, counts = (where(records, kind=kind) for kind in ("stream", "count"))
    checks = []
    if streams:
        worst = max(max(r.measured["worst"]) for r in streams)
        typical = float(np.median([r.measured["median"][-1] for r in streams]))
        evidence = {"worst": worst, "typical": typical, "ε": ACCURACY, "cluster_slots": T, "value_slots": S}
        checks.append(Check(GUARANTEE, worst <= ACCURACY, evidence))
        failure = sum(sum(r.measured["failure"]) for r in streams)
        checks.append(Check(ALLOWED, failure <= FALSE_ALARM, {"probability": failure}))
        sizes = [_sizes(r) for r in streams]
        fits = [s["wire_bits"] <= s["constant"] and s["clusters"] <= s["at_most"] for s in sizes]
        checks.append(Check(FLAT, all(fits), {"streams": sizes}))
    if counts:
        found = [_bracket(r, FALSE_ALARM / len(counts)) for r in counts]
        inside = [row["at_least"] <= row["clusters"] <= row["at_most"] for row in found]
        checks.append(Check(COVERING, all(inside), {"dimensions": found}))
    return checks


def _sizes(record: Record) -> dict[str, Any]:
    """Return what a stream's longest prefix took, and what none may exceed."""
    dim = record.parameters["dim"]
    return {"dim": dim, "wire_bits": max(record.measured["wire_bits"]), "constant": most_bits(dim),
            "clusters": max(record.measured["clusters"]), "at_most": most_clusters(dim)}  # fmt: skip


def _bracket(record: Record, failure: float) -> dict[str, Any]:
    """Return the covering numbers that clusters must lie between.

    The mass that no cluster covers only falls, and a key opens one with just this probability. So with
    probability 1 - p the mass times the keys of the second half is at most (opened + ln 1/p)/(1 - 1/e).
    """
    dim, tokens = record.parameters["dim"], record.parameters["tokens"]
    half, whole = record.measured["clusters"]
    uncovered = (whole - half - math.log(failure)) / (1 - math.exp(-1)) / (tokens - tokens // 2)
    least = max(0.0, 1 - uncovered) / cap_area(dim, 1 - COARSE**2 / 2)
    return {"dim": dim, "clusters": whole, "at_least": least, "at_most": (1 + 2 / COARSE) ** dim,
            "uncovered_mass_at_most": uncovered}  # fmt: skip


def draw(records: Sequence[Record]) -> Figure:
    """Draw wire bits over the length of the stream beside the floor, and clusters over the dimension."""
    figure, (left, right) = new_figure(2, width=5.0, height=3.9)
    _draw_bits(left, where(records, kind="stream"))
    _draw_clusters(right, where(records, kind="count"))
    return figure


def _draw_bits(axes: Axes, streams: Sequence[Record]) -> None:
    """Draw a curve for each dimension, the dense cache and the floor."""
    lengths = np.array(max((r.parameters["lengths"] for r in streams), key=len))
    for record, marker, colour in zip(streams, "osD", COLOURS, strict=False):
        asked, bits = record.parameters["lengths"], record.measured["wire_bits"]
        axes.plot(asked, bits, marker=marker, color=colour, label=f"SubGen, d = {record.parameters['dim']}")
    widest = max(r.parameters["dim"] for r in streams)
    axes.plot(lengths, 32 * lengths * (widest + VALUE_DIM), "--", color=COLOURS[6],
              label=f"every token in float32, d = {widest}")  # fmt: skip
    floors = [floor_bits(int(n), widest) for n in lengths]
    axes.plot(lengths, floors, color=THEORY, label=f"floor of INDEX, d = {widest}")
    shade_impossible(axes, lengths, 1, floors)
    closed(axes, lengths[-1] / 1.3, 2, ha="right", va="center")
    axes.set(xscale="log", yscale="log", xlim=(lengths[0] / 1.3, lengths[-1] * 1.3), ylim=(1, 1e11),
             xlabel="tokens n", ylabel="bits on the wire",
             title=f"a   SubGen's bits flatten: |q| ≤ {QUERY_NORM:g}, ε = {ACCURACY:g}")  # fmt: skip
    ticks(axes, lengths[::2], "{:,}")
    axes.legend(loc="upper left", ncols=2, columnspacing=1.0)


def _draw_clusters(axes: Axes, counts: Sequence[Record]) -> None:
    """Draw clusters between the covering numbers."""
    dims = [r.parameters["dim"] for r in counts]
    brackets = [_bracket(r, FALSE_ALARM / len(counts)) for r in counts]
    axes.plot(dims, [b["at_most"] for b in brackets], "--", color=THEORY, label="(1 + 2R/δ)$^d$")
    axes.plot(dims, [b["clusters"] for b in brackets], "o", color=COLOURS[1], markersize=6, label="clusters")
    axes.plot(dims, [b["at_least"] for b in brackets], color=THEORY, label="mass covered / area of a cap")
    bound = [packing_bound(dim, 0.5) for dim in dims]
    axes.plot(dims, bound, ":", color=THEORY, label="1 / area of a 60° cap, at most P(d, 1/2)")
    known = sorted((k.dim, k.size) for k in KISSING.values() if k.dim in dims)
    axes.plot(*zip(*known, strict=True), "D", color=COLOURS[0], label="P(d, 1/2): kissing numbers")
    tokens = counts[0].parameters["tokens"]
    axes.set(yscale="log", xlabel="key dimension d", ylabel="clusters m",
             title=f"b   Clusters of unit keys, δ = R/2, n = {tokens:,}")  # fmt: skip
    axes.set_xticks(dims)
    axes.legend(loc="upper left")


CLAIM = Claim(
    id="subgen-low-dimension",
    title="In low dimension SubGen answers streams of any length with a constant number of bits",
    source="SubGen (arXiv:2402.06082); constants and tail bounds are ours",
    statement=(
        "With t and s of Bernstein's inequality every query of norm at most r is answered within "
        "ε |softmax|₂ |V|_op after a round trip by bytes; at fixed dimension the wire bits stay below a constant, and clusters lie between two covering numbers e^Θ(d)."
    ),
    theory="4",
    checks=(GUARANTEE, ALLOWED, FLAT, COVERING),
    cells=grid,
    measure=measure,
    judge=judge,
    draw=draw,
    controls=(
        # With the slots of small ones most runs miss the needles.
        Control("all keys in one cluster", GUARANTEE, [_stream(2, [4096], delta=2.0, blocks=24)]),
        Control(
            "value slots drawn uniformly, weighed as if by |v|²",
            GUARANTEE,
            [_stream(2, [4096], cache=f"{__name__}:UniformValues")],
        ),
        Control(
            "a tenth of the slots", ALLOWED, [_stream(2, [4096], cluster_slots=T // 10, value_slots=S // 10)]
        ),
        Control("keys that leave the ball", FLAT, [_stream(2, [1024], drift=0.01)]),
        Control("clusters a thousandth as wide as stated", COVERING, [_counted(2, 1024, COARSE / 1000)]),
    ),
)

if __name__ == "__main__":
    run_alone(CLAIM)
