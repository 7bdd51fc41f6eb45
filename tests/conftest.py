"""Settings shared by all tests: no check depends on how fast the machine is."""

import os
from typing import NamedTuple

import pytest
from hypothesis import settings

# On top of the profile in force, which is hypothesis' own reproducible one where the variable CI is set.
settings.register_profile("kvfloor", parent=settings(), deadline=None)
settings.load_profile("kvfloor")

os.environ.pop("COLUMNS", None)  # no terminal's width may reach a test


class ModelCase(NamedTuple):
    """A transformer that every engine and the plain forward pass must agree on."""

    architecture: str
    layers: int
    heads: int
    kv_heads: int
    dim: int

    @property
    def sizes(self):
        """The sizes as the encoding takes them."""
        return {"layers": self.layers, "kv_heads": self.kv_heads, "group": self.heads // self.kv_heads}

    @property
    def normalises(self):
        """Whether the class normalises queries and keys."""
        return self.architecture == "qwen3"


MODEL_CASES = [
    ModelCase("llama", 1, 1, 1, 64),
    ModelCase("llama", 2, 4, 2, 32),
    ModelCase("mistral", 3, 2, 2, 32),
    ModelCase("qwen2", 1, 6, 2, 64),
    ModelCase("qwen3", 2, 4, 2, 32),
    ModelCase("qwen3", 1, 3, 1, 128),
]


@pytest.fixture(params=MODEL_CASES, ids=lambda case: "-".join(map(str, case)))
def model_case(request):
    """Return each of the transformers in turn."""
    return request.param
