"""kNN attention: near keys scored exactly, the rest sampled, at sublinear time a query (theory 9).

`indexes` finds near keys (exactly, or of a growing stream; `cells` and `faiss_index` approximately), `shortlist` says
what a query scores, `gumbel` draws tokens from softmax, `forward` answers, `backward` estimates gradients. The space
barrier stands: nothing here is a cache.
"""

from kvfloor.attention.inputs import Inputs
from kvfloor.attention.knn.backward import Walk, estimated_gradients, row_probabilities, truncated_gradients
from kvfloor.attention.knn.cells import CellIndex
from kvfloor.attention.knn.faiss_index import FaissIndex
from kvfloor.attention.knn.forward import Answer, knn_attention, sampled_attention, truncated_attention
from kvfloor.attention.knn.indexes import ExactIndex, GrowingIndex, KeyIndex, Neighbours, recall
from kvfloor.attention.knn.shortlist import Near

__all__ = [
    "Answer",
    "CellIndex",
    "ExactIndex",
    "FaissIndex",
    "GrowingIndex",
    "Inputs",
    "KeyIndex",
    "Near",
    "Neighbours",
    "Walk",
    "estimated_gradients",
    "knn_attention",
    "recall",
    "row_probabilities",
    "sampled_attention",
    "truncated_attention",
    "truncated_gradients",
]
