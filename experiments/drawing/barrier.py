"""The panels that barriers of several input models share; their rows are those of `judging.barrier`."""

from collections.abc import Sequence

from kvfloor.experiments.drawing.panels import closed, ticks
from kvfloor.experiments.drawing.style import COLOURS, THEORY, Axes, shade_impossible
from kvfloor.experiments.engine.store import Record
from kvfloor.experiments.judging.plays import accuracy
from kvfloor.experiments.judging.rows import series, where
from kvfloor.experiments.judging.scaling import exponent

__all__ = ["draw_growth", "draw_sweep"]


def draw_growth(
    axes: Axes, records: Sequence[Record], label: str, eta: float, keys: str = "gaussian"
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
    rows = where(records, keys=keys, eta=eta, norm_share=None)
    exact, packed = (where(rows, cache=name) for name in ("exact", "packed"))
    sizes, hidden, certified, wire = series(exact, "size", "symbols", "certified_bits", "wire_bits")
    shade_impossible(axes, sizes, 1, hidden)
    axes.plot(sizes, hidden, color=THEORY, label=label)
    fitted = exponent(sizes, certified)
    axes.plot(sizes, wire, "D--", color=COLOURS[0], linewidth=0.8, label="on the wire, float64 cache")
    axes.plot(*series(packed, "size", "wire_bits"), "x", color=COLOURS[1], markersize=7,
              label="on the wire, packed bits")  # fmt: skip
    axes.plot(sizes, certified, "o", color=COLOURS[2], markerfacecolor="none",
              label=f"certified: exponent {fitted:.3f}")  # fmt: skip
    lowest = min(certified)
    axes.set(xscale="log", yscale="log", ylabel="bits", ylim=(0.3 * lowest, 30 * max(wire)))
    ticks(axes, sizes)
    closed(axes, sizes[-1], 0.45 * lowest, "closed to every cache that decodes all", ha="right", fontsize=8)
    axes.legend(loc="upper left")


def draw_sweep(axes: Axes, records: Sequence[Record], etas: Sequence[float], names: dict[str, str]) -> None:
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
            rows = [r for r in where(records, keys=kind, eta=eta) if "norm_share" in r.parameters]
            axes.plot(
                *series(rows, "norm_share", accuracy), style, color=colour, label=f"{name}, η = {eta:g}"
            )
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
