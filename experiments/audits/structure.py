"""How far a trained model's keys are from the hard instance: their geometry and its queries, head by head."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches.subgen.clusters import Clusters
from kvfloor.attention.engines.plain.forward import LayerTrace
from kvfloor.attention.engines.plain.texts import traced
from kvfloor.reductions.encodings.addressed import attention_to
from kvfloor.reductions.keys.incoherence import incoherence

__all__ = ["MEASURES", "HeadStructure", "hard_structure", "structure"]

MEASURES = {
    "incoherence": "largest cosine of two keys",
    "median_cosine": "median cosine of two keys",
    "neighbour_cosine": "cosine to the nearest key, median",
    "rank": "effective rank of the keys",
    "clusters": "clusters a token, at half the median distance",
    "query_norm": "score of a query along a key, median",
    "entropy": "entropy of attention (nats), mean",
}
"""What is measured of every head, and what it means."""


@dataclass(frozen=True, slots=True)
class HeadStructure:
    """The geometry of one head's keys on a text.

    Parameters
    ----------
    layer, head : int
        Which key-value head.
    incoherence, median_cosine, neighbour_cosine : float
        The largest and the median cosine of two different keys, and the median over keys of the largest.
    rank : float
        Participation ratio of the centred keys' spectrum, (sum l)^2 / sum l^2, from 1 to d.
    clusters : float
        Clusters that SubGen opens a token when their radius delta is half the median distance of two keys
        (theory 4): 1 where no two keys are near.
    query_norm : float
        Median length of a query times the mean length of a key over sqrt d: the C of unit keys (theory 3).
    entropy : float
        Mean entropy of causal attention over the second half of the text and the head's queries, nats.
    """

    layer: int
    head: int
    incoherence: float
    median_cosine: float
    neighbour_cosine: float
    rank: float
    clusters: float
    query_norm: float
    entropy: float


def structure(text: str = "prose", tokens: int = 1024) -> list[HeadStructure]:
    """Measure every head of the shipped model on a text that comes along.

    Parameters
    ----------
    text : str
        A name in `kvfloor.attention.engines.plain.texts.TEXTS`.
    tokens : int
        How many of its first tokens, at least 2.

    Returns
    -------
    list of HeadStructure
        One a layer and key-value head.

    Raises
    ------
    ValueError
        If there is no such text, or too few tokens; `NotInstalledError` if the extra is not installed.
    """
    if tokens < 2:
        raise ValueError(f"tokens must be at least 2, got {tokens}")
    return [found for layer, trace in enumerate(traced(text, tokens)) for found in _heads(layer, trace)]


def hard_structure(tokens: int, dim: int, query_norm: float, rng: np.random.Generator) -> HeadStructure:
    """Measure the hard instance of the same size: Gaussian unit keys, each asked for along itself.

    Parameters
    ----------
    tokens, dim : int
        n and d.
    query_norm : float
        C.
    rng : numpy.random.Generator
        Source of the keys.

    Returns
    -------
    HeadStructure
        As of layer and head 0.
    """
    keys = rng.standard_normal((tokens, dim))
    keys /= np.linalg.norm(keys, axis=1, keepdims=True)
    return _measured(0, 0, keys.astype(np.float32), (query_norm * dim**0.5 * keys[None]).astype(np.float32))


def _heads(layer: int, trace: LayerTrace) -> Iterator[HeadStructure]:
    """Yield what is measured of every head of a layer."""
    group = len(trace.queries) // len(trace.keys)
    for head, keys in enumerate(trace.keys):
        yield _measured(layer, head, keys, trace.queries[head * group : (head + 1) * group])


def _measured(
    layer: int, head: int, keys: NDArray[np.float32], queries: NDArray[np.float32]
) -> HeadStructure:
    """Return what is measured of one head: keys (n, d), queries (group, n, d)."""
    exact = keys.astype(np.float64)
    lengths = np.linalg.norm(exact, axis=1, keepdims=True)
    unit = exact / lengths
    pairs = np.triu_indices(len(keys), 1)
    cosines = unit @ unit.T
    distances = np.sqrt(
        np.maximum(np.add.outer(lengths[:, 0] ** 2, lengths[:, 0] ** 2) - 2 * keys @ keys.T, 0)
    )
    clusters = Clusters(keys.shape[1], float(np.median(distances[pairs])) / 2)
    clusters.join(keys)
    spectrum = np.square(np.linalg.svd(exact - exact.mean(axis=0), compute_uv=False))
    scale = np.float32(keys.shape[1] ** -0.5)
    return HeadStructure(
        layer,
        head,
        incoherence=incoherence(unit),
        median_cosine=float(np.median(cosines[pairs])),
        neighbour_cosine=float(np.median((cosines - 2 * np.eye(len(keys))).max(axis=1))),
        rank=float(spectrum.sum() ** 2 / np.square(spectrum).sum()),
        clusters=len(clusters) / len(keys),
        query_norm=float(np.median(np.linalg.norm(queries, axis=2)) * lengths.mean() * scale),
        entropy=float(np.mean([_entropy(each * scale, keys) for each in queries])),
    )


def _entropy(queries: NDArray[np.float32], keys: NDArray[np.float32]) -> float:
    """Return the mean entropy of causal attention over the second half of the queries."""
    found = []
    for position in range(len(keys) // 2, len(keys)):
        shares = attention_to(queries[position : position + 1], keys[: position + 1])[0].astype(np.float64)
        found.append(-np.sum(shares * np.log(np.maximum(shares, 1e-300))))
    return float(np.mean(found))
