"""The figure and the table of `kvfloor structure`."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from kvfloor.experiments.audits.structure import MEASURES, HeadStructure
from kvfloor.experiments.drawing.style import COLOURS, THEORY, new_figure, save, styled

__all__ = ["draw", "summary"]


def draw(heads: Sequence[HeadStructure], hard: HeadStructure, folder: Path, name: str) -> Path:
    """Draw every measure over the layers, and the hard instance beside it.

    Parameters
    ----------
    heads : sequence of HeadStructure
        All heads of a model.
    hard : HeadStructure
        The hard instance of the same size.
    folder : Path
        Where to.
    name : str
        File name without an ending.

    Returns
    -------
    Path
        The SVG's path.
    """
    with styled():
        figure, axes = new_figure(3, rows=3, width=2.3, height=6.6)
        for place, (measure, meaning) in zip(axes.flat, MEASURES.items(), strict=False):
            for head, marker in zip(sorted({each.head for each in heads}), "os^Dv*", strict=False):
                rows = [each for each in heads if each.head == head]
                layers, heights = [each.layer for each in rows], [getattr(each, measure) for each in rows]
                place.plot(layers, heights, marker, color=COLOURS[head], markerfacecolor="none", markersize=4)
            place.axhline(getattr(hard, measure), color=THEORY, linestyle="--", linewidth=1)
            place.set_title(meaning, fontsize=8)
            place.set_xlabel("layer")
        for spare in axes.flat[len(MEASURES) :]:
            spare.axis("off")
        last = axes.flat[len(MEASURES)]
        for head in sorted({each.head for each in heads}):
            last.plot(
                [], [], "os^Dv*"[head], color=COLOURS[head], markerfacecolor="none", label=f"head {head}"
            )
        last.plot([], [], color=THEORY, linestyle="--", label="hard instance:\nGaussian keys")
        last.legend(loc="center")
        return save(figure, folder, name)


def summary(heads: Sequence[HeadStructure], hard: HeadStructure) -> list[tuple[str, str, str, str]]:
    """Return the lines of the table: the measure, its median over heads, its range, and the hard instance's."""
    lines = []
    for measure, meaning in MEASURES.items():
        found = np.array([asdict(each)[measure] for each in heads])
        spread = f"{found.min():.3g} to {found.max():.3g}"
        lines.append((meaning, f"{np.median(found):.3g}", spread, f"{getattr(hard, measure):.3g}"))
    return lines
