"""What the barriers of several input models have in common: their checks, and the panels of their figures.

A row's parameters name its ``size`` n, the ``cache`` it plays ("exact" or "packed"), the accuracy ``eta`` of
the adversary and, in a sweep of the query norm, its ``norm_share`` of the guaranteed one. What was measured is
``errors``, ``symbols``, ``wire_bits`` and ``certified_bits``.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from kvfloor.experiments.drawing.style import COLOURS, THEORY, shade_impossible
from kvfloor.experiments.engine.store import Record
from kvfloor.experiments.judging.claim import Check
from kvfloor.experiments.judging.scaling import exponent, exponent_interval
from kvfloor.reductions.bounds.certificates import PREFIX_BITS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "CARRIES",
    "CHECKS",
    "DECODES",
    "GROWS",
    "HEADER_BITS",
    "PACKED",
    "draw_growth",
    "draw_sweep",
    "judge_barrier",
]

DECODES = "every bit decodes at the guaranteed query norm under worst-case noise"
CARRIES = "the wire carries more than is certified"
GROWS = "certified bits grow with the stated exponent"
PACKED = "packing takes one bit per bit"
CHECKS = (DECODES, CARRIES, GROWS, PACKED)

SIGNIFICANCE_BITS = 40.0
HEADER_BITS = 8 * 3 * 256  # what a payload and those of two sides may take beyond their arrays
Bounds = Callable[[int], tuple[float, float]]


def judge_barrier(
    records: Sequence[Record], bounds: Bounds, *, token_bits: Callable[[Record], float] = lambda record: 0.0
) -> list[Check]:
    """Check decoding, certificates, their exponent and packing on the rows that bear on each.

    Parameters
    ----------
    records : sequence of Record
        Rows of a claim or of one of its controls.
    bounds : callable
        From a size n to two multiples c n^k of the same power k, in bits, between which theory puts the
        number of hidden bits. A certificate without errors is at most t + 64 bits below it, so both bound
        the exponent.
    token_bits : callable, optional
        What packing may take for tokens whose keys are not public.

    Returns
    -------
    list of Check
        Those of `CHECKS` that some row bears on.
    """
    proved = [r for r in records if r.parameters.get("norm_share", 1.0) >= 1]
    exact = [r for r in proved if r.parameters["cache"] == "exact"]
    checks = []
    if exact:
        errors = sum(r.measured["errors"] for r in exact)
        bits = sum(r.measured["symbols"] for r in exact)
        checks.append(Check(DECODES, errors == 0, {"instances": len(exact), "bits": bits, "errors": errors}))
    if proved:
        share = max(r.measured["certified_bits"] / r.measured["wire_bits"] for r in proved)
        checks.append(Check(CARRIES, share < 1, {"largest_certified_share_of_wire": share}))
    grown = _growth(exact, bounds)
    if grown:
        inside = all(low <= found <= high for found, low, high in grown.values())
        checks.append(Check(GROWS, inside, {"exponent_least_most": grown}))
    packed = [r for r in proved if r.parameters["cache"] == "packed"]
    if packed:
        excess = [r.measured["wire_bits"] - r.measured["symbols"] for r in packed]
        lean = [0 <= e <= HEADER_BITS + token_bits(r) for e, r in zip(excess, packed, strict=True)]
        checks.append(Check(PACKED, all(lean), {"bits_beyond_one_per_bit": excess}))
    return checks


def _growth(exact: Sequence[Record], bounds: Bounds) -> dict[str, tuple[float, float, float]]:
    """Return, for each series of sizes, the exponent of the certified bits and the ends it must keep to."""
    series: dict[str, dict[int, float]] = {}
    for record in exact:
        name = f"{record.parameters['keys']}, eta = {record.parameters['eta']:g}"
        series.setdefault(name, {})[record.parameters["size"]] = record.measured["certified_bits"]
    found = {}
    for name, bits in series.items():
        if len(bits) > 1:
            sizes = sorted(bits)
            least, most = zip(*(bounds(size) for size in sizes), strict=True)
            lost = SIGNIFICANCE_BITS + PREFIX_BITS + 1  # and a bit for the rounding of the ball
            ends = exponent_interval(sizes, [bound - lost for bound in least], most)
            found[name] = (exponent(sizes, [bits[size] for size in sizes]), *ends)
    return found


def draw_growth(
    axes: "Axes", records: Sequence[Record], label: str, eta: float, keys: str = "gaussian"
) -> None:
    """Draw certified and sent bits over the size, with the region closed to every exact cache.

    Parameters
    ----------
    axes : Axes
        Where to.
    records : sequence of Record
        The claim's rows.
    label : str
        Formula of the hidden bits.
    eta : float
        The accuracy whose rows are drawn.
    keys : str
        The kind of keys whose rows are drawn.
    """
    rows: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    for r in records:
        p = r.parameters
        if p["keys"] == keys and p["eta"] == eta and "norm_share" not in p:
            rows.setdefault(p["cache"], []).append((p["size"], r.measured))
    exact, packed = (sorted(rows[name], key=lambda row: row[0]) for name in ("exact", "packed"))
    sizes = [size for size, _ in exact]
    hidden = [row["symbols"] for _, row in exact]
    shade_impossible(axes, sizes, 1, hidden)
    axes.plot(sizes, hidden, color=THEORY, label=label)
    certified = [row["certified_bits"] for _, row in exact]
    fitted = exponent(sizes, certified)
    axes.plot(sizes, [row["wire_bits"] for _, row in exact], "D--", color=COLOURS[0], linewidth=0.8,
              label="on the wire, float64 cache")  # fmt: skip
    axes.plot([size for size, _ in packed], [row["wire_bits"] for _, row in packed], "x", color=COLOURS[1],
              markersize=7, label="on the wire, packed bits")  # fmt: skip
    axes.plot(sizes, certified, "o", color=COLOURS[2], markerfacecolor="none",
              label=f"certified: exponent {fitted:.3f}")  # fmt: skip
    axes.set(
        xscale="log",
        yscale="log",
        ylabel="bits",
        ylim=(0.3 * min(certified), 30 * max(row["wire_bits"] for _, row in exact)),
    )
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()
    axes.text(sizes[-1], 0.45 * min(certified), "closed to every cache that decodes all", ha="right",
              style="italic", color="#555555", fontsize=8)  # fmt: skip
    axes.legend(loc="upper left")


def draw_sweep(axes: "Axes", records: Sequence[Record], etas: Sequence[float], names: dict[str, str]) -> None:
    """Draw the fraction of bits that survive the adversary against the query norm.

    Parameters
    ----------
    axes : Axes
        Where to.
    records : sequence of Record
        The claim's rows.
    etas : sequence of float
        The accuracies, a colour each.
    names : dict
        Kinds of keys and what they are called, a line style each.
    """
    for eta, colour in zip(etas, COLOURS, strict=False):
        for (kind, name), style in zip(names.items(), ("-", "--"), strict=False):
            rows = sorted(
                (r.parameters["norm_share"], 1 - r.measured["errors"] / r.measured["symbols"])
                for r in records
                if (r.parameters["keys"], r.parameters["eta"]) == (kind, eta) and "norm_share" in r.parameters
            )
            axes.plot(*zip(*rows, strict=True), style, color=colour, label=f"{name}, η = {eta:g}")
    axes.axvline(1.0, color=THEORY, linewidth=1)
    axes.annotate("guaranteed from here on", (1.0, 0.72), (4, 0), textcoords="offset points", rotation=90, ha="left",
                  va="center", fontsize=8)  # fmt: skip
    axes.set(
        xlabel="query norm C / guaranteed C",
        ylabel="bits decoded under worst-case (1 ± η) noise",
        ylim=(0.42, 1.03),
        xlim=(None, 1.13),
    )
    axes.legend(loc="lower left" if len(names) == 1 else "upper left", fontsize=7)
