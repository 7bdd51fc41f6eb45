"""Pieces of panels that many figures share."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from kvfloor.experiments.drawing.style import THEORY, Axes, shade_impossible
from kvfloor.reductions.bounds.frontier import frontier_accuracy

__all__ = ["closed", "draw_frontier", "ticks"]


def ticks(
    axes: Axes, places: Iterable[Any], form: str = "{}", *, labels: Sequence[str] | None = None
) -> None:
    """Mark places on a logarithmic x axis in plain numbers, and nothing between them.

    Parameters
    ----------
    axes : Axes
        Where to.
    places : iterable of float
        Where the ticks are.
    form : str
        How a place is written, such as "{:,}".
    labels : sequence of str, optional
        What is written in the place of the numbers.
    """
    places = list(places)
    axes.set_xticks(places, labels or [form.format(place) for place in places])
    axes.minorticks_off()


def closed(axes: Axes, x: float, y: float, text: str = "closed to every cache", **look: Any) -> None:
    """Write into a shaded region what it is closed to; `look` goes to ``Axes.text``."""
    axes.text(x, y, text, style="italic", color="#555555", **look)


def draw_frontier(axes: Axes, rates: Any, top: float, share: float = 1.0, *, linewidth: float = 1.2) -> None:
    """Draw Shannon's frontier for bits, and shade what lies above it.

    Parameters
    ----------
    axes : Axes
        Where to.
    rates : ndarray
        Places on the x axis: bits on the wire for each hidden bit.
    top : float
        Where the shade ends.
    share : float
        Fraction of the hidden bits whose accuracy is drawn, the others being as good as public.
    linewidth : float
        Of the line, in points.
    """
    frontier = np.array([frontier_accuracy(min(rate / share, 1.0), 2) for rate in rates])
    shade_impossible(axes, rates, frontier, top)
    axes.plot(rates, frontier, color=THEORY, linewidth=linewidth, label="Shannon frontier")
