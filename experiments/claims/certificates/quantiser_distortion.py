"""No quantiser is below Shannon's distortion for the bits that it sends, and how near each comes (theory 18)."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from kvfloor.attention.caches import resolve
from kvfloor.attention.caches.base import Coins
from kvfloor.experiments.claims import run_alone
from kvfloor.experiments.drawing.panels import closed
from kvfloor.experiments.drawing.style import COLOURS, THEORY, new_figure, shade_impossible
from kvfloor.experiments.engine.store import Record
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.experiments.judging.claim import Check, Claim, Control, Scale
from kvfloor.experiments.judging.rows import grouped, series, where
from kvfloor.reductions.bounds.distortion import distortion_bits
from kvfloor.reductions.checks import Doubles

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHANNON = "no quantiser is below Shannon's distortion for its bits"
SCALAR = "rotated quantisers are within 2.72 of it, codes alone counted"
SHRINKS = "a quantiser of least squares shrinks inner products by its distortion"

REQUIRES = ("gguf",)
PANTER_DITE = math.sqrt(3) * math.pi / 2  # 2.72, of scalar quantisers at high rates: D = 2.72 x 4^-b
DIM, TOKENS = 64, 256
FALSE_ALARM_DEVIATIONS = 5.3  # of a normal variable, 1e-7 on both sides
HALF_BITS = 16
FAMILIES = {
    "uniform": ("o", COLOURS[1], "uniform in groups of 32", [f"uniform:bits={b}" for b in (1, 2, 3, 4, 5, 6, 8)]),
    "turboquant": ("s", COLOURS[0], "rotated, best levels", [f"turboquant:bits={b}" for b in (1, 2, 3, 4, 5, 6, 8)]),
    "blocks": ("^", COLOURS[2], "llama.cpp's q4_0 to q8_0", [f"blocks:type_k={t},type_v={t}" for t in ("q4_0", "q4_1", "q5_0", "q5_1", "q8_0")]),
    "turned": ("v", COLOURS[3], "the same, rotated", [f"blocks:type_k={t},type_v={t},rotation=on" for t in ("q4_0", "q5_0", "q8_0")]),
    "dense": ("D", COLOURS[7], "bfloat16, float16", ["dense:dtype=bfloat16", "dense:dtype=float16"]),
}  # fmt: skip


def grid(scale: Scale) -> list[dict[str, Any]]:
    """Return every quantiser on one sphere."""
    tokens = TOKENS if scale == "quick" else 8 * TOKENS
    return [_cell(family, cache, tokens) for family, (*_, caches) in FAMILIES.items() for cache in caches]


def _cell(
    family: str, cache: str, tokens: int = TOKENS, dim: int = DIM, counted: str = "all"
) -> dict[str, Any]:
    """Return the parameters of one quantiser; "codes" counts nothing else."""
    return {"family": family, "cache": cache, "tokens": tokens, "dim": dim, "counted": counted}


class Measured(TypedDict):
    """What a quantiser made of keys and values that lie together on a sphere of radius sqrt(N)."""

    numbers: int
    counted_bits: int
    distortion: float
    certified_bits: float
    shrinkage: float
    shrinkage_slack: float


def measure(parameters: dict[str, Any], randomness: Randomness) -> Measured:
    """Send keys and values through a quantiser, and compare what comes back."""
    tokens, dim, cache = parameters["tokens"], parameters["dim"], resolve(parameters["cache"])
    x = randomness.secret().standard_normal((2, tokens, dim))
    x *= math.sqrt(x.size) / np.linalg.norm(x)
    coins = Coins(randomness.coins_seed())
    sent = cache.make(dim, dim, coins)
    sent.append(*x)
    payload = sent.to_bytes()
    restored: Any = cache.restore(payload, dim, dim, coins)
    read: Doubles = np.stack([each.astype(np.float64) for each in restored.stand_ins()])
    distortion = float(np.square(x - read).sum() / x.size)
    lost = (x * (x - read)).sum(axis=2).reshape(-1)  # of every row's square, a row being asked for itself
    codes = x.size * int(parameters["cache"].rpartition("=")[2]) if parameters["counted"] == "codes" else 0
    return {
        "numbers": x.size,
        "counted_bits": codes or 8 * len(payload),
        "distortion": distortion,
        "certified_bits": distortion_bits(x.size, distortion),
        "shrinkage": float(lost.mean() / dim),
        "shrinkage_slack": float(FALSE_ALARM_DEVIATIONS * lost.std() / math.sqrt(len(lost)) / dim),
    }


def judge(records: Sequence[Record]) -> list[Check]:
    """Check the bits that distortions prove, and the rotated quantisers' own laws."""
    shares = {
        r.parameters["cache"]: r.measured["certified_bits"] / r.measured["counted_bits"] for r in records
    }
    evidence = {"quantisers": len(records), "proved_share_of_counted": shares}
    checks = [Check(SHANNON, max(shares.values()) < 1, evidence)]
    rotated = [r for r in where(records, family="turboquant") if r.parameters["dim"] == DIM]
    if rotated:
        factors = {r.parameters["cache"]: r.measured["distortion"] * 4.0 ** _code_bits(r) for r in rotated}
        checks.append(
            Check(SCALAR, max(factors.values()) <= PANTER_DITE, {"distortion_times_4_to_b": factors})
        )
        apart = {
            r.parameters["cache"]: abs(r.measured["shrinkage"] - r.measured["distortion"]) for r in rotated
        }
        near = all(
            apart[r.parameters["cache"]] <= r.measured["shrinkage_slack"] + _halves(r) for r in rotated
        )
        checks.append(Check(SHRINKS, near, {"shrinkage_less_distortion": apart}))
    return checks


def _code_bits(record: Record) -> int:
    """Return the bits of a code that a cache's name says."""
    return int(record.parameters["cache"].rpartition("=")[2])


def _halves(record: Record) -> float:
    """Return what the rounding of norms to float16 may add to both."""
    return 2.0**-11


def draw(records: Sequence[Record]) -> "Figure":
    """Draw distortion over bits, and what each quantiser spends beyond Shannon's bits."""
    figure, (left, right) = new_figure(2, width=5.0, height=4.0)
    ramp = np.linspace(0.5, 18, 200)
    shade_impossible(left, ramp, 1e-12, 4.0**-ramp)
    left.plot(ramp, 4.0**-ramp, color=THEORY, linewidth=1, label="Shannon: 4^−b")
    left.plot(
        ramp,
        PANTER_DITE * 4.0**-ramp,
        "--",
        color=THEORY,
        linewidth=0.8,
        label="scalar codes alone: 2.72 · 4^−b",
    )
    for family, (marker, colour, label, _) in FAMILIES.items():
        rows = grouped(records, "family")[family]
        left.plot(
            *series(rows, _spent, "distortion"), marker, color=colour, markerfacecolor="none", label=label
        )
        right.plot(
            *series(rows, _spent, _beyond), marker + "-", color=colour, markerfacecolor="none", linewidth=0.7
        )
    left.set(
        yscale="log", xlim=(0.5, 17), ylim=(1e-8, 2), xlabel="bits a number on the wire, scales and norms included",
        ylabel="mean squared error D", title="a   No quantiser is below 4^−b",
    )  # fmt: skip
    closed(left, 3.2, 1e-6, "impossible")
    left.legend(loc="upper right", fontsize=7)
    right.set(
        xlim=(0.5, 17), ylim=(0, None), xlabel="bits a number on the wire", ylabel="bits beyond log2(1/D)/2",
        title="b   What is spent beyond Shannon's bits",
    )  # fmt: skip
    return figure


def _spent(record: Record) -> float:
    """Return counted bits a number."""
    return float(record.measured["counted_bits"] / record.measured["numbers"])


def _beyond(record: Record) -> float:
    """Return the bits a number that are spent beyond Shannon's."""
    return _spent(record) - 0.5 * math.log2(1 / record.measured["distortion"])


CLAIM = Claim(
    id="quantiser-distortion",
    title="No quantiser is below Shannon's distortion for the bits that it sends",
    source="Theory 16, ours; TurboQuant arXiv:2504.19874",
    statement=(
        "Keys and values on a sphere come back with mean squared error D only from more than (N/2) log2(1/D) bits, up to "
        "the slack of the certificate: scales, norms and offsets count. Rotated quantisers of b bits a code have "
        "D ≤ 2.72 · 4^−b and shrink inner products by D."
    ),
    theory="18",
    checks=(SHANNON, SCALAR, SHRINKS),
    cells=grid,
    measure=measure,
    judge=judge,
    draw=draw,
    controls=(
        # Rows of two numbers: all else that is sent is their norm.
        Control("norms left out of the count", SHANNON, [_cell("other", "turboquant:bits=1", 4 * TOKENS, 2, "codes")]),
        Control("uniform codes as rotated ones", SCALAR, [_cell("turboquant", "uniform:bits=1")]),
        Control("uniform codes, which keep inner products", SHRINKS, [_cell("turboquant", "uniform:bits=2")]),
    ),
    requires=REQUIRES,
)  # fmt: skip

if __name__ == "__main__":
    run_alone(CLAIM)
