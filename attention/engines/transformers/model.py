"""A decoder-only model of the transformers library from given weight matrices."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.checks import integer, one_of
from kvfloor.attention.engines.transformers.library import needed, quiet

__all__ = ["ARCHITECTURES", "DTYPES", "FIRST_FREE", "Model", "build", "set_rows"]

ARCHITECTURES = {"llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3"}
"""The model classes, by the name under which they are asked for."""

DTYPES = ("float32", "bfloat16", "float16")
FIRST_FREE = 2
"""The first row of the embedding table that `set_rows` writes; the model answers with the rows before it."""

PLACES = {
    "query": "self_attn.q_proj",
    "key": "self_attn.k_proj",
    "value": "self_attn.v_proj",
    "output": "self_attn.o_proj",
    "query_gain": "self_attn.q_norm",
    "key_gain": "self_attn.k_norm",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
}
"""Where the library's classes keep each matrix of a layer."""

# Linear position interpolation by this factor leaves positions of any length without effect.
NO_ROTATION = {"rope_type": "linear", "factor": 1e15, "rope_theta": 1e4}


@dataclass(frozen=True, slots=True)
class Model:
    """Which model is built.

    Parameters
    ----------
    architecture : str
        One of ``ARCHITECTURES``.
    layers : int
        Layers, from 1 to 128.
    heads : int
        Query heads of a layer, from 1 to 1024.
    kv_heads : int
        Key-value heads of a layer, a divisor of `heads`; 0 stands for as many.
    dtype : str
        Number format of weights and cache, one of ``DTYPES``.

    Raises
    ------
    ValueError
        If a parameter is not of its range.
    """

    architecture: str = "llama"
    layers: int = 1
    heads: int = 1
    kv_heads: int = 0
    dtype: str = "float32"

    def __post_init__(self) -> None:
        one_of("architecture", self.architecture, ARCHITECTURES)
        one_of("dtype", self.dtype, DTYPES)
        integer("layers", self.layers, 1, 128)
        integer("heads", self.heads, 1, 1024)
        object.__setattr__(self, "kv_heads", self.kv_heads or self.heads)
        integer("kv_heads", self.kv_heads, 1, self.heads)
        if self.heads % self.kv_heads:
            raise ValueError(f"kv_heads is {self.kv_heads}, expected a divisor of the {self.heads} heads")

    @classmethod
    def parse(cls, text: str) -> "Model":
        """Return the model that a text stands for.

        Parameters
        ----------
        text : str
            ``architecture`` or ``architecture:name=value,...``, such as "qwen3:layers=2,dtype=bfloat16".

        Returns
        -------
        Model
            The model.

        Raises
        ------
        ValueError
            If a name or a value is not allowed.
        """
        architecture, _, rest = text.partition(":")
        allowed = [field.name for field in fields(cls)[1:]]
        given: dict[str, Any] = {}
        for assignment in rest.split(",") if rest else []:
            name, _, value = assignment.partition("=")
            one_of(f"the parameter in {assignment!r} of {text!r}", name, allowed)
            given[name] = int(value) if value.isdecimal() else value
        return cls(architecture, **given)

    @property
    def group(self) -> int:
        """Query heads that share a key-value head."""
        return self.heads // self.kv_heads


def build(
    model: Model,
    weights: Mapping[str, NDArray[Any]],
    dim: int,
    rows: int,
    *,
    attention: str = "sdpa",
    sliding_window: int | None = None,
) -> Any:
    """Return a model with these weights and an embedding table of zeros.

    Parameters
    ----------
    model : Model
        Its class, layers, heads and number format.
    weights : mapping of str to ndarray
        For each layer "0.query" and the others of ``PLACES``, float32, and "unembed", shape (V, H); gains
        that the class does not have are left out, its norms and biases are 1 and 0.
    dim : int
        Dimension of a head.
    rows : int
        Rows of the embedding table that `set_rows` can write.
    attention : str
        "sdpa" or "eager".
    sliding_window : int, optional
        Tokens that a query sees; all of them by default.

    Returns
    -------
    torch.nn.Module
        The model, in evaluation mode.

    Raises
    ------
    ValueError
        If a matrix is missing or of another shape, or the class has no sliding window.
    """
    torch, transformers = needed("torch"), needed("transformers")
    head, (middle, width) = weights["unembed"], weights["0.gate"].shape
    prefix = ARCHITECTURES[model.architecture]
    config = getattr(transformers, f"{prefix}Config")(
        vocab_size=FIRST_FREE + rows,
        hidden_size=width,
        intermediate_size=middle,
        num_hidden_layers=model.layers,
        num_attention_heads=model.heads,
        num_key_value_heads=model.kv_heads,
        head_dim=dim,
        max_position_embeddings=1 << 20,
        rms_norm_eps=1e-12,
        tie_word_embeddings=False,
        rope_parameters=dict(NO_ROTATION),
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
        **_window(model, sliding_window),
    )
    config._attn_implementation = attention
    state = {
        f"model.layers.{layer}.{PLACES[part]}.weight": torch.from_numpy(np.ascontiguousarray(matrix))
        for (layer, part), matrix in ((k.split("."), v) for k, v in weights.items() if k != "unembed")
    }
    for table, own in (("lm_head", head), ("model.embed_tokens", head[:0])):
        state[f"{table}.weight"] = torch.zeros(FIRST_FREE + rows, width)
        state[f"{table}.weight"][: len(own)] = torch.from_numpy(own)
    with quiet():
        built = getattr(transformers, f"{prefix}ForCausalLM")(config).to(getattr(torch, model.dtype)).eval()
    for parameter, tensor in built.named_parameters():
        found = state.get(parameter)
        if found is None and parameter.endswith(("layernorm.weight", "model.norm.weight")):
            found = torch.ones(width)
        elif found is None and parameter.endswith(".bias"):
            found = torch.zeros(len(tensor))
        if found is None:
            raise ValueError(f"{prefix} needs a matrix {parameter}, and the weights have none")
        if found.shape != tensor.shape:
            raise ValueError(f"{parameter} has shape {tuple(found.shape)}, expected {tuple(tensor.shape)}")
        with torch.no_grad():
            tensor.copy_(found)
        tensor.requires_grad_(False)
    return built


def set_rows(built: Any, rows: NDArray[np.float32]) -> Any:
    """Write rows of the embedding table and clear the others.

    Parameters
    ----------
    built : torch.nn.Module
        What `build` returned.
    rows : ndarray of float32, shape (m, H)
        The rows, m at most what the model was built for.

    Returns
    -------
    torch.Tensor of int64, shape (m,)
        The tokens that stand for them.
    """
    torch = needed("torch")
    table = built.model.embed_tokens.weight
    with torch.no_grad():
        table.zero_()
        table[FIRST_FREE : FIRST_FREE + len(rows)] = torch.from_numpy(rows).to(table.dtype)
    return torch.arange(FIRST_FREE, FIRST_FREE + len(rows))


def _window(model: Model, sliding_window: int | None) -> dict[str, Any]:
    """Return how a class is told its sliding window."""
    if model.architecture == "llama":
        if sliding_window is not None:
            raise ValueError("llama has no sliding window; take --model mistral, qwen2 or qwen3")
        return {}
    if model.architecture == "mistral" or sliding_window is None:
        return {"sliding_window": sliding_window}
    return {"sliding_window": sliding_window, "use_sliding_window": True, "max_window_layers": 0}
