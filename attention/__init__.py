"""Softmax attention, exactly and approximately, and caches of it.

`softmax`, `tensor`, `visual` and `window` are exact, a kind a file, on `kernel`; `gradients` go with them; `knn` is
sublinear. `caches` are ours, `engines` other people's. Arguments are checked by `checks`, `inputs` and `spelling`.
Nothing here knows of problems, encodings or claims: this package and `reductions` never import each other.
"""

from kvfloor.attention.softmax import (
    softmax_attention,
    softmax_attention_reference,
    softmax_tolerance,
    symmetric_attention,
)
from kvfloor.attention.tensor import tensor_attention, tensor_attention_reference, tensor_tolerance

__all__ = [
    "softmax_attention",
    "softmax_attention_reference",
    "softmax_tolerance",
    "symmetric_attention",
    "tensor_attention",
    "tensor_attention_reference",
    "tensor_tolerance",
]
