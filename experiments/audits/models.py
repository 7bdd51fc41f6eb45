"""Attention shapes of well-known open models, from their published configurations."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["MODELS", "Model", "model_named"]


@dataclass(frozen=True, slots=True)
class Model:
    """What of a model decides the size of its KV cache.

    Parameters
    ----------
    name : str
        Lower case.
    layers : int
        Layers with attention over the whole context.
    kv_heads : int
        Key-value heads in a layer.
    head_dim : int
        Dimension of a head's keys and values.
    source : str
        Where the numbers are published.
    """

    name: str
    layers: int
    kv_heads: int
    head_dim: int
    source: str

    @property
    def caches(self) -> int:
        """The number of separate caches: one for each layer and key-value head."""
        return self.layers * self.kv_heads


MODELS: Mapping[str, Model] = MappingProxyType(
    {
        model.name: model
        for model in (
            Model(
                "gpt2",
                12,
                12,
                64,
                "Radford et al. 2019, smallest model; config.json of openai-community/gpt2",
            ),
            Model("llama-2-7b", 32, 32, 128, "arXiv:2307.09288; config.json of meta-llama/Llama-2-7b-hf"),
            Model(
                "llama-3.1-8b",
                32,
                8,
                128,
                "arXiv:2407.21783, table 3; config.json of meta-llama/Llama-3.1-8B",
            ),
            Model(
                "llama-3.1-70b",
                80,
                8,
                128,
                "arXiv:2407.21783, table 3; config.json of meta-llama/Llama-3.1-70B",
            ),
            Model(
                "mistral-7b-v0.3",
                32,
                8,
                128,
                "arXiv:2310.06825, table 1; config.json of mistralai/Mistral-7B-v0.3",
            ),
            Model("qwen2.5-7b", 28, 4, 128, "arXiv:2412.15115, table 1; config.json of Qwen/Qwen2.5-7B"),
            Model("qwen3-4b", 36, 8, 128, "arXiv:2505.09388, table 1; config.json of Qwen/Qwen3-4B"),
        )
    }
)


def model_named(name: str) -> Model:
    """Return the model of a name, in any case.

    Raises
    ------
    ValueError
        If there is none; the message names the nearest, or all.
    """
    if name.lower() not in MODELS:
        near = difflib.get_close_matches(name.lower(), MODELS, n=3) or list(MODELS)
        raise ValueError(f"there is no model {name!r}; the nearest: {', '.join(near)}")
    return MODELS[name.lower()]
