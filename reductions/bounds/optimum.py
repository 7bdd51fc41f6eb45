"""The exact optimum of small cases: the least number of messages of any protocol (theory 10).

Two streams are distinguishable if, for some query and coordinate, no answer is within eta for both. The least
number of messages of a protocol without error is the chromatic number of the graph of distinguishable pairs.
It is bracketed from both sides, each with a witness that is checked without trust in the search that found it:

- above, a colouring: streams of a colour have a common answer (`common_answer`);
- below, weights of the streams of which no message can carry more than a share (`messages_needed`). Equal
  weights on a clique are the plain case; others show more where no clique is as large as the colouring.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log2
from typing import Any, Literal, TypeAlias

import networkx as nx
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import LinearConstraint, milp
from scipy.sparse import csr_array

from kvfloor.reductions.checks import Floats, check_eta

Reals: TypeAlias = NDArray[np.float64]
Graph: TypeAlias = "nx.Graph[int]"

ROUNDING = 2.0**-40
"""Intervals that miss each other by less than this, relatively, count as touching: outputs are rounded."""

Strategy: TypeAlias = Literal["largest_first", "smallest_last", "DSATUR", "independent_set"]
_STRATEGIES: tuple[Strategy, ...] = ("largest_first", "smallest_last", "DSATUR", "independent_set")
_WEIGHT_SCALE = 1 << 20
_MOST_SETS = 20_000


@dataclass(frozen=True, slots=True)
class Bracket:
    """How many messages a protocol without error needs, from both sides.

    Parameters
    ----------
    lower_messages, upper_messages : int
        No protocol has fewer than the one, and one has as many as the other.
    weights : tuple of int
        For each stream, the witness of `lower_messages` (`messages_needed`).
    colours : tuple of int
        For each stream its message in 0..upper_messages-1, the witness of `upper_messages`.
    """

    lower_messages: int
    upper_messages: int
    weights: tuple[int, ...]
    colours: tuple[int, ...]

    @property
    def closed(self) -> bool:
        """Whether both sides agree, so that the optimum is known."""
        return self.lower_messages == self.upper_messages

    @property
    def lower_bits(self) -> float:
        """log2 of `lower_messages`: no cache has fewer bits."""
        return log2(self.lower_messages)

    @property
    def upper_bits(self) -> float:
        """log2 of `upper_messages`."""
        return log2(self.upper_messages)


def distinguishability_graph(outputs: Floats, eta: float) -> Graph:
    """Return the graph of the pairs of streams that cannot share a message.

    Parameters
    ----------
    outputs : ndarray, shape (streams, queries, coordinates)
        Exact answers, at least 0.
    eta : float
        Relative accuracy in [0, 1).

    Returns
    -------
    networkx.Graph
        On 0..streams-1; an edge where the intervals [(1-eta) A, (1+eta) A] of two streams are disjoint for
        some query and coordinate.

    Raises
    ------
    ValueError
        If the outputs are no such array or eta is out of its range.
    """
    low, high = _intervals(outputs, eta)
    apart = np.array([(row > high).any(axis=1) for row in low])
    graph: Graph = nx.from_numpy_array(apart | apart.T)
    return graph


def common_answer(outputs: Floats, eta: float) -> Reals | None:
    """Return answers that are within eta for every one of these streams, if there are any.

    Intervals on a line that meet pairwise have a common point (Helly), so that pairwise indistinguishable
    streams always have such answers. The parameters are those of `distinguishability_graph`.

    Returns
    -------
    ndarray, shape (queries, coordinates), or None
        The middle of what the intervals have in common.
    """
    low, high = _intervals(outputs, eta)
    largest, least = low.max(axis=0), high.min(axis=0)
    if (largest > least).any():
        return None
    middle: Reals = (largest + least) / 2
    return middle.reshape(np.shape(outputs)[1:])


def messages_needed(graph: Graph, weights: Sequence[int]) -> int:
    """Return a number of messages that every protocol needs, from weights of the streams.

    Streams that share a message are pairwise indistinguishable. If any such set weighs at most w, then W in
    total need W/w messages. All is in integers, and w is found exactly.

    Parameters
    ----------
    graph : networkx.Graph
        The distinguishable pairs of streams 0..n-1.
    weights : sequence of int
        A weight of each stream, at least 0.

    Returns
    -------
    int
        ceil(W/w); 1 if all weights are 0.

    Raises
    ------
    ValueError
        If there is not one weight for each stream, or one is negative.
    """
    if len(weights) != len(graph) or any(weight < 0 for weight in weights):
        raise ValueError(f"weights must be {len(graph)} numbers, at least 0")
    heavy = [stream for stream in graph if weights[stream] > 0]
    if not heavy:
        return 1
    shareable = nx.complement(graph.subgraph(heavy))
    nx.set_node_attributes(shareable, {stream: weights[stream] for stream in heavy}, "weight")
    _, most = nx.max_weight_clique(shareable, weight="weight")
    return -(-sum(weights) // most)


def least_messages(graph: Graph) -> Bracket:
    """Bracket the least number of messages of a protocol without error.

    A largest clique and the best of networkx's greedy colourings come first. Where they differ and there are
    at most 20000 maximal sets of streams that can share a message, covering the streams by such sets decides:
    the linear program's dual gives weights, the integer program a colouring.

    Parameters
    ----------
    graph : networkx.Graph
        The distinguishable pairs of streams 0..n-1, n >= 1.

    Returns
    -------
    Bracket
        With witnesses of both sides; `messages_needed` confirms the lower one.

    Raises
    ------
    ValueError
        If the graph has no stream.
    """
    if len(graph) == 0:
        raise ValueError("a family needs at least 1 stream, got 0")
    # Streams told from all others belong to every largest clique; leaving them out is most of the speed.
    core = graph.subgraph([stream for stream, degree in graph.degree if degree < len(graph) - 1])
    clique, _ = nx.max_weight_clique(core, weight=None)
    members = set(graph) - set(core) | set(clique)
    size = len(members)
    weights = tuple(int(stream in members) for stream in range(len(graph)))
    colours = min((_greedy_colours(graph, strategy) for strategy in _STRATEGIES), key=max)
    if size == max(colours) + 1:
        return Bracket(size, size, weights, colours)
    return _covered(graph, Bracket(size, max(colours) + 1, weights, colours))


def _covered(graph: Graph, bracket: Bracket) -> Bracket:
    """Narrow a bracket by covering the streams with sets that can share a message."""
    sets: list[list[int]] = []
    for found in nx.find_cliques(nx.complement(graph)):
        sets.append(found)
        if len(sets) > _MOST_SETS:
            return bracket
    column = np.repeat(np.arange(len(sets)), [len(found) for found in sets])
    entries = (np.ones(len(column)), (np.concatenate(sets), column))
    cover = csr_array(entries, shape=(len(graph), len(sets)))
    ones, each = np.ones(len(sets)), np.ones(len(graph))
    dual = milp(-each, constraints=LinearConstraint(cover.T, ub=ones))
    weights = tuple(int(weight) for weight in np.round(_solution(dual) * _WEIGHT_SCALE))
    lower = messages_needed(graph, weights)
    if lower <= bracket.lower_messages:
        lower, weights = bracket.lower_messages, bracket.weights
    upper, colours = bracket.upper_messages, bracket.colours
    if lower < upper:
        integers = np.ones(len(sets), np.int64)
        best = milp(ones, constraints=LinearConstraint(cover, lb=1), integrality=integers)
        chosen = [sets[i] for i in np.flatnonzero(_solution(best) > 0.5)]
        if len(chosen) < upper:
            upper, colours = len(chosen), _colours_of_cover(len(graph), chosen)
    return Bracket(lower, upper, weights, colours)


def _solution(result: Any) -> Reals:
    """Return what the solver found; both programs have a finite optimum."""
    assert result.x is not None, result.message
    solution: Reals = result.x
    return solution


def _greedy_colours(graph: Graph, strategy: Strategy) -> tuple[int, ...]:
    """Return the colours that one of networkx's strategies gives."""
    colours = nx.greedy_color(graph, strategy=strategy)
    return tuple(colours[stream] for stream in range(len(graph)))


def _colours_of_cover(streams: int, sets: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """Return for each stream the last of the sets that hold it; a least cover uses every set."""
    colours = np.zeros(streams, np.int64)
    for colour, members in enumerate(sets):
        colours[members] = colour
    return tuple(colours.tolist())


def _intervals(outputs: Floats, eta: float) -> tuple[Reals, Reals]:
    """Return the ends of the accepted answers, each of shape (streams, queries x coordinates)."""
    exact: NDArray[Any] = np.asarray(outputs, dtype=np.float64)
    if exact.ndim != 3 or exact.size == 0:
        raise ValueError(f"outputs must have shape (streams, queries, coordinates), got {exact.shape}")
    if not (np.isfinite(exact).all() and (exact >= 0).all()):
        raise ValueError("outputs must be finite and at least 0")
    check_eta(eta)
    flat = exact.reshape(len(exact), -1)
    return (1 - eta) * (1 - ROUNDING) * flat, (1 + eta) * (1 + ROUNDING) * flat
