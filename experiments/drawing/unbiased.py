"""The panels of means that are compared with exact sums; their numbers come from `judging.unbiased`."""

from typing import Any

from kvfloor.experiments.drawing.style import COLOURS, THEORY, Axes

__all__ = ["draw_chance", "finish_bias"]


def draw_chance(axes: Axes, queries: Any, allowed: Any) -> None:
    """Shade the errors that chance allows, over the queries, and leave as much room around them."""
    axes.fill_between(queries, -allowed, allowed, color=COLOURS[5], alpha=0.3, linewidth=0,
                      label="what chance allows, 1e-6")  # fmt: skip
    axes.set_ylim(-1.9 * allowed.max(), 1.9 * allowed.max())


def finish_bias(axes: Axes, queries: str, title: str) -> None:
    """Draw the line of no bias and name the axes."""
    axes.axhline(0, color=THEORY, linewidth=0.8)
    axes.set(xlabel=queries, ylabel="relative error of the mean", title=title)
