"""A model file (GGUF) from given weight matrices."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.checks import one_of
from kvfloor.attention.engines.llamacpp.library import needed
from kvfloor.attention.engines.llamacpp.settings import Settings

__all__ = ["ARCHITECTURES", "write_model"]

ARCHITECTURES = {"llama": "llama", "mistral": "llama", "qwen3": "qwen3"}
"""What llama.cpp calls the model classes; its qwen2 has no heads of a dimension of their own."""

SLIDING = "granite_swa"
"""The one whose layers are llama's and take any pattern of sliding windows."""

PLACES = {
    "query": "attn_q.weight",
    "key": "attn_k.weight",
    "value": "attn_v.weight",
    "output": "attn_output.weight",
    "gate": "ffn_gate.weight",
    "up": "ffn_up.weight",
    "down": "ffn_down.weight",
}
"""Where a file keeps each matrix of a layer."""

GAINS = {"query_gain": "attn_q_norm.weight", "key_gain": "attn_k_norm.weight"}  # where queries are normalised
NO_SINK = -1e30  # the score of an attention sink that takes no weight
NO_ROTATION = 1e30  # positions are divided by this


def write_model(
    path: Path, weights: Mapping[str, NDArray[Any]], dim: int, settings: Settings, architecture: str = "llama"
) -> None:
    """Write a model file in float32.

    Parameters
    ----------
    path : Path
        Where to.
    weights : mapping of str to ndarray
        For each layer "0.query" and the others of ``PLACES`` and ``GAINS``, float32, and "unembed", shape
        (V, H); gains that the class does not have are left out, its norms and biases are 1 and 0.
    dim : int
        Dimension of a head.
    settings : Settings
        The cache, for its sliding window.
    architecture : str
        A name in ``ARCHITECTURES``.

    Raises
    ------
    ValueError
        If there is no such class, or it has no sliding window; `NotInstalledError` if gguf is missing.
    """
    name = ARCHITECTURES[one_of("architecture", architecture, ARCHITECTURES)]
    if settings.sliding_window and name != "llama":
        raise ValueError(
            f"{architecture} has no sliding window in llama.cpp; take the model llama, or sliding_window=0"
        )
    name = SLIDING if settings.sliding_window else name
    middle, width = weights["0.gate"].shape
    layers = sum(part.endswith(".query") for part in weights)
    heads, kv_heads = (len(weights[part]) // dim for part in ("0.query", "0.key"))
    writer = needed("gguf").GGUFWriter(path, name)
    writer.add_context_length(1 << 20)
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(middle)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_key_length(dim)
    writer.add_value_length(dim)
    writer.add_rope_dimension_count(dim)
    writer.add_layer_norm_rms_eps(1e-12)
    writer.add_vocab_size(len(weights["unembed"]))
    writer.add_rope_scaling_type(needed("gguf").RopeScalingType.LINEAR)
    writer.add_rope_scaling_factor(NO_ROTATION)
    writer.add_tokenizer_model("none")
    tensors = {"token_embd.weight": np.zeros_like(weights["unembed"]), "output.weight": weights["unembed"]}
    tensors["output_norm.weight"] = np.ones(width)
    if settings.sliding_window:
        writer.add_sliding_window(settings.sliding_window)
        writer.add_array(
            f"{name}.attention.sliding_window_pattern", [settings.slides(i) for i in range(layers)]
        )
        writer.add_logit_scale(1.0)
        tensors |= {f"blk.{i}.attn_sinks.weight": np.full(heads, NO_SINK) for i in range(layers)}
    for layer in range(layers):
        places = PLACES | (GAINS if name == "qwen3" else {})
        tensors |= {f"blk.{layer}.{place}": weights[f"{layer}.{part}"] for part, place in places.items()}
        tensors |= {f"blk.{layer}.{norm}.weight": np.ones(width) for norm in ("attn_norm", "ffn_norm")}
    for place, tensor in tensors.items():
        writer.add_tensor(place, np.ascontiguousarray(tensor, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
