"""A mask frees no memory: methods that mask what they drop allocate the full cache (theory 12)."""

from collections.abc import Iterable, Sequence
from typing import Any

from kvfloor.attention.engines.transformers.library import EXTRA
from kvfloor.experiments.claims import run_alone
from kvfloor.experiments.claims.engines.counting import counted
from kvfloor.experiments.drawing.style import COLOURS, THEORY, Figure, new_figure
from kvfloor.experiments.engine.store import Record
from kvfloor.experiments.game.hosts.transformers import TransformerCache
from kvfloor.experiments.game.measured import Compressed
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.experiments.judging.claim import Cell, Check, Claim, Control, Scale, cells

REQUIRES = EXTRA
MASKS = "a method that masks takes the full cache, in memory and on the wire"
SAYS = "a method that masks says that it takes less"
DROPS = "a method that drops takes exactly the tokens it keeps"

DIM = 64
MASKING = {
    "AdaKV": "kvpress:AdaKVPress,press=SnapKVPress,compression_ratio={removed}",
    "CriticalAdaKV": "kvpress:CriticalAdaKVPress,press=SnapKVPress,compression_ratio={removed}",
    "KVzip": "kvpress:KVzipPress,compression_ratio={removed}",
    "KVgrad": "kvpress:KVgradPress,compression_ratio={removed}",
    "DMS": "kvpress:DMSPress,press=RandomPress,threshold={removed},sliding_window_size=1",
}
DROPPING = {
    "SnapKV": "kvpress:SnapKVPress,compression_ratio={removed}",
    "StreamingLLM": "kvpress:StreamingLLMPress,compression_ratio={removed}",
    "TOVA": "kvpress:TOVAPress,compression_ratio={removed}",
    "Knorm": "kvpress:KnormPress,compression_ratio={removed}",
    "H2O": "kvpress:ObservedAttentionPress,compression_ratio={removed}",
}


def grid(scale: Scale) -> list[Cell]:
    """Return every method over its budgets."""
    tokens, removed = (
        (512, (0.25, 0.5, 0.75, 0.9)) if scale == "quick" else (2048, (0.1, 0.25, 0.5, 0.75, 0.9))
    )
    methods = list({**MASKING, **DROPPING}.items())
    return cells(tokens=tokens, method=methods, removed=removed)


def _presented(as_kind: str, methods: Iterable[tuple[str, str]], removed: float = 0.5) -> list[Cell]:
    """Return methods presented as of another kind."""
    return cells(tokens=256, method=list(methods), removed=removed, presented=as_kind)


def measure(parameters: dict[str, Any], randomness: Randomness) -> Compressed:
    """Play once and count the cache in every way."""
    spec = parameters["method"][1].format(removed=parameters["removed"])
    return counted(TransformerCache(spec), parameters["tokens"], DIM, randomness)


def judge(records: Sequence[Record]) -> list[Check]:
    """Check what masking and dropping methods take, told apart by whether masked entries are there."""
    rows = [(r.parameters["method"][0], r.parameters["removed"], r) for r in records]
    masking = [(name, removed, r.measured) for name, removed, r in rows if _kind(r) == "masking"]
    dropping = [(name, removed, r.measured) for name, removed, r in rows if _kind(r) == "dropping"]
    checks = []
    if masking:
        small = [
            [name, removed]
            for name, removed, m in masking
            if not m["full_cache_bits"] <= min(m["allocated_bits"], m["wire_bits"])
        ]
        evidence = {"plays": len(masking), "methods": sorted({name for name, _, _ in masking})}
        checks.append(Check(MASKS, not small, {**evidence, "smaller": small}))
        full = [[name, removed] for name, removed, m in masking if not _nominal(m) < 1]
        checks.append(Check(SAYS, not full, {**evidence, "say_full": full}))
    if dropping:
        kept = {f"{name} {removed}": [_share(m), _kept(m)] for name, removed, m in dropping}
        wrong = [name for name, (taken, keeps) in kept.items() if taken != keeps]
        checks.append(Check(DROPS, not wrong, {"taken_and_kept_share": kept, "otherwise": wrong}))
    return checks


def _kind(record: Record) -> str:
    """Return whether a row is of a masking or a dropping method, as measured or as presented."""
    measured: str = "masking" if record.measured.get("masked_entries") else "dropping"
    return str(record.parameters.get("presented", measured))


def _share(measured: dict[str, Any]) -> float:
    """Return the allocated bits as a share of the full cache."""
    return float(measured["allocated_bits"] / measured["full_cache_bits"])


def _nominal(measured: dict[str, Any]) -> float:
    """Return the nominal bits as a share of the full cache."""
    return float(measured["nominal_bits"] / measured["full_cache_bits"])


def _kept(measured: dict[str, Any]) -> float:
    """Return the share of entries that are kept."""
    return float((measured["kept_entries"] or 0) / measured["all_entries"])


def draw(records: Sequence[Record]) -> Figure:
    """Draw allocated against nominal bits."""
    figure, axes = new_figure(width=6.0, height=4.0)
    axes.plot([0, 1], [0, 1], color=THEORY, linewidth=1, label="what the method says")
    axes.axhline(1, color=THEORY, linewidth=1, linestyle="--", label="the full cache")
    markers = "osv^DPX*<>"
    for i, name in enumerate([*MASKING, *DROPPING]):
        points = [r.measured for r in records if r.parameters["method"][0] == name]
        masked = name in MASKING
        look = {"linestyle": ":" if masked else "none", "color": COLOURS[1] if masked else COLOURS[0]}
        axes.plot([_nominal(m) for m in points], [_share(m) for m in points], marker=markers[i], markersize=7,
                  markerfacecolor="none", linewidth=0.8, label=f"{name} ({'masks' if masked else 'drops'})", **look)  # fmt: skip
    axes.set(
        xlim=(0, 1),
        ylim=(0, 2.2),
        xlabel="nominal size (share of the full cache)",
        ylabel="allocated size (share of the full cache)",
        title=f"What is said and what is there, n = {records[0].parameters['tokens']}, d = 64",
    )
    figure.legend(loc="outside right upper")
    return figure


CLAIM = Claim(
    id="mask-is-not-memory",
    title="A mask frees no memory",
    source="Ours, on the methods of kvpress",
    statement=(
        "Methods that mark entries as dropped without removing them occupy at least the full cache, in memory and "
        "on the wire, whatever size they state; methods that remove entries occupy exactly what they keep."
    ),
    theory="12",
    checks=(MASKS, SAYS, DROPS),
    cells=grid,
    measure=measure,
    judge=judge,
    draw=draw,
    controls=(
        Control("methods that drop, as masking", MASKS, _presented("masking", DROPPING.items())),
        Control(
            "the full cache, as masking",
            SAYS,
            _presented("masking", [("full", "transformers:DynamicCache")], removed=0.0),
        ),
        Control("methods that mask, as dropping", DROPS, _presented("dropping", MASKING.items())),
    ),
    requires=REQUIRES,
)

if __name__ == "__main__":
    run_alone(CLAIM)
