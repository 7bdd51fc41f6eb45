"""FAISS behind the interface of the key indexes: flat, inverted file and HNSW; an optional extra."""

from math import ceil, sqrt
from typing import Any

import numpy as np

from kvfloor.attention.checks import Matrix, integer, matrix, one_of
from kvfloor.attention.knn.indexes import Neighbours, Positions, checked_queries

__all__ = ["FaissIndex"]

_KINDS = ("flat", "ivf", "hnsw")
_LINKS = 32  # neighbours of a node in HNSW's graph


class FaissIndex:
    """An index of the FAISS library, by inner product, in float32.

    Parameters
    ----------
    keys : array_like, shape (n, d)
        The keys of n >= 1 tokens; FAISS computes in float32.
    kind : {"flat", "ivf", "hnsw"}
        Exact, an inverted file of ceil(sqrt n) lists, or a navigable graph.
    visited : int
        "ivf": lists searched for a query; "hnsw": the breadth of its search, at least k where k is larger.

    Raises
    ------
    ValueError
        If FAISS is not installed, or an argument is not as described.

    References
    ----------
    M. Douze et al. The Faiss library. arXiv:2401.08281.
    """

    def __init__(self, keys: object, *, kind: str = "flat", visited: int = 16) -> None:
        faiss = _faiss()
        self.kind = one_of("kind", kind, _KINDS)
        self.keys: Matrix = matrix("keys", keys).astype(np.float32, copy=False)
        self.visited = integer("visited", visited, 1, 1 << 20)
        tokens, dim = self.keys.shape
        self.build_probes = 0
        metric = faiss.METRIC_INNER_PRODUCT
        if kind == "flat":
            self._index: Any = faiss.IndexFlatIP(dim)
        elif kind == "hnsw":
            self._index = faiss.IndexHNSWFlat(dim, _LINKS, metric)
        else:
            lists = ceil(sqrt(tokens))
            self._index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, lists, metric)
            self._index.cp.min_points_per_centroid = 1  # no warning where lists are short
            self._index.nprobe = min(self.visited, lists)
            self._index.train(self.keys)
            trained_on = min(tokens, lists * self._index.cp.max_points_per_centroid)
            self.build_probes = lists * (trained_on * self._index.cp.niter + tokens)
        _reset(faiss)
        self._index.add(self.keys)
        if kind == "hnsw":
            self.build_probes = int(faiss.cvar.hnsw_stats.ndis)
        self._longest = float(np.linalg.norm(self.keys, axis=1).max())

    def search(self, queries: object, kept: int) -> Neighbours:
        """Return `kept` near tokens for each query, with float32 scores; see `KeyIndex.search`.

        Probes of HNSW are counted by FAISS for all queries together and shared out evenly. The ceiling of an
        approximate kind is |q| max |k|. A search that finds fewer than k tokens is a ValueError, too.
        """
        faiss = _faiss()
        checked = checked_queries(queries, self.keys, kept).astype(np.float32, copy=False)
        _reset(faiss)
        if self.kind == "hnsw":
            self._index.hnsw.efSearch = max(self.visited, kept)
        scores, positions = self._index.search(checked, kept)
        if positions.min() < 0:
            raise ValueError(
                f"FAISS ({self.kind}) found fewer than kept = {kept} tokens; raise visited above {self.visited}"
            )
        ceiling = scores.min(axis=1)
        if self.kind != "flat":
            ceiling = np.linalg.norm(checked, axis=1) * np.float32(self._longest)
        if kept == len(self.keys):
            ceiling = np.full(len(checked), -np.inf, np.float32)
        return Neighbours(positions, scores, ceiling, self._probes(faiss, checked))

    def _probes(self, faiss: Any, queries: Matrix) -> Positions:
        """Return the score evaluations of the search that was just made."""
        if self.kind == "flat":
            return np.full(len(queries), len(self.keys))
        if self.kind == "hnsw":
            return np.full(len(queries), round(faiss.cvar.hnsw_stats.ndis / len(queries)))
        _, lists = self._index.quantizer.search(queries, self._index.nprobe)
        sizes = np.array([self._index.invlists.list_size(i) for i in range(self._index.nlist)])
        probes: Positions = sizes[lists].sum(axis=1) + self._index.nlist
        return probes


def _faiss() -> Any:
    """Return the library, or say how to get it."""
    try:
        import faiss
    except ImportError:
        raise ValueError("this index needs FAISS, which `pip install 'kvfloor[faiss]'` installs") from None
    return faiss


def _reset(faiss: Any) -> None:
    """Set FAISS's global counter of score evaluations to 0."""
    faiss.cvar.hnsw_stats.reset()
