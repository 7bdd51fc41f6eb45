"""Decoding over four caches against two: fewer bytes by a factor n/2, at nearly the same operations (theory 7).

Operations and bytes are counted as they are spent, so that rows are the same on every machine. Wall time is
not: it is what ``tests/benchmarks/tensor_decode.py`` prints, as ratios.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.tensor import kronecker_rows, tensor_attention_reference
from kvfloor.experiments.claims import run_alone
from kvfloor.experiments.claims.tensor.costs import NUMBER_BYTES, DecodeCost, Sizes
from kvfloor.experiments.drawing.panels import ticks
from kvfloor.experiments.drawing.style import COLOURS, Figure, new_figure
from kvfloor.experiments.engine.store import Record
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.experiments.judging.claim import Cell, Check, Claim, Control, Scale, cells
from kvfloor.experiments.judging.rows import grouped, where

AGREE = "all forms give the same answer"
COUNTS = "what is spent is what theory counts"
TRADE = "two caches save the products that form rows, and read n/2 times the bytes of four"

DRAWN_DIM = 64
ROUNDING = 1e-9  # of n^2 float64 terms of order 1, far above n^2 2^-53 for n up to 512
FORMULAS = {
    "four caches": Sizes.four_caches,
    "two caches": Sizes.two_caches,
    "rows formed": Sizes.rows_formed,
}
Doubles = NDArray[np.floating[Any]]


class Meter:
    """NumPy operations that add up what they spend."""

    def __init__(self) -> None:
        self.operations = self.exponentials = self.bytes_read = self.bytes_written = 0

    def read(self, *arrays: Doubles) -> None:
        """Count stored arrays as read once."""
        self.bytes_read += sum(NUMBER_BYTES * array.size for array in arrays)

    def product(self, first: Doubles, second: Doubles) -> Doubles:
        """Return a matrix product: a multiplication and an addition for every term."""
        self.operations += 2 * first.size * (second.shape[1] if second.ndim > 1 else 1)
        return first @ second

    def times(self, first: Doubles, second: Doubles) -> Doubles:
        """Return an entrywise product."""
        result = first * second
        self.operations += result.size
        return result

    def total(self, array: Doubles, axis: int | None = None) -> Any:
        """Return a sum."""
        self.operations += array.size
        return array.sum(axis=axis)

    def exp(self, array: Doubles) -> Doubles:
        """Return exponentials."""
        self.exponentials += array.size
        return np.exp(array)

    def rows(self, first: Doubles, second: Doubles) -> Doubles:
        """Return Kronecker rows, formed and written."""
        rows: Doubles = kronecker_rows(first, second)
        self.operations += rows.size
        self.bytes_written += NUMBER_BYTES * rows.size
        return rows


def four_caches(meter: Meter, query: Doubles, sides: Sequence[Doubles]) -> Doubles:
    """Answer by two matrix products."""
    k1, v1, k2, v2 = sides
    meter.read(*sides)
    weights = meter.exp(meter.product(meter.times(k1, query), k2.T))
    mixed = meter.times(meter.product(weights, v2), v1)
    answer: Doubles = meter.total(mixed, axis=0) / meter.total(weights)
    return answer


def two_caches(meter: Meter, query: Doubles, keys: Doubles, values: Doubles) -> Doubles:
    """Answer from stored rows."""
    meter.read(keys, values)
    weights = meter.exp(meter.product(keys, query))
    answer: Doubles = meter.product(weights[None, :], values)[0] / meter.total(weights)
    return answer


def rows_formed(meter: Meter, query: Doubles, sides: Sequence[Doubles]) -> Doubles:
    """Form the rows from four caches, then answer from them."""
    k1, v1, k2, v2 = sides
    meter.read(*sides)
    return two_caches(meter, query, meter.rows(k1, k2), meter.rows(v1, v2))


def grid(scale: Scale) -> list[Cell]:
    """Return all three forms over n and d."""
    sizes = (16, 32, 64, 128, 256) if scale == "quick" else (16, 32, 64, 128, 256, 512)
    return cells(form=list(FORMULAS), dim=[16, DRAWN_DIM], size=sizes)


class Measured(TypedDict):
    """Distance from exact attention, and what the answer cost."""

    error: float
    operations: int
    exponentials: int
    bytes_read: int
    bytes_written: int


def measure(parameters: dict[str, Any], randomness: Randomness) -> Measured:
    """Answer one query by one form, and count."""
    size, dim = parameters["size"], parameters["dim"]
    rng = randomness.keys()
    k1, v1, k2, v2 = (rng.normal(size=(size, dim)) / np.sqrt(dim) for _ in range(4))
    query = rng.normal(size=dim)
    sides = (k1, v1, k1 if parameters.get("repeated") else k2, v2)
    meter, form = Meter(), parameters.get("really", parameters["form"])
    if form == "two caches":
        answer = two_caches(meter, query, kronecker_rows(k1, sides[2]), kronecker_rows(v1, v2))
    else:
        answer = (four_caches if form == "four caches" else rows_formed)(meter, query, sides)
    exact = tensor_attention_reference(query[None], k1, v1, k2, v2)[0]
    scale = float(np.abs(v1).max() * np.abs(v2).max())
    return {
        "error": float(np.abs(answer - exact).max()) / scale,
        "operations": meter.operations,
        "exponentials": meter.exponentials,
        "bytes_read": meter.bytes_read,
        "bytes_written": meter.bytes_written,
    }


def judge(records: Sequence[Record]) -> list[Check]:
    """Check answers, counts against the formulas, and the two sides of the trade."""
    errors = max(r.measured["error"] for r in records)
    checks = [Check(AGREE, errors <= ROUNDING, {"largest_error": errors})]
    wrong = [r.parameters for r in records if _spent(r) != _predicted(r)]
    checks.append(Check(COUNTS, not wrong, {"rows": len(records), "otherwise": wrong}))
    spent = {
        place: {r.parameters["form"]: _spent(r) for r in rows}
        for place, rows in grouped(records, "size", "dim").items()
    }
    whole = {place: found for place, found in spent.items() if len(found) == len(FORMULAS)}
    if whole:
        holds = all(
            found["rows formed"].operations - found["two caches"].operations == 2 * n * n * dim
            and 2 * found["two caches"].bytes_read == n * found["four caches"].bytes_read
            for (n, dim), found in whole.items()
        )
        more = max(
            found["four caches"].operations / found["two caches"].operations for found in whole.values()
        )
        checks.append(Check(TRADE, holds, {"sizes": len(whole), "largest_share_of_operations": more}))
    return checks


def _spent(record: Record) -> DecodeCost:
    """Return what a row counted."""
    return DecodeCost(**{name: record.measured[name] for name in asdict(_predicted(record))})


def _predicted(record: Record) -> DecodeCost:
    """Return what theory counts for a row."""
    p = record.parameters
    return FORMULAS[p["form"]](Sizes(p["size"], p["dim"], p["dim"]))


def draw(records: Sequence[Record]) -> Figure:
    """Draw operations, bytes, and operations for each byte, over n."""
    figure, panels = new_figure(3, width=3.7, height=3.6)
    looks = zip(FORMULAS, "os^", COLOURS, strict=False)
    for form, marker, colour in looks:
        rows = where(records, form=form, dim=DRAWN_DIM)
        sizes, costs = [r.parameters["size"] for r in rows], [_spent(r) for r in rows]
        moved = [cost.bytes_read + cost.bytes_written for cost in costs]
        work = [cost.operations for cost in costs]
        curves = work, moved, [many / few for many, few in zip(work, moved, strict=True)]
        for axes, numbers in zip(panels, curves, strict=True):
            axes.plot(sizes, numbers, marker + "-", color=colour, markerfacecolor="none", label=form)
    titles = ("a   Operations nearly agree", "b   Bytes do not", "c   Work for each byte")
    labels = ("operations a query", "bytes read and written a query", "operations / byte")
    for axes, title, label in zip(panels, titles, labels, strict=True):
        axes.set(xscale="log", yscale="log", xlabel="tokens n of either side", ylabel=label, title=title)
        ticks(axes, sizes)
        axes.legend(loc="upper left")
    panels[2].set_ylim(0.1, 1e3)
    return figure


CLAIM = Claim(
    id="tensor-tradeoff",
    title="Four caches read n/2 times fewer bytes than two, at nearly the same number of operations",
    source="Chen et al., arXiv:2503.11108v2 (trade-off); counts ours",
    statement=(
        "Two caches save the n² (d + d_v) multiplications that form their rows from four, and read n² (d + d_v) stored "
        "numbers where two matrix products over four caches read 2 n (d + d_v) and form no rows. The operation count "
        "favours two caches over formed rows; time follows the bytes, for two caches do half an operation a byte."
    ),
    theory="7",
    checks=(AGREE, COUNTS, TRADE),
    cells=grid,
    measure=measure,
    judge=judge,
    draw=draw,
    controls=(
        Control(
            "the keys of one side repeated", AGREE, cells(form="four caches", dim=16, size=32, repeated=True)
        ),
        Control(
            "rows that are formed as stored ones",
            COUNTS,
            cells(form="two caches", dim=16, size=[32, 64], really="rows formed"),
        ),
        Control(
            "stored rows as four caches",
            TRADE,
            cells(form="four caches", dim=16, size=32, really="two caches")
            + cells(form=["two caches", "rows formed"], dim=16, size=32),
        ),
    ),
)

if __name__ == "__main__":
    run_alone(CLAIM)
