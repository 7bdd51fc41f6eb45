"""Keys are as incompressible as values, and who spares the keys is caught there (theory 3, keys)."""

from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches.dense import Dense
from kvfloor.attention.caches.wire import Field, Floats
from kvfloor.experiments.claims import run_alone
from kvfloor.experiments.drawing.panels import closed, draw_frontier
from kvfloor.experiments.drawing.style import COLOURS, THEORY, Axes, Figure, new_figure
from kvfloor.experiments.engine.store import Record
from kvfloor.experiments.game.cheats import LEAKING
from kvfloor.experiments.game.protocol import Transcript, play_in_full
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.experiments.judging.claim import Cell, Check, Claim, Control, Scale, cells
from kvfloor.experiments.judging.plays import CERTIFICATE_BITS
from kvfloor.experiments.judging.rows import series, where
from kvfloor.reductions.accuracy import MARGIN_NATS, Accuracy
from kvfloor.reductions.encodings.keys import (
    KeysEncoding,
    Layout,
    required_address_norm,
    required_bit_norm,
)
from kvfloor.reductions.keys.known import Keys

DECODES = "every bit of keys and values decodes under worst-case noise"
CERTIFIED = "the plays of exact caches certify every bit but 104"
CARRIES = "no wire carries less than is certified on either side"
CAUGHT = "a cache with exact values and spared keys errs in the keys alone"

ETAS = (0.0, 0.5, 0.9)
SIDES = ("keys", "values")
SWEPT_ETA = 0.5
EVICTION = ("window", "sinks", "random", "knorm", "h2o", "snapkv")
FAMILIES = {
    "formats": [f"dense:dtype={dtype}" for dtype in ("float64", "float32", "float16", "bfloat16")],
    "quantised": [f"uniform:bits={bits}" for bits in (1, 2, 3, 4, 6, 8)],
    "quantised values": [f"uniform:bits=16,value_bits={bits}" for bits in (1, 2, 4, 8)],
    "quantised keys": [f"uniform:key_bits={bits},value_bits=16" for bits in (1, 2, 3, 4, 6, 8)],
    "half of the key channels": [f"{__name__}:HalfKeys:dtype=float16"],
}
SPARED_KEYS = ("quantised keys", "half of the key channels")


def grid(scale: Scale) -> list[Cell]:
    """Return guaranteed instances, a sweep of the bit norm, and every cache on keys and values at once."""
    quick = scale == "quick"
    guaranteed = [
        _instance(tokens, address_dim, bit_dim, eta, both)
        for tokens in ((64, 256) if quick else (64, 256, 1024))
        for address_dim, bit_dim in ((16, 16), (64, 16), (64, 64))
        for eta in ETAS
        for both in (False, True)
    ]
    sweep = cells(kind="sweep", both=[False, True], share=np.round(np.linspace(0.5, 1.5, 11), 2).tolist())
    tokens = 256 if quick else 1024
    caches = [_cache(tokens, family, cache) for family, members in FAMILIES.items() for cache in members]
    for share in (1 / 4, 1 / 2, 3 / 4):
        kept = round(share * tokens)
        caches += [_cache(tokens, "evicting", f"{name}:kept_tokens={kept}") for name in EVICTION]
        caches.append(_cache(tokens, "evicting", f"unmasked-window:window_tokens={kept}"))
    return guaranteed + sweep + caches


def _instance(tokens: int, address_dim: int, bit_dim: int, eta: float, both: bool, **change: Any) -> Cell:
    """Return the parameters of an instance with its guarantee."""
    return {"kind": "guaranteed", "tokens": tokens, "address_dim": address_dim, "bit_dim": bit_dim, "eta": eta,
            "both": both} | change  # fmt: skip


def _cache(tokens: int, family: str, cache: str) -> Cell:
    """Return the parameters of a cache that is asked for both sides."""
    return {"kind": "cache", "tokens": tokens, "family": family, "cache": cache}


class HalfKeys(Dense):
    """Every value, and the first half of the channels of every key."""

    def _state(self) -> tuple[tuple[int, ...], tuple[NDArray[Any], ...]]:
        counts, (keys, values) = super()._state()
        return counts, (keys[:, : self.dim // 2], values)

    def _layout(self, *counts: int) -> tuple[Field, ...]:
        keys = Floats("half keys", (counts[0], self.dim // 2), self.dtype)
        return keys, super()._layout(*counts)[1]

    def _restore(self, counts: tuple[int, ...], arrays: list[NDArray[Any]]) -> None:
        keys = np.zeros((counts[0], self.dim), arrays[0].dtype)
        keys[:, : self.dim // 2] = arrays[0]
        super()._restore(counts, [keys, arrays[1]])


class Sides(TypedDict):
    """A count for either side."""

    keys: int
    values: int


class Measured(TypedDict):
    """A play, its symbols told apart by side."""

    wire_bits: int
    errors: Sides
    symbols: Sides


def measure(parameters: dict[str, Any], randomness: Randomness) -> Measured:
    """Play INDEX in the keys, or in both sides, and count the errors of each side."""
    eta, cache = parameters.get("eta", 0.0), parameters.get("cache", "dense:dtype=float64")
    if parameters["kind"] == "guaranteed":
        encoding = _guaranteed(parameters, randomness)
    elif parameters["kind"] == "sweep":
        encoding, eta = _swept(parameters["both"], parameters["share"], randomness), SWEPT_ETA
    else:
        addresses = Keys.drawn("gaussian", parameters["tokens"], 64, randomness.keys(), np.float32)
        encoding = KeysEncoding.build(addresses, Layout.of_half(128, 64, both=True))
    played = play_in_full(encoding, cache, randomness, eta=eta)
    wrong, in_keys = played.wrong, played.indices % encoding.layout.bits_per_token < encoding.layout.bit_dim
    return {
        "wire_bits": played.transcript.wire_bits,
        "errors": {"keys": int(wrong[in_keys].sum()), "values": int(wrong[~in_keys].sum())},
        "symbols": {"keys": int(in_keys.sum()), "values": int((~in_keys).sum())},
    }


def _guaranteed(parameters: dict[str, Any], randomness: Randomness) -> KeysEncoding:
    """Return an instance at its guaranteed norms, or with one of them made false."""
    repeat, eta, both = parameters.get("repeat", 1), parameters["eta"], parameters["both"]
    keys = Keys.drawn(
        "gaussian", parameters["tokens"] // repeat, parameters["address_dim"], randomness.keys()
    )
    addresses = Keys(np.repeat(keys.rows, repeat, axis=0), keys.incoherence())
    layout, accuracy = Layout(parameters["bit_dim"], 16, both), Accuracy(eta)
    stated = KeysEncoding.build(addresses, layout, accuracy)
    if "bit_share" not in parameters:
        return stated
    bit_norm = parameters["bit_share"] * required_bit_norm(eta, stated.lowest)
    return KeysEncoding.build(addresses, layout, accuracy, stated.query_norm, bit_norm)


def _swept(both: bool, share: float, randomness: Randomness) -> KeysEncoding:
    """Return an instance at a share of the least bit norm, C large enough for any share from 1.05 on."""
    addresses, layout = Keys.drawn("gaussian", 64, 32, randomness.keys()).measured(), Layout(16, 16, both)
    lowest = layout.lowest(SWEPT_ETA)
    least = required_bit_norm(SWEPT_ETA, lowest)
    # C - C'/(1-eps) is all that matters to the others' weight: it is kept at what 1.05 asks for, or more.
    eps = addresses.incoherence()
    norm = required_address_norm(64, eps, SWEPT_ETA, max(share, 1.05) * least, lowest)
    norm += MARGIN_NATS / (1 - eps)
    return KeysEncoding.build(addresses, layout, Accuracy(SWEPT_ETA), norm, share * least)


def judge(records: Sequence[Record]) -> list[Check]:
    """Check guaranteed instances, and every cache on both sides."""
    checks = []
    guaranteed = [r.measured for r in where(records, kind="guaranteed")]
    if guaranteed:
        errors = sum(sum(row["errors"].values()) for row in guaranteed)
        bits = sum(sum(row["symbols"].values()) for row in guaranteed)
        checks.append(Check(DECODES, errors == 0, {"plays": len(guaranteed), "bits": bits, "errors": errors}))
        gaps = [sum(row["symbols"].values()) - _whole(row).certificate().certified_bits for row in guaranteed]
        checks.append(Check(CERTIFIED, max(gaps) <= CERTIFICATE_BITS, {"most_bits_not_certified": max(gaps)}))
    refuted = [
        r.parameters.get("cache") for r in records if any(t.impossible() for t in _transcripts(r.measured))
    ]
    everywhere = {r.parameters["cache"]: _by_side(r) for r in where(records, kind="cache")}
    evidence = {"plays": len(records), "refuted": refuted, "by_cache": everywhere}
    checks.append(Check(CARRIES, not refuted, evidence))
    spared = [r for r in records if r.parameters.get("family") in SPARED_KEYS]
    if spared:
        caught = all(r.measured["errors"]["values"] == 0 < r.measured["errors"]["keys"] for r in spared)
        checks.append(
            Check(CAUGHT, caught, {"by_cache": {r.parameters["cache"]: _by_side(r) for r in spared}})
        )
    return checks


def _side(row: dict[str, Any], side: str) -> Transcript:
    """Return what a play says of one side: the other side's bits are as good as public coins (theory 3)."""
    symbols = row["symbols"][side]
    return Transcript(row["wire_bits"], row["errors"][side], symbols, symbols, 2)


def _whole(row: dict[str, Any]) -> Transcript:
    """Return what a play says of both sides together."""
    symbols = sum(row["symbols"].values())
    return Transcript(row["wire_bits"], sum(row["errors"].values()), symbols, symbols, 2)


def _transcripts(row: dict[str, Any]) -> list[Transcript]:
    """Return a play as transcripts of each side that holds bits, and of both."""
    return [_side(row, side) for side in SIDES if row["symbols"][side]] + [_whole(row)]


def _by_side(record: Record) -> dict[str, dict[str, float]]:
    """Return errors and certified bits of each side."""
    row = record.measured
    return {
        side: {
            "errors": row["errors"][side],
            "certified_bits": round(_side(row, side).certificate().certified_bits, 1),
        }
        for side in SIDES
    }


def draw(records: Sequence[Record]) -> Figure:
    """Draw decoding over the bit norm, and accuracy on values and on keys by cache."""
    figure, (left, middle, right) = new_figure(3, width=4.1, height=4.0)
    _draw_sweep(left, where(records, kind="sweep"))
    caches = where(records, kind="cache")
    for axes, side, title in (
        (middle, "values", "b   Bits in the values"),
        (right, "keys", "c   Bits in the keys"),
    ):
        _draw_caches(axes, caches, side)
        axes.set(title=title, ylabel=f"hidden bits of the {side} decoded rightly")
    handles, labels = middle.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure


def _draw_sweep(axes: Axes, records: Sequence[Record]) -> None:
    """Draw what survives worst-case noise over the bit norm."""
    for both, style, colour, label in (
        (False, "-o", COLOURS[0], "in the keys"),
        (True, "--s", COLOURS[1], "in both"),
    ):
        points = series(where(records, both=both), "share", lambda r: _side(r.measured, "keys").accuracy)
        axes.plot(*points, style, color=colour, markerfacecolor="white", label=f"bits {label}")
    axes.axvline(1.0, color=THEORY, linewidth=1)
    axes.text(1.03, 0.12, "guaranteed\nfrom here on", fontsize=8)
    axes.set(ylim=(-0.03, 1.06), xlabel="bit norm C′ / ln(ρ/β)", title=f"a   Key bits under (1 ± {SWEPT_ETA:g}) noise",
             ylabel="key bits decoded under worst-case noise")  # fmt: skip
    axes.legend(loc="upper left")


def _draw_caches(axes: Axes, records: Sequence[Record], side: str) -> None:
    """Draw one side's accuracy by family over the bits spent on each hidden bit."""
    looks = {
        "formats": ("D", "-", COLOURS[7]),
        "quantised": ("s", "-", COLOURS[0]),
        "quantised values": ("v", "-", COLOURS[2]),
        "quantised keys": ("o", "-", COLOURS[1]),
        "half of the key channels": ("*", "", COLOURS[3]),
        "evicting": ("x", "", COLOURS[6]),  # those at 1/2 on keys evict Bob's token, which no value bit needs
    }
    names = {"formats": "bfloat16, float16, 32, 64", "quantised": "both sides quantised",
             "quantised values": "values quantised, keys float16", "quantised keys": "keys quantised, values float16",
             "half of the key channels": "half of the key channels dropped", "evicting": "tokens evicted"}  # fmt: skip
    row = records[0].measured
    own_share = row["symbols"][side] / sum(row["symbols"].values())
    draw_frontier(axes, np.geomspace(0.06, 200, 400), 1.06, own_share, linewidth=1.4)
    for family, (marker, line, colour) in looks.items():
        points = series(
            where(records, family=family),
            lambda r: r.measured["wire_bits"] / sum(r.measured["symbols"].values()),
            lambda r: _side(r.measured, side).accuracy,
        )
        axes.plot(*points, marker=marker, linestyle=line or "none", color=colour, linewidth=0.9,
                  markersize=9 if marker == "*" else 5, label=names[family])  # fmt: skip
    axes.set(xscale="log", xlim=(0.06, 150), ylim=(0.47, 1.03), xlabel="bits on the wire for each hidden bit")
    axes.set_xticks([0.1, 1, 10, 100], ["0.1", "1", "10", "100"])
    closed(axes, 0.068, 0.995, "closed to\nevery cache", va="top", fontsize=8)


CLAIM = Claim(
    id="key-barrier",
    title="Keys are as incompressible as values, and a cache that spares them is caught there",
    source="Theory 3, keys: ours, on the barrier of Haris and Onak, arXiv:2502.15955",
    statement=(
        "Every (1 ± η)-approximation of attention decodes all n d2 bits in the keys, and all n (d2 + d_v) bits in "
        "keys and values, at the stated norms C and C′ > ln(ρ/β); caches that keep values exactly and quantise "
        "or drop keys lose key bits and no value bit."
    ),
    theory="3",
    checks=(DECODES, CERTIFIED, CARRIES, CAUGHT),
    cells=grid,
    measure=measure,
    judge=judge,
    draw=draw,
    controls=(
        Control(
            "key bits that move scores too little",
            DECODES,
            [
                _instance(256, 64, 16, eta, both, bit_share=0.9)
                for eta in (0.5, 0.9)
                for both in (False, True)
            ],
        ),
        Control(
            "every address stands twice",
            DECODES,
            [_instance(256, 64, 16, eta, True, repeat=2) for eta in ETAS],
        ),
        Control(
            "a quantised cache as an exact one",
            CERTIFIED,
            [_instance(256, 64, 16, 0.0, True, cache="uniform:key_bits=4,value_bits=16")],
        ),
        Control("state outside the bytes", CARRIES, [_cache(256, "formats", LEAKING)]),
        Control(
            "an exact cache as one that quantises keys",
            CAUGHT,
            [_cache(256, "quantised keys", "dense:dtype=float32")],
        ),
        Control(
            "an eviction as one that drops keys alone",
            CAUGHT,
            [_cache(256, "half of the key channels", "window:kept_tokens=128")],
        ),
    ),
)

if __name__ == "__main__":
    run_alone(CLAIM)
