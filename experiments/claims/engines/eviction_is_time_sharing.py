"""Dropping tokens is time sharing, whatever the rule; mixing values need not be (theory 12)."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from kvfloor.attention.engines.transformers.library import EXTRA
from kvfloor.experiments.claims import run_alone
from kvfloor.experiments.claims.engines.counting import counted
from kvfloor.experiments.drawing.style import COLOURS, THEORY, Figure, new_figure
from kvfloor.experiments.engine.store import Record
from kvfloor.experiments.game.hosts.transformers import TransformerCache
from kvfloor.experiments.game.measured import Compressed
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.experiments.judging.claim import Cell, Check, Claim, Control, Scale
from kvfloor.experiments.judging.plays import accuracy

REQUIRES = EXTRA
ANY = "every method that keeps tokens and drops the others is on the line, by the interval of any rule"
BLIND = "if it chooses them without their values, by the interval of a fixed choice"
MIXING = "a method that mixes values is above the line"

FALSE_ALARM = 1e-6
DIM = 64
MIXING_HEADS = 8  # more bits a token: the interval narrows below what mixing gains
DROPPING = (
    "RandomPress", "StreamingLLMPress", "SnapKVPress", "TOVAPress", "KnormPress", "ObservedAttentionPress",
    "ExpectedAttentionPress", "KeyDiffPress", "LagKVPress", "CURPress", "LeverageScorePress", "CompactorPress",
    "NonCausalAttnPress", "CapPress", "PyramidKVPress", "KVComposePress", "KVzipPress", "KVgradPress",
    "AdaKVPress,press=SnapKVPress", "CriticalKVPress,press=SnapKVPress", "CriticalAdaKVPress,press=SnapKVPress",
    "ChunkKVPress,press=SnapKVPress", "ChunkPress,press=KnormPress", "BlockPress,press=KnormPress",
    "KeyRerotationPress,press=KnormPress",
)  # fmt: skip
STREAMING = "DecodingPress,base_press=KeyDiffPress,compression_interval=64"
MERGING = "MergingPress,press=KnormPress"


def grid(scale: Scale) -> list[Cell]:
    """Return every method over its budgets."""
    tokens, removed = (512, (0.25, 0.5, 0.75)) if scale == "quick" else (2048, (0.1, 0.25, 0.5, 0.75, 0.9))
    runs = [_cell(name, share, tokens) for name in DROPPING for share in removed]
    runs += [{**_cell(STREAMING, share, tokens), "stream": True} for share in removed]
    return runs + [_cell(MERGING, share, tokens, kv_heads=MIXING_HEADS) for share in removed]


def _cell(name: str, removed: float, tokens: int, **more: Any) -> Cell:
    """Return the parameters of one play."""
    return {"press": name, "removed": removed, "tokens": tokens, **more}


def measure(parameters: dict[str, Any], randomness: Randomness) -> Compressed:
    """Play once, and once more with other values to see whether the choice of tokens depends on them."""
    removed, tokens = parameters["removed"], parameters["tokens"]
    budget = f"compression_ratio={removed}"
    if parameters.get("stream"):
        budget = f"target_size={round((1 - removed) * tokens)}"
    heads = parameters.get("kv_heads", 1)
    spec = f"kvpress:{parameters['press']},{budget}"
    return counted(TransformerCache(spec, f"llama:heads={heads}"), tokens, DIM, randomness)


def judge(records: Sequence[Record]) -> list[Check]:
    """Check every method against the line, by the interval that its kind of choice allows."""
    rows = [(f"{r.parameters['press']} {r.parameters['removed']}", _kind(r), r) for r in records]
    offsets = {name: accuracy(r) - (1 + _fraction(r)) / 2 for name, _, r in rows}
    checks = []
    dropping = {name: r for name, kind, r in rows if kind == "dropping"}
    for title, fixed in ((ANY, False), (BLIND, True)):
        judged = {n: r for n, r in dropping.items() if not fixed or _blind(r)}
        slacks = {n: slack(r, len(records), fixed=fixed) for n, r in judged.items()}
        off = {n: [offsets[n], slacks[n]] for n in judged if abs(offsets[n]) > slacks[n]}
        if judged:
            worst = max(judged, key=lambda n: abs(offsets[n]) - slacks[n])
            evidence = {"plays": len(judged), "false_alarm": FALSE_ALARM, "off_the_line_and_interval": off}
            evidence["nearest_to_its_interval"] = [worst, offsets[worst], slacks[worst]]
            checks.append(Check(title, not off, evidence))
    mixing = {name: r for name, kind, r in rows if kind == "mixing"}
    if mixing:
        above = {n: [offsets[n], slack(r, len(records), fixed=True)] for n, r in mixing.items()}
        passed = any(offset > interval for offset, interval in above.values())
        checks.append(Check(MIXING, passed, {"above_the_line_and_interval": above}))
    return checks


def slack(record: Record, rows: int, *, fixed: bool) -> float:
    """Return how far from the line dropping may lie (theory 12).

    Parameters
    ----------
    record : Record
        One play.
    rows : int
        Plays among which the false-alarm rate is divided.
    fixed : bool
        Whether the choice of tokens was fixed before the values were drawn; else any choice is allowed.

    Returns
    -------
    float
        Half the width of the interval of the accuracy.
    """
    measured, fraction = record.measured, _fraction(record)
    dropped = (1 - fraction) * measured["symbols"]
    if dropped < 1:
        return 0.0
    heads = record.parameters.get("kv_heads", 1)
    tokens = record.parameters["tokens"]
    choices = 0.0 if fixed else heads * _log_binomial(tokens, round(fraction * tokens))
    return (1 - fraction) * math.sqrt((math.log(2 * rows / FALSE_ALARM) + choices) / (2 * dropped))


def _log_binomial(tokens: int, kept: int) -> float:
    """Return ln of the number of ways to choose the kept tokens."""
    return math.lgamma(tokens + 1) - math.lgamma(kept + 1) - math.lgamma(tokens - kept + 1)


def _kind(record: Record) -> str:
    """Return whether a play's method drops tokens or mixes values, as measured or as presented."""
    measured = "dropping" if record.measured["drops_only"] else "mixing"
    return str(record.parameters.get("presented", measured))


def _blind(record: Record) -> bool:
    """Return whether the choice of tokens did not depend on their values, as measured or as presented."""
    return bool(record.measured["chosen_blindly"]) or "presented" in record.parameters


def _fraction(record: Record) -> float:
    """Return the share of the cache that is kept: tokens, or bits where there are no whole tokens."""
    measured = record.measured
    if record.parameters.get("fraction") == "nominal":
        return float(measured["nominal_bits"] / measured["full_cache_bits"])
    if measured["kept_entries"] is None:
        return float(measured["allocated_bits"] / measured["full_cache_bits"])
    return float(measured["kept_entries"] / measured["all_entries"])


def draw(records: Sequence[Record]) -> Figure:
    """Draw accuracy against the kept fraction, and how far it is from the line."""
    figure, (wide, near) = new_figure(2, width=4.4, height=3.8)
    wide.plot([0, 1], [0.5, 1], color=THEORY, linewidth=1, label="1/2 + f/2: keep f, guess the rest")
    groups: tuple[tuple[str, str, str, Callable[[Record], bool]], ...] = (
        ("drops tokens, blind to values", "o", COLOURS[0], lambda r: _kind(r) == "dropping" and _blind(r)),
        ("drops tokens by their values", "^", COLOURS[2], lambda r: _kind(r) == "dropping" and not _blind(r)),
        ("mixes values", "s", COLOURS[1], lambda r: _kind(r) == "mixing"),
    )
    for label, marker, colour, belongs in groups:
        found = [r for r in records if belongs(r)]
        if not found:
            continue
        fractions = [_fraction(r) for r in found]
        look = {"marker": marker, "linestyle": "none", "color": colour, "markerfacecolor": "none"}
        methods = len({r.parameters["press"] for r in found})
        label = f"{label} ({methods} method{'s' * (methods > 1)})"
        wide.plot(fractions, [accuracy(r) for r in found], **look, label=label)
        offsets = [100 * (accuracy(r) - (1 + _fraction(r)) / 2) for r in found]
        own = [100 * slack(r, len(records), fixed=True) for r in found] if marker == "s" else None
        near.errorbar(fractions, offsets, yerr=own, capsize=3, linewidth=1, **look)
    ordered = sorted((r for r in records if _kind(r) == "dropping"), key=_fraction)
    for fixed, style, label in ((True, "-", "fixed choice"), (False, "--", "any choice")):
        slacks = [100 * slack(r, len(records), fixed=fixed) for r in ordered]
        fractions = [_fraction(r) for r in ordered]
        for sign, name in ((1, f"interval of {label}"), (-1, None)):
            near.plot(fractions, [sign * s for s in slacks], style, color=THEORY, linewidth=0.9, label=name)
    wide.set(xlim=(0, 1.02), ylim=(0.48, 1.02), xlabel="measured fraction f of the cache that is kept")
    wide.set(ylabel="hidden bits decoded rightly", title="a   Every method over its budgets")
    near.set(xlim=(0, 1.02), xlabel="measured fraction f of the cache that is kept")
    near.set(ylabel="accuracy above the line (percentage points)", title="b   Distance from the line")
    wide.legend(loc="upper left")
    near.legend(loc="upper right")
    return figure


CLAIM = Claim(
    id="eviction-is-time-sharing",
    title="Dropping tokens is time sharing, whatever the rule",
    source="Ours, on the methods of kvpress",
    statement=(
        "A method that keeps a fraction f of the tokens and drops the others decodes 1/2 + f/2 of the bits, up to "
        "what the choice of the tokens can tell; a method that mixes values can decode more."
    ),
    theory="12",
    checks=(ANY, BLIND, MIXING),
    cells=grid,
    measure=measure,
    judge=judge,
    draw=draw,
    controls=(
        Control(
            "the stated fraction in the place of the measured one",
            ANY,
            [_cell("PyramidKVPress", 0.5, 512, fraction="nominal")],
        ),
        Control(
            "merging as dropping",
            BLIND,
            [
                _cell(MERGING, share, 512, kv_heads=MIXING_HEADS, presented="dropping")
                for share in (0.75, 0.9)
            ],
        ),
        Control(
            "dropping as merging",
            MIXING,
            [_cell("KnormPress", share, 512, presented="mixing") for share in (0.5, 0.75)],
        ),
    ),
    requires=REQUIRES,
)

if __name__ == "__main__":
    run_alone(CLAIM)
