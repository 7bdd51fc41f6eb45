"""How figures look, and how they are written: the same rows give the same bytes."""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kvfloor.experiments.engine.files import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:  # claims are imported often and drawn seldom: matplotlib is loaded by the first figure
    Axes = Figure = Any

__all__ = [
    "COLOURS",
    "IMPOSSIBLE",
    "THEORY",
    "Axes",
    "Figure",
    "new_figure",
    "save",
    "shade_impossible",
    "styled",
]

# Okabe and Ito's palette: distinct to colour-blind readers; markers repeat the distinction for grey print.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#5F5F5F", "#000000")
THEORY = "#000000"
IMPOSSIBLE = "#C9C9C9"

METADATA: dict[str, dict[str, str | None]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": "kvfloor"},
}
STYLE: dict[str, Any] = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "figure.dpi": 100,
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.6,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "lines.markersize": 5,
    "mathtext.fontset": "dejavusans",
    "savefig.dpi": 160,
    "svg.hashsalt": "kvfloor",
    "text.usetex": False,
}


def new_figure(
    columns: int = 1, *, rows: int = 1, width: float = 4.6, height: float = 3.4, **options: Any
) -> "tuple[Figure, Any]":
    """Return a figure and its axes.

    Parameters
    ----------
    columns : int
        Panels side by side.
    rows : int
        Panels one above the other.
    width, height : float
        Inches of one panel's width, and of the whole figure's height.
    **options
        Passed to ``Figure.subplots``.

    Returns
    -------
    figure : Figure
    axes : Axes or ndarray of Axes
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(columns * width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, **options)


@contextlib.contextmanager
def styled() -> Iterator[None]:
    """Apply the project's style: figures are made and saved inside this context."""
    import matplotlib as mpl

    settings: Any = {**mpl.rcParamsDefault, "backend": "agg", **STYLE}
    with mpl.rc_context(settings):
        yield


def shade_impossible(axes: "Axes", x: Any, low: Any, high: Any, label: str | None = None) -> None:
    """Shade the region that theory closes to every cache, between two curves over x."""
    axes.fill_between(x, low, high, color=IMPOSSIBLE, alpha=0.55, linewidth=0, zorder=0, label=label)


def save(figure: "Figure", folder: str | Path, name: str) -> Path:
    """Write a figure as SVG and PNG, each whole or not at all.

    Parameters
    ----------
    figure : Figure
        What to write.
    folder : str or Path
        Made if it does not exist.
    name : str
        File name without an ending.

    Returns
    -------
    Path
        The SVG's path. No date and no random identifier goes into either file.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for ending, facts in METADATA.items():
        drawn = io.BytesIO()
        figure.savefig(drawn, format=ending, metadata=facts)
        write_whole(folder / f"{name}.{ending}", drawn.getvalue())
    return folder / f"{name}.svg"
