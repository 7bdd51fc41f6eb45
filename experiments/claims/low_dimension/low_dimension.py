"""In few dimensions the barrier is the packing number: d_v min(n, P) bits, P exponential in d (theory 4)."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kvfloor.experiments.claims import run_alone
from kvfloor.experiments.drawing.panels import closed
from kvfloor.experiments.drawing.style import COLOURS, THEORY, Axes, Figure, new_figure, shade_impossible
from kvfloor.experiments.engine.store import Record
from kvfloor.experiments.game.cheats import LEAKING
from kvfloor.experiments.game.measured import Certified, certified
from kvfloor.experiments.game.protocol import Asking, Transcript, play
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.experiments.judging.claim import Cell, Check, Claim, Control, Scale
from kvfloor.experiments.judging.plays import carries
from kvfloor.experiments.judging.rows import series, where
from kvfloor.reductions.accuracy import MARGIN_NATS, Accuracy
from kvfloor.reductions.checks import Floats
from kvfloor.reductions.encodings.streams.stretched import StretchedEncoding
from kvfloor.reductions.encodings.values import required_query_norm
from kvfloor.reductions.keys.incoherence import incoherence
from kvfloor.reductions.keys.kissing import KISSING
from kvfloor.reductions.keys.known import Keys
from kvfloor.reductions.keys.packing_numbers import packing_bound, packing_growth, packing_limit
from kvfloor.reductions.keys.packings import GREEDY_FAILURE, greedy_packing, orthoplex, simplex
from kvfloor.reductions.keys.projections import FloatType, gaussian_keys

DECODES = "every bit decodes under worst-case noise"
BOUNDED = "the query norm is bounded by P, ε and η, whatever n"
FLOOR = "d_v min(n, P) bits are certified, up to the certificate's slack"
CARRIES = "the wire carries more than is certified"
PACKED = "no two keys are closer than stated"
EXPONENTIAL = "packings are at least as large as the exponential formula and no larger than the limit"

ETAS = (0.0, 0.5, 0.9)
ETA = 0.5
KISSING_INCOHERENCE = 0.5
STREAMED = ("hexagon", "d4", "e8")
POSITIONS = {"quick": 4096, "full": 16_384}  # symbols asked of long streams of Leech's keys
LARGEST_WHOLE = 8192  # keys up to which every pair is multiplied
FAMILIES: dict[str, tuple[Callable[[int], Keys], Callable[[int], int]]] = {
    "orthoplex": (orthoplex, lambda dim: 2 * dim),
    "simplex": (simplex, lambda dim: dim + 1),
}
LABELS = {"hexagon": "hexagon", "d4": "D4", "e8": "E8", "leech": "Leech"}
SAMPLED_KEYS = 64  # beyond that, so many keys are multiplied with all others
GREEDY_DIMS = {"quick": range(2, 33, 2), "full": range(2, 41)}


def _cell(packing: str, dim: int, tokens: int | None = None, **other: Any) -> Cell:
    """Return one play, on as many tokens as the packing has unless a stream length is given."""
    plain = {"incoherence": KISSING_INCOHERENCE, "eta": ETA, "value_dim": 32, "cache": "dense:dtype=float64"}
    return {"packing": packing, "dim": dim, "tokens": tokens, **plain, **other}


def grid(scale: Scale) -> list[Cell]:
    """Return every packing at its own size, and streams shorter and longer than that."""
    known = [(name, kissing.dim, KISSING_INCOHERENCE) for name, kissing in KISSING.items() if name != "leech"]
    # Bob's key has product 0 with every other, so that a simplex is worth no more than that.
    known += [(name, dim, 0.0) for name in ("orthoplex", "simplex") for dim in (2, 8, 24)]
    rows = [_cell(name, dim, incoherence=eps, eta=eta) for name, dim, eps in known for eta in ETAS]
    rows += [_cell("greedy", dim) for dim in GREEDY_DIMS[scale]]
    rows += [_cell("greedy", dim, incoherence=eps) for eps in (0.2, 0.35, 0.7) for dim in (3, 6, 9)]
    for name in STREAMED:
        size, dim = KISSING[name].size, KISSING[name].dim
        lengths = {2**k for k in range(1, 13)} | {size - 1, size, size + 1, 2 * size - 1, 2 * size}
        rows += [_cell(name, dim, n, value_dim=512, cache="bitpack") for n in sorted(lengths)]
    return rows + _leech(scale)


def _leech(scale: Scale) -> list[Cell]:
    """Return streams of Leech's keys; long ones are answered in part, at full scale all pairs are multiplied."""
    size = KISSING["leech"].size
    long = {"cache": "bitpack", "value_dim": 16, "positions": POSITIONS[scale]}
    rows = [_cell("leech", 24, n, cache="bitpack", value_dim=64) for n in (16, 128, 1024)]
    rows += [_cell("leech", 24, n, **long) for n in (16_384, size)]
    if scale == "full":
        rows += [
            _cell("leech", 24, 2 * size, **long),
            _cell("leech", 24, 1024, cache="bitpack", all_pairs=True),
        ]
    return rows


class Measured(Certified):
    """A play over a packing."""

    asked: int
    keys: int
    largest_product: float
    query_norm: float


def measure(parameters: dict[str, Any], randomness: Randomness) -> Measured:
    """Play one instance against an adversary that moves every answer by up to eta."""
    rng = randomness.keys()
    keys = _keys(parameters, rng)
    encoding = _encoding(keys, parameters)
    transcript = play(
        encoding,
        parameters["cache"],
        randomness,
        eta=parameters["eta"],
        asking=Asking(parameters.get("positions")),
    )
    whole = len(keys) <= LARGEST_WHOLE or parameters.get("all_pairs", False)
    return {
        "keys": len(keys),
        "largest_product": incoherence(keys) if whole else _sampled_incoherence(keys, rng),
        "query_norm": encoding.query_norm,
        **certified(transcript),
        "asked": transcript.asked,
    }


def _keys(parameters: dict[str, Any], rng: np.random.Generator) -> Floats:
    """Return the packing's keys; Leech's in float32."""
    packing, dim = parameters.get("secret_packing", parameters["packing"]), parameters["dim"]
    if packing == "greedy":
        return greedy_packing(dim, parameters.get("secret_incoherence", parameters["incoherence"]), rng).rows
    if packing in FAMILIES:
        return FAMILIES[packing][0](dim).rows
    keys = KISSING[packing].keys(_dtype(packing)).rows
    if parameters.get("secret_half"):
        first = np.take_along_axis(keys, (keys != 0).argmax(axis=1)[:, np.newaxis], axis=1)[:, 0]
        return keys[first > 0]
    return np.concatenate(
        [keys, gaussian_keys(parameters.get("secret_extra", 0) + 1, dim, rng, keys.dtype.type)[1:]]
    )


def _encoding(keys: Floats, parameters: dict[str, Any]) -> StretchedEncoding:
    """Return the instance, at the guaranteed norm unless a control says otherwise."""
    known, accuracy = Keys(keys, parameters["incoherence"]), Accuracy(parameters["eta"])
    size = parameters["value_dim"], parameters["tokens"] or len(keys)
    share = parameters.get("secret_share")
    norm = None if share is None else share * StretchedEncoding.build(known, *size, accuracy).query_norm
    rest = parameters.get("secret_rest", "repeated")
    return StretchedEncoding.build(known, *size, accuracy, norm, rest)


def _sampled_incoherence(keys: Floats, rng: np.random.Generator) -> float:
    """Return the largest inner product of some keys with all others."""
    rows = np.arange(SAMPLED_KEYS)
    picked = rng.choice(len(keys), SAMPLED_KEYS, replace=False)
    products = keys[picked] @ keys.T
    products[rows, picked] = -1.0
    return float(products.max())


def judge(records: Sequence[Record]) -> list[Check]:
    """Check decoding, its price in query norm and bits, and the packings themselves."""
    if not records:
        return []
    plays = [(r.parameters, r.measured, _size(r)) for r in records]
    errors, asked = (sum(row[key] for _, row, _ in plays) for key in ("errors", "asked"))
    norm_excess = max(row["query_norm"] - _bounded_norm(p, size) for p, row, size in plays)
    missing = max(abs(_errorless_bits(p, row, size) - row["certified_bits"]) for p, row, size in plays)
    closest = max(row["largest_product"] - p["incoherence"] - _rounding(p) for p, row, _ in plays)
    numbers = {(p["dim"], p["incoherence"], row["keys"]) for p, row, _ in plays}
    outside = sorted(number for number in numbers if not _possible(*number))
    return [
        Check(DECODES, errors == 0, {"instances": len(plays), "bits_asked": asked, "errors": errors}),
        Check(BOUNDED, norm_excess <= 1e-9, {"largest_excess_over_the_bound": norm_excess}),
        Check(FLOOR, missing <= 1e-6, {"largest_difference_bits": missing}),
        carries(CARRIES, records),
        Check(PACKED, closest <= 0, {"largest_product_beyond_stated_and_rounding": closest}),
        Check(EXPONENTIAL, not outside, {"packings": len(numbers), "outside": outside,
                                         "false_alarm": GREEDY_FAILURE * len(numbers)}),
    ]  # fmt: skip


def _size(record: Record) -> int:
    """Return P: what is known of the packing, or the keys that a greedy one found."""
    packing, dim = record.parameters["packing"], record.parameters["dim"]
    if packing in KISSING:
        return KISSING[packing].size
    return int(record.measured["keys"]) if packing == "greedy" else FAMILIES[packing][1](dim)


def _bounded_norm(parameters: dict[str, Any], size: int) -> float:
    """Return the norm that suffices for streams of every length (theory 4), with the chosen margin."""
    eps: float = parameters["incoherence"]
    return required_query_norm(2 * size - 1, eps, parameters["eta"]) + MARGIN_NATS / (1 - eps)


def _errorless_bits(parameters: dict[str, Any], row: dict[str, Any], size: int) -> float:
    """Return what d_v min(n, P) bits certify if no error is seen."""
    symbols: int = parameters["value_dim"] * min(parameters["tokens"] or size, size)
    return Transcript(0, 0, min(row["asked"], symbols), symbols, 2).certificate().certified_bits


def _rounding(parameters: dict[str, Any]) -> float:
    """Return how far rounding moves a product: 4 u in each entry, and d u in the sum, compared twice."""
    unit_roundoff = float(np.finfo(_dtype(parameters["packing"])).eps) / 2
    return float((2 * parameters["dim"] + 8) * unit_roundoff)


def _possible(dim: int, incoherence: float, keys: int) -> bool:
    """Return whether so many keys lie between what every maximal packing has and what none exceeds."""
    least = math.floor(packing_bound(dim, incoherence))
    assert least >= math.floor(packing_growth(dim, incoherence))
    return least <= keys <= packing_limit(dim, incoherence) * (1 + 1e-9)


def _dtype(packing: str) -> FloatType:
    """Return the precision of a packing's keys."""
    return np.float32 if packing == "leech" else np.float64


def draw(records: Sequence[Record]) -> Figure:
    """Draw the packing number over the dimension, and the certified bits over the length of the stream."""
    figure, (over_dim, over_tokens) = new_figure(2, width=5.0, height=4.0)
    _draw_packings(over_dim, records)
    _draw_streams(over_tokens, records)
    return figure


def _draw_packings(axes: Axes, records: Sequence[Record]) -> None:
    """Draw P over d at incoherence 1/2: bounds, known configurations, greedy packings."""
    greedy = series(where(records, packing="greedy", incoherence=KISSING_INCOHERENCE), "dim", "keys")
    dims = np.arange(2, greedy[0][-1] + 1)
    bound, growth, limit = (
        [function(int(dim), KISSING_INCOHERENCE) for dim in dims]
        for function in (packing_bound, packing_growth, packing_limit)
    )
    shade_impossible(axes, dims, 1, bound)
    axes.plot(dims, limit, "--", color=THEORY, linewidth=1.1, label="Levenshtein: no larger packing")
    known = [(k.dim, k.size) for k in KISSING.values()]
    axes.plot(*zip(*known, strict=True), "D", color=COLOURS[1], markersize=6,
              label="kissing: hexagon, FCC, D4, E8, Leech")  # fmt: skip
    axes.plot(*greedy, "o", color=COLOURS[0], markersize=4, label="random greedy packings")
    axes.plot(dims, bound, color=THEORY, linewidth=1.4, label="1 / area of a cap: every maximal packing")
    axes.plot(dims, growth, ":", color=THEORY, linewidth=1.4, label="2 (4/3)$^{(d-1)/2}$")
    for dim, size in known:
        axes.annotate(str(size), (dim, size), (-7, 1), textcoords="offset points", ha="right", fontsize=8)
    closed(axes, 0.97, 0.05, transform=axes.transAxes, ha="right")
    axes.set(
        yscale="log",
        xlim=(0, dims[-1] + 1),
        ylim=(1, 10**8),
        xlabel="key dimension d",
        ylabel="floor P(d, 1/2), bits per value channel",
        title="The floor is exponential in d",
    )
    axes.legend(loc="upper left")


def _draw_streams(axes: Axes, records: Sequence[Record]) -> None:
    """Draw certified bits over n for four dimensions, beside d_v min(n, P)."""
    lengths = np.geomspace(2, 10**6, 400)
    looks = zip((*STREAMED, "leech"), "os^D", (COLOURS[2], COLOURS[3], COLOURS[0], COLOURS[1]), strict=True)
    for name, marker, colour in looks:
        size, dim = KISSING[name].size, KISSING[name].dim
        shade_impossible(axes, lengths, 1, np.minimum(lengths, size))
        axes.plot(lengths, np.minimum(lengths, size), color=colour, linewidth=1)
        rows = [r for r in where(records, packing=name) if r.parameters["tokens"]]
        bits = [r.measured["certified_bits"] / r.parameters["value_dim"] for r in rows]
        axes.plot([r.parameters["tokens"] for r in rows], bits, marker, color=colour, markersize=4, linestyle="none",
                  label=f"{LABELS[name]}, d = {dim}, P = {size}")  # fmt: skip
    axes.plot([], [], color=THEORY, linewidth=1, label="min(n, P); below it, closed to every cache")
    axes.set(
        xscale="log",
        yscale="log",
        xlim=(2, 10**6),
        ylim=(1, 10**6),
        xlabel="tokens n",
        ylabel="certified bits per value channel",
        title="At fixed d and bounded C it stops at P",
    )
    axes.legend(loc="upper left")


CLAIM = Claim(
    id="low-dimension",
    title="In few dimensions a cache must hold d_v min(n, P) bits, and P is exponential in the dimension",
    source="Haris and Onak, COLT 2025, arXiv:2502.15955; constants ours",
    statement=(
        "P unit keys of incoherence ε in d dimensions make d_v min(n, P) bits decode from every entrywise "
        "(1 ± η)-approximation of attention over n tokens, with a query norm C ≤ ln(2P (1+η)/(1−η))/(1−ε) + 0.01/(1−ε) "
        "for every n; P(d, ε) ≥ 2 (1−ε²)^(−(d−1)/2)."
    ),
    theory="4",
    checks=(DECODES, BOUNDED, FLOOR, CARRIES, PACKED, EXPONENTIAL),
    cells=grid,
    measure=measure,
    judge=judge,
    draw=draw,
    controls=(
        Control(
            "the rest of the stream are zero keys",
            DECODES,
            [_cell("e8", 8, 8192, secret_rest="zero", secret_share=1.0)],
        ),
        Control("queries at 60 % of the guaranteed norm", DECODES, [_cell("e8", 8, secret_share=0.6)]),
        Control(
            "one random key more than can kiss",
            DECODES,
            [_cell("fcc", 3, eta=eta, secret_extra=1) for eta in ETAS],
        ),
        Control(
            "zero keys, and queries sharp enough for them",
            BOUNDED,
            [_cell("e8", 8, 8192, secret_rest="zero")],
        ),
        Control("one of each pair of opposite keys", FLOOR, [_cell("e8", 8, secret_half=True)]),
        Control("state outside the bytes", CARRIES, [_cell("e8", 8, cache=LEAKING)]),
        Control(
            "products up to 0.6 presented as 1/2",
            PACKED,
            [_cell("greedy", dim, secret_incoherence=0.6) for dim in (4, 8)],
        ),
        Control(
            "orthoplexes as packings of products up to 1/2",
            EXPONENTIAL,
            [_cell("greedy", dim, secret_packing="orthoplex") for dim in (16, 24, 32)],
        ),
    ),
)

if __name__ == "__main__":
    run_alone(CLAIM)
