"""Computes softmax attention, exactly and approximately, and keeps caches of it."""

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
