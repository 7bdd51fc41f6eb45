"""What the types of llama.cpp's cache carry of what they spend, and what its rotation changes (theory 16)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches.quantised.blocks import hadamard
from kvfloor.attention.engines.llamacpp.library import EXTRA
from kvfloor.attention.engines.llamacpp.parameters import TYPES
from kvfloor.experiments.claims import run_alone
from kvfloor.experiments.drawing.style import COLOURS, THEORY, new_figure, shade_impossible
from kvfloor.experiments.engine.store import Record
from kvfloor.experiments.game.hosts.llamacpp import LlamaCache
from kvfloor.experiments.game.measured import Certified
from kvfloor.experiments.game.protocol import play
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.experiments.judging.claim import Check, Claim, Control, Scale, cells
from kvfloor.reductions.accuracy import TYPICAL
from kvfloor.reductions.encodings.blocks import BlockEncoding, BlockFormat
from kvfloor.reductions.encodings.keys import KeysEncoding, Layout
from kvfloor.reductions.encodings.levels import Levels
from kvfloor.reductions.encodings.protocol import Encoding
from kvfloor.reductions.encodings.values import ValuesEncoding
from kvfloor.reductions.keys.known import Keys

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REQUIRES = EXTRA
HOLDS = "every type holds an instance made for its blocks without an error, rotated or not"
WITHIN = "no type carries more bits than it spends"
SPOILS = "the rotation lowers what equally spaced levels of one sign certify, in every quantised type"
KEYS = "keys of every type hold nine tenths of the bits hidden in them, and so do both sides where values do not turn"

DIM, QUERY_NORM = 64, 100.0
NONLINEAR = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
QUANTISED = ("q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl")
FLOATS = ("f32", "f16", "bf16")


def grid(scale: Scale) -> list[dict[str, Any]]:
    """Return every type with instances made for it, levels, and bits in keys, rotated and not."""
    tokens = 512 if scale == "quick" else 2048
    equal = [4, 8, 16, 32, 64, 256] if scale == "quick" else [2, 4, 8, 12, 16, 24, 32, 48, 64, 128, 256, 512]
    both: dict[str, Any] = {"tokens": tokens, "type": QUANTISED, "rotation": ["off", "on"]}
    plain: dict[str, Any] = {"tokens": tokens, "type": FLOATS, "rotation": "off"}
    of_blocks = cells(**both, instance="blocks") + cells(**plain, instance="blocks")
    of_levels = cells(**both, instance="equal", levels=equal) + cells(
        **both, instance="geometric", levels=[4, 16]
    )
    of_floats = cells(**plain, instance=["equal", "geometric"], levels=[256, 2048, 1 << 14, 1 << 18])
    of_keys = cells(**both, instance=["keys", "both"]) + cells(**plain, instance=["keys", "both"])
    return of_blocks + of_levels + of_floats + of_keys


def _control(**more: Any) -> list[dict[str, Any]]:
    """Return a variant of a small grid."""
    return cells(tokens=256, **more)


class Measured(Certified):
    """A play; what the type spends on the side that holds the symbols, and how many entries that side has."""

    spent_bits: float
    entries: int


def measure(parameters: dict[str, Any], randomness: Randomness) -> Measured:
    """Play an instance through the engine."""
    kind, rotation = parameters["type"], parameters["rotation"]
    encoding = _instance(parameters, randomness)
    side = parameters["instance"]
    types = {"keys": (kind, "f16"), "both": (kind, kind)}.get(side, ("f16", kind))
    flash = "off" if "f32" in types else "auto"  # flash attention reads float32 as float16
    host = LlamaCache(f"llamacpp:type_k={types[0]},type_v={types[1]},rotation={rotation},flash={flash}")
    transcript = play(encoding, host, randomness)
    _, block, size = TYPES[kind]
    entries = parameters["tokens"] * DIM * (2 if side == "both" else 1)
    scales = 16 * (2 if kind.endswith("_1") else 1) / block if block > 1 else 0.0
    entry = 8 * size / block - (scales if parameters.get("uncounted") else 0.0)
    return {
        "errors": transcript.errors,
        "symbols": transcript.symbols,
        "wire_bits": transcript.wire_bits,
        "certified_bits": transcript.certificate().certified_bits,
        "spent_bits": entries * entry,
        "entries": entries,
    }


def _instance(parameters: dict[str, Any], randomness: Randomness) -> Encoding:
    """Return what is hidden, and where."""
    tokens, instance, rng = parameters["tokens"], parameters["instance"], randomness.keys()
    if instance in ("keys", "both"):
        addresses = Keys.drawn("gaussian", tokens, DIM // 2, rng)
        # Four times as far apart and half as sharp again as exact attention needs: the engine rounds queries, too.
        layout = Layout.of_half(DIM, DIM, instance == "both")
        exact = KeysEncoding.build(addresses, layout)
        if parameters.get("soft"):
            return exact
        bit_norm = 4 * exact.bit_norm
        norm = 1.5 * KeysEncoding.build(addresses, layout, bit_norm=bit_norm).query_norm
        return KeysEncoding.build(addresses, layout, query_norm=norm, bit_norm=bit_norm)
    keys = Keys.drawn("gaussian", tokens, DIM, rng)
    rotated = parameters["rotation"] == "on" and parameters["type"] in QUANTISED
    if instance == "blocks":
        form = _format(parameters.get("really", parameters["type"]))
        return BlockEncoding(keys, DIM, form, QUERY_NORM, hadamard(np.eye(DIM)) if rotated else None)
    spacing = Levels.equal if instance == "equal" else Levels.geometric
    if parameters.get("undone") and parameters["rotation"] == "on":
        form = BlockFormat(spacing(parameters["levels"]).values)
        return BlockEncoding(keys, DIM, form, QUERY_NORM, hadamard(np.eye(DIM)))
    return ValuesEncoding.build(keys, DIM, spacing(parameters["levels"]), TYPICAL, QUERY_NORM)


def _format(kind: str) -> BlockFormat:
    """Return what a block of a type stores as it is; for floats a part of their own numbers."""
    if kind in ("q4_1", "q5_1"):
        return BlockFormat(np.arange(2.0 ** int(kind[1])), 32, 2)
    if kind == "iq4_nl":
        return BlockFormat(np.array(NONLINEAR, dtype=np.float64), 32, 1)
    if kind in QUANTISED:
        half = 2 ** (int(kind[1]) - 1)
        return BlockFormat(np.arange(1.0 - half if kind == "q8_0" else -half, half), 32, 1)
    # float32 attention rounds to about 2^-22; the other two keep all bits of their significands.
    significand, lowest, binades = {"f32": (16, -12, 16), "f16": (10, -12, 16), "bf16": (7, -24, 32)}[kind]
    return BlockFormat(_numbers(significand, lowest, binades))


def _numbers(significand: int, lowest: int, binades: int) -> NDArray[np.float64]:
    """Return the positive floats with so many bits behind the point, from 2^lowest on."""
    mantissas = 1 + np.arange(1 << significand) / (1 << significand)
    return np.asarray((2.0 ** np.arange(lowest, lowest + binades)[:, None] * mantissas).ravel())


def judge(records: Sequence[Record]) -> list[Check]:
    """Check capacities, what the rotation does, and the bits in keys."""
    checks = []
    blocks = [r for r in records if r.parameters["instance"] == "blocks"]
    if blocks:
        wrong = {f"{r.parameters['type']} {r.parameters['rotation']}": r.measured["errors"] for r in blocks}
        carried = {r.parameters["type"]: _an_entry(r) for r in blocks}
        evidence = {"errors": wrong, "certified_bits_an_entry": carried}
        checks.append(Check(HOLDS, not any(wrong.values()), evidence))
    more = [
        [r.parameters["type"], r.parameters["instance"], _an_entry(r)]
        for r in records
        if r.measured["certified_bits"] > r.measured["spent_bits"]
    ]
    checks.append(Check(WITHIN, not more, {"plays": len(records), "more": more}))
    best = {
        on: {
            kind: _best(records, kind, "equal", on)
            for kind in QUANTISED
            if _best(records, kind, "equal", on) > 0
        }
        for on in ("off", "on")
    }
    if best["on"]:
        lower = all(best["on"][kind] < best["off"].get(kind, 0.0) for kind in best["on"])
        checks.append(Check(SPOILS, lower, {"certified_bits_an_entry": best}))
    keys = [r for r in records if r.parameters["instance"] in ("keys", "both")]
    if keys:
        shares = {
            f"{r.parameters['type']} {r.parameters['instance']} {r.parameters['rotation']}": (
                r.measured["certified_bits"] / r.measured["symbols"]
            )
            for r in keys
        }
        straight = [share for name, share in shares.items() if not name.endswith("both on")]
        checks.append(Check(KEYS, min(straight) >= 0.9, {"certified_share": shares}))
    return checks


def _an_entry(record: Record) -> float:
    """Return the certified bits an entry."""
    return float(record.measured["certified_bits"] / record.measured["entries"])


def _best(records: Sequence[Record], kind: str, instance: str, rotation: str) -> float:
    """Return the most bits an entry that an instance certifies of a type, over its levels."""
    asked = {"type": kind, "instance": instance, "rotation": rotation}
    found = [r for r in records if asked.items() <= r.parameters.items()]
    return max((_an_entry(r) for r in found), default=0.0)


def draw(records: Sequence[Record]) -> "Figure":
    """Draw bits carried over bits spent for every type."""
    figure, axes = new_figure(width=6.6, height=4.6)
    limits = np.array([4.0, 36.0])
    shade_impossible(axes, limits, limits, 90, label="impossible")
    axes.plot(limits, limits, color=THEORY, linewidth=1, label="carried = spent")
    series = (
        ("blocks", "off", "o", COLOURS[0], "made for its blocks, rotation or not"),
        ("equal", "off", "s", COLOURS[1], "equally spaced levels, 0 to 1"),
        ("equal", "on", "X", COLOURS[2], "the same, rotated by the engine"),
        ("geometric", "off", "^", COLOURS[3], "geometric levels"),
    )
    for instance, rotation, marker, colour, label in series:
        points = [(_spent(kind), _best(records, kind, instance, rotation)) for kind in TYPES]
        shown = [(x, y) for x, y in points if y > 0]
        filled = colour if instance == "blocks" else "none"
        axes.plot(
            *zip(*shown, strict=True), marker, color=colour, markerfacecolor=filled, label=label, markersize=6
        )
    for kind in TYPES:
        if kind != "iq4_nl":  # spends and carries what q4_0 does
            names = {"q4_0": "q4_0, iq4_nl", "f16": "f16 and, below, bf16", "bf16": ""}
            place = _spent(kind), max(_spent(kind), 4.0)
            axes.annotate(names.get(kind, kind), place, xytext=(-2, 6), textcoords="offset points", fontsize=8,
                          rotation=60, rotation_mode="anchor")  # fmt: skip
    ticks = [4, 5, 6, 8, 12, 16, 24, 32]
    axes.set(
        xscale="log",
        yscale="log",
        xlim=limits,
        ylim=(0.25, 90),
        xticks=ticks,
        xticklabels=[str(t) for t in ticks],
        yticks=[0.5, 1, 2, 4, 8, 16, 32],
        yticklabels=["0.5", "1", "2", "4", "8", "16", "32"],
        xlabel="bits that the type spends on a value entry, scales included",
        ylabel="bits that it certifiably carries",
        title=f"Types carry nearly what they spend; rotated levels do not (n = {records[0].parameters['tokens']})",
    )
    axes.minorticks_off()
    axes.legend(loc="lower right")
    return figure


def _spent(kind: str) -> float:
    """Return the bits of a type an entry."""
    return 8 * TYPES[kind][2] / TYPES[kind][1]


CLAIM = Claim(
    id="llamacpp-capacity",
    title="llama.cpp's cache types carry nearly what they spend, and its rotation costs levels of one sign",
    source="Ours, on llama.cpp's own state of a sequence",
    statement=(
        "Every type of llama.cpp's cache holds an instance made for its blocks without an error: all codes of a block "
        "and symbols in its scales and offsets, whether the engine rotates or not, for a public rotation is undone "
        "by rotating before. No type carries more than it spends. Equally spaced levels of one sign certify less "
        "once they are rotated."
    ),
    theory="16",
    checks=(HOLDS, WITHIN, SPOILS, KEYS),
    cells=grid,
    measure=measure,
    judge=judge,
    draw=draw,
    controls=(
        Control(
            "scales that are not counted",
            WITHIN,
            _control(type="q4_0", rotation="off", instance="blocks", uncounted=True),
        ),
        Control(
            "blocks of another type",
            HOLDS,
            _control(type="q4_0", rotation="off", instance="blocks", really="q5_0"),
        ),
        Control(
            "levels rotated before",
            SPOILS,
            _control(type="q4_0", rotation=["off", "on"], instance="equal", levels=[4, 8], undone=True),
        ),
        Control(
            "keys asked too softly",
            KEYS,
            _control(type=["q8_0", "q4_0"], rotation="on", instance="keys", soft=True),
        ),
    ),
    requires=REQUIRES,
)

if __name__ == "__main__":
    run_alone(CLAIM)
