"""The atlas: which problem sits in which attention model, and what INDEX's bound says there.

Nodes are INDEX and the attention models, edges the reductions of `kvfloor.reductions.atlas.arrows`. An edge has two maps:
`down` takes the target's parameters to those of the source that fits into it, `up` takes the instance found
there back and says what it asks of the target. A bound on a model is INDEX's bound pushed along a path: down to
the length N and the alphabet q, up to the query norm. To add a reduction, add one `Reduction` to `REDUCTIONS`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias, cast

import networkx as nx

from kvfloor.reductions.atlas.arrows import REDUCTIONS
from kvfloor.reductions.atlas.nodes import INDEX
from kvfloor.reductions.atlas.reduction import Instance, Reduction, Shape
from kvfloor.reductions.problems.index import Index

Path: TypeAlias = tuple[Reduction, ...]


@dataclass(frozen=True, slots=True)
class Floor:
    """A lower bound on the bits of every cache of a model.

    Parameters
    ----------
    path : tuple of Reduction
        From INDEX to the model.
    instance : Instance
        What sits there.
    """

    path: Path
    instance: Instance

    @property
    def bits(self) -> float:
        """Every cache that answers the instance within eta needs more bits than this."""
        return self.instance.floor_bits


def atlas(reductions: Sequence[Reduction] | None = None) -> nx.MultiDiGraph[str]:
    """Return the graph of problems and models; each edge has its `Reduction` under "reduction".

    Parameters
    ----------
    reductions : sequence of Reduction, optional
        All of the package by default.

    Returns
    -------
    networkx.MultiDiGraph
        Acyclic; edges that differ in name run side by side.

    Raises
    ------
    ValueError
        If two edges have one name, or the edges run in a circle.
    """
    graph: nx.MultiDiGraph[str] = nx.MultiDiGraph()
    for reduction in REDUCTIONS if reductions is None else reductions:
        if graph.has_edge(reduction.source, reduction.target, reduction.name):
            raise ValueError(
                f"reductions between two nodes need different names, got {reduction.name!r} twice"
            )
        graph.add_edge(reduction.source, reduction.target, reduction.name, reduction=reduction)
    if not nx.is_directed_acyclic_graph(graph):
        raise ValueError("reductions must not run in a circle")
    return graph


def paths(model: str, graph: nx.MultiDiGraph[str] | None = None) -> Iterator[Path]:
    """Yield the paths from INDEX to a model, in the order of the edges.

    Parameters
    ----------
    model : str
        A node.
    graph : networkx.MultiDiGraph, optional
        The atlas of the package by default.

    Yields
    ------
    tuple of Reduction
        A path.

    Raises
    ------
    ValueError
        If there is no such model.
    """
    graph = atlas() if graph is None else graph
    models = [node for node in graph if node != INDEX]
    if model not in models:
        raise ValueError(f"model must be one of {', '.join(models)}; got {model!r}")
    for path in nx.all_simple_edge_paths(graph, INDEX, model):
        yield tuple(graph.edges[edge]["reduction"] for edge in cast(list[tuple[str, str, str]], path))


def push(path: Path, shape: Shape) -> Floor | None:
    """Push INDEX's bound along a path to a model of that shape.

    Returns
    -------
    Floor or None
        None where a reduction of the path does not apply to such a shape.
    """
    *inner, last = path
    fitted = last.down(shape)
    if isinstance(fitted, Index):
        found: Instance | None = Instance(fitted)
    else:
        below = None if fitted is None else push(tuple(inner), fitted)
        found = None if below is None else below.instance
    lifted = None if found is None else last.up(found, shape)
    return None if lifted is None else Floor(path, lifted)


def floors_of(model: str, shape: Shape) -> list[Floor]:
    """Return the bounds on a model of the atlas along all paths that apply, in the order of the edges."""
    pushed = (push(path, shape) for path in paths(model))
    return [floor for floor in pushed if floor is not None]


def floor_bits(model: str, shape: Shape) -> float:
    """Return the largest bound on the bits of every cache of a model of the atlas; 0 where no path applies.

    Examples
    --------
    >>> from kvfloor.reductions.atlas.nodes import TENSOR_FOUR
    >>> round(floor_bits(TENSOR_FOUR, Shape(tokens=64, dim=256, value_dim=16)))  # 2 n d_v - 104
    1944
    """
    return max((floor.bits for floor in floors_of(model, shape)), default=0.0)
