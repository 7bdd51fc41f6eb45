"""kNN attention: near keys scored exactly, the rest sampled, at sublinear time a query (theory 9)."""

from kvfloor.attention.knn.cells import CellIndex
from kvfloor.attention.knn.faiss_index import FaissIndex
from kvfloor.attention.knn.forward import Answer, knn_attention, sampled_attention, truncated_attention
from kvfloor.attention.knn.indexes import ExactIndex, GrowingIndex, KeyIndex, Neighbours, recall

__all__ = [
    "Answer",
    "CellIndex",
    "ExactIndex",
    "FaissIndex",
    "GrowingIndex",
    "KeyIndex",
    "Neighbours",
    "knn_attention",
    "recall",
    "sampled_attention",
    "truncated_attention",
]
