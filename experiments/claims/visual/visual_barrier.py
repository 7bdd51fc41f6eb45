"""Visual autoregressive attention holds d_v bits for every token of its earlier maps (theory 8)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from kvfloor.experiments.claims import run_alone
from kvfloor.experiments.drawing.barrier import draw_growth
from kvfloor.experiments.drawing.style import COLOURS, THEORY, Figure, new_figure, shade_impossible
from kvfloor.experiments.engine.store import Record
from kvfloor.experiments.game.cheats import LEAKING
from kvfloor.experiments.game.measured import Certified, certified
from kvfloor.experiments.game.protocol import play
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.experiments.judging.barrier import (
    CARRIES,
    CHECKS,
    DECODES,
    ETAS,
    GROWS,
    LOST_BITS,
    PACKED,
    false_cells,
    growth_cells,
    judge_barrier,
)
from kvfloor.experiments.judging.claim import Cell, Check, Claim, Control, Scale
from kvfloor.experiments.judging.rows import series, where
from kvfloor.experiments.judging.scaling import exponent, exponent_interval
from kvfloor.reductions.accuracy import Accuracy
from kvfloor.reductions.encodings.levels import BINARY
from kvfloor.reductions.encodings.streams.visual import halving_pyramid, map_tokens, visual_encoding
from kvfloor.reductions.encodings.values import required_query_norm, values_reading
from kvfloor.reductions.keys.known import Keys
from kvfloor.reductions.keys.projections import gaussian_keys, hadamard_keys

LINEAR = "certified bits grow linearly in the number of tokens"

DIM = VALUE_DIM = 64
PYRAMIDS = {
    "next scales of VAR": [(side, side) for side in (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)],
    "every side": [(side, side) for side in range(1, 15)],
    "wide maps": [(1, 2), (2, 3), (4, 8), (9, 16), (18, 32)],
}
CACHES = {
    "exact": "dense:dtype=float64",
    "packed": "bitpack",
    "prefix": "sinks:kept_tokens=22,sink_tokens=21",
    "leaking": LEAKING,
}


def grid(scale: Scale) -> list[Cell]:
    """Return pyramids of doubling maps over the side of the last, and three other pyramids."""
    sizes = (8, 16, 32, 64) if scale == "quick" else (8, 16, 32, 64, 128)
    others = [
        {"keys": name, "cache": cache, "size": sizes[-1][0], "eta": eta}
        for name, sizes in PYRAMIDS.items()
        for cache, etas in (("exact", ETAS), ("packed", (0.5,)))
        for eta in etas
    ]
    return growth_cells(sizes) + others


def _control(sizes: Sequence[int] = (8, 16, 32), cache: str = "exact", **change: Any) -> list[Cell]:
    """Return a few pyramids with something false about them."""
    return false_cells(sizes, [cache], (0.0, 0.9), **change)


class Measured(Certified):
    """A play over a pyramid."""

    earlier_tokens: int
    query_norm: float


def measure(parameters: dict[str, Any], randomness: Randomness) -> Measured:
    """Play one pyramid against an adversary that moves every answer by up to eta."""
    side, eta, kind = parameters["size"], parameters["eta"], parameters["keys"]
    variant = parameters.get("variant")
    sizes = PYRAMIDS.get(kind, halving_pyramid(side))
    if variant == "strips":
        sizes = [(1, width) for _, width in sizes]
    *earlier, last = map_tokens(sizes)
    tokens = sum(earlier)
    if kind == "orthogonal":
        keys = hadamard_keys(tokens, 1 << (tokens - 1).bit_length(), randomness.keys())
    else:
        keys = gaussian_keys(tokens, DIM, randomness.keys())
    eps = Keys(keys).incoherence()
    if variant == "repeated keys":
        keys[1::2] = keys[: tokens // 2 * 2 : 2]
    rivals = tokens - 1 + (1 if variant == "forgotten map" else last)
    norm = required_query_norm(rivals, eps, eta) * (1 + 1e-6)  # the inequality is strict
    known, accuracy = Keys(keys, eps), Accuracy(eta)
    encoding = visual_encoding(sizes, known, VALUE_DIM, accuracy, norm)
    encoding = replace(encoding, reading=values_reading(known, rivals, BINARY, accuracy, norm))
    transcript = play(encoding, CACHES[parameters.get("really", parameters["cache"])], randomness, eta=eta)
    return {**certified(transcript), "earlier_tokens": tokens, "query_norm": norm}


def judge(records: Sequence[Record]) -> list[Check]:
    """Check decoding, certificates, the exponent 2 in the side, packing, and the exponent 1 in the tokens."""
    # n^2/4 <= (n^2 - 1)/3 <= n^2/3 tokens precede a last map of side n >= 2.
    checks = judge_barrier(records, lambda side: (side**2 / 4 * VALUE_DIM, side**2 / 3 * VALUE_DIM))
    exact = where(records, cache="exact")
    tokens = [r.measured["earlier_tokens"] for r in exact]
    if len(set(tokens)) > 1:
        found = exponent(tokens, [r.measured["certified_bits"] for r in exact])
        hidden = [VALUE_DIM * count for count in tokens]
        low, high = exponent_interval(tokens, [bits - LOST_BITS for bits in hidden], hidden)
        checks.append(Check(LINEAR, low <= found <= high, {"exponent_least_most": [found, low, high]}))
    return checks


def draw(records: Sequence[Record]) -> Figure:
    """Draw the bits over the side of the last map, and the bits a token over the tokens."""
    figure, (left, right) = new_figure(2, width=4.8, height=3.9)
    draw_growth(left, records, "hidden: d_v (n² − 1)/3", 0.5)
    left.set(xlabel="side n of the last map", title=f"a   Quadratic in the side, d_v = {VALUE_DIM}")
    looks = {"gaussian": ("o", "doubling sides")} | {
        name: (marker, name) for name, marker in zip(PYRAMIDS, "s^D", strict=True)
    }
    shown = where(records, eta=0.5)
    for (kind, (marker, label)), colour in zip(looks.items(), COLOURS, strict=False):
        for cache, bits, face in (("exact", "certified_bits", "none"), ("packed", "wire_bits", colour)):
            rows = where(shown, keys=kind, cache=cache)
            tokens, carried = series(rows, "earlier_tokens", bits)
            heights = [each / count for each, count in zip(carried, tokens, strict=True)]
            right.plot(tokens, heights, marker, color=colour, markerfacecolor=face,
                       label=label if cache == "exact" else None)  # fmt: skip
    counts = [r.measured["earlier_tokens"] for r in shown]
    ends = [min(counts) * 0.8, max(counts) * 1.25]
    shade_impossible(right, ends, 0, VALUE_DIM)
    right.axhline(VALUE_DIM, color=THEORY, label="hidden: d_v a token")
    right.plot([], [], "o", color="#777777", markerfacecolor="none", label="hollow: certified")
    right.plot([], [], "o", color="#777777", label="filled: packed, on the wire")
    right.set(xscale="log", xlim=ends, ylim=(VALUE_DIM * 0.7, VALUE_DIM * 1.75),
              xlabel="tokens of all maps but the last", ylabel="bits for each token",
              title="b   The same, by tokens: linear")  # fmt: skip
    right.legend(loc="upper right", ncols=2)
    return figure


CLAIM = Claim(
    id="visual-barrier",
    title="Before a last map of n × n tokens a cache holds Ω(n² d) bits, which is d_v a token",
    source="Chen et al., arXiv:2503.14881, our reading; constants ours",
    statement=(
        "Maps of doubling sides hold d_v (n²−1)/3 bits before a last map of n × n, decodable from every "
        "(1 ± η)-approximation asked from within it: quadratic in the side n. In the number of tokens of the "
        "earlier maps the same bits are linear, d_v a token, for every pyramid."
    ),
    theory="8",
    checks=(*CHECKS, LINEAR),
    cells=grid,
    measure=measure,
    judge=judge,
    draw=draw,
    controls=(
        Control("every key stands twice", DECODES, _control(variant="repeated keys")),
        Control(
            "the last map left out of the guarantee",
            DECODES,
            [{**cell, "keys": "orthogonal"} for cell in _control(variant="forgotten map")],
        ),
        Control("maps of height 1", GROWS, _control((8, 16, 32, 64), variant="strips")),
        Control("the first maps only", LINEAR, _control(really="prefix")),
        Control("state outside the bytes", CARRIES, _control(really="leaking")),
        Control("an uncompressed cache as packed", PACKED, _control(cache="packed", really="exact")),
    ),
)

if __name__ == "__main__":
    run_alone(CLAIM)
