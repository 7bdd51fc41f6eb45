"""The hard instances that an audit puts to a cache, one an input model."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from kvfloor.experiments.game.randomness import Randomness
from kvfloor.reductions.accuracy import TYPICAL
from kvfloor.reductions.encodings.keys import KeysEncoding, Layout
from kvfloor.reductions.encodings.levels import BINARY, Levels
from kvfloor.reductions.encodings.protocol import Encoding
from kvfloor.reductions.encodings.streams.visual import largest_pyramid, map_tokens, visual_encoding
from kvfloor.reductions.encodings.tensor import TensorEncoding, address_dim
from kvfloor.reductions.encodings.values import ValuesEncoding
from kvfloor.reductions.keys.known import Keys
from kvfloor.reductions.keys.projections import FloatType

__all__ = ["MODELS", "Instance", "Model", "Sides", "instance"]

Model: TypeAlias = Literal["attention", "tensor4", "tensor2", "visual"]
Sides: TypeAlias = Literal["values", "keys", "both"]

MODELS: dict[Model, int] = {"attention": 4096, "tensor4": 512, "tensor2": 64, "visual": 4096}
"""The input models, and how many tokens an audit of each takes by default."""

FAILURE_PROBABILITY = 1e-6
LARGEST_FLOAT32_NORM = 1000.0  # scores of larger queries round by more than the decoder's margin
LARGEST_FLOAT32_ALPHABET = 4096
LOWEST_LEVEL = 1e-6


@dataclass(frozen=True, slots=True)
class Instance:
    """What an audit hides, and where.

    Parameters
    ----------
    model : str
        One of `MODELS`.
    tokens, dim, value_dim : int
        n, d and d_v. For "tensor4" n tokens stand on either side; for "tensor2" the stream is n^2 opaque
        rows; for "visual" the maps before the last hold at most n tokens.
    levels : int
        Alphabet of the values.
    sides : str
        Where the symbols are hidden.

    Raises
    ------
    ValueError
        If the model is unknown, or cannot hide symbols so.
    """

    model: Model
    tokens: int
    dim: int
    value_dim: int
    levels: int
    sides: Sides

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise ValueError(f"model must be one of {', '.join(MODELS)}; got {self.model!r}")
        if self.tokens < 1:
            raise ValueError(f"tokens must be at least 1, got {self.tokens}")
        if self.sides not in ("values", "keys", "both"):
            raise ValueError(f"sides must be values, keys or both; got {self.sides!r}")
        if self.sides != "values" and self.levels != 2:
            raise ValueError(f"keys hold bits: --sides {self.sides} takes 2 levels; got {self.levels}")
        if self.model in ("tensor4", "visual") and (self.levels, self.sides) != (2, "values"):
            raise ValueError(
                f"--model {self.model} hides bits in values: it takes 2 levels and --sides values; "
                f"got {self.levels} and {self.sides}"
            )

    @property
    def written(self) -> int:
        """The number of tokens that Alice writes."""
        if self.model == "tensor2":
            return self.tokens**2
        if self.model == "visual":
            return sum(map_tokens(largest_pyramid(self.tokens))[:-1])
        return self.tokens


def instance(asked: Instance, randomness: Randomness) -> Encoding:
    """Return a hard instance: float32, or float64 where its decoding asks for more.

    Its keys are Gaussian, public coins where the values hold the symbols, and exceed the incoherence that
    is assumed of them with probability 1e-6.

    Parameters
    ----------
    asked : Instance
        What to hide, and where.
    randomness : Randomness
        Source of the keys.

    Returns
    -------
    Encoding
        The instance, with the decoder of the typical case where there is a choice.

    Raises
    ------
    ValueError
        If a size is out of range.
    """
    draw = _DRAWS[asked.model]
    narrow = draw(asked, randomness.keys(), np.float32)
    if narrow.query_norm <= LARGEST_FLOAT32_NORM and asked.levels <= LARGEST_FLOAT32_ALPHABET:
        return narrow
    return draw(asked, randomness.keys(), np.float64)


def _keys(tokens: int, dim: int, rng: np.random.Generator, dtype: FloatType) -> Keys:
    """Return Gaussian keys with their bound."""
    return Keys.drawn("gaussian", tokens, dim, rng, dtype, FAILURE_PROBABILITY)


def _attention(asked: Instance, rng: np.random.Generator, dtype: FloatType) -> Encoding:
    """Return INDEX in values, keys or both; for two caches the tokens are the n^2 rows."""
    if asked.sides != "values":
        layout = Layout.of_half(asked.dim, asked.value_dim, asked.sides == "both")
        return KeysEncoding.build(_keys(asked.written, asked.dim // 2, rng, dtype), layout)
    lowest = max(2.0 ** (1 - asked.levels), LOWEST_LEVEL)
    levels = BINARY if asked.levels == 2 else Levels.geometric(asked.levels, lowest)
    return ValuesEncoding.build(_keys(asked.written, asked.dim, rng, dtype), asked.value_dim, levels, TYPICAL)


def _four_caches(asked: Instance, rng: np.random.Generator, dtype: FloatType) -> Encoding:
    """Return INDEX in the values of both sides of tensor attention."""
    addresses = _keys(asked.tokens + 1, address_dim(asked.dim), rng, dtype)
    return TensorEncoding.build(addresses, asked.value_dim, TYPICAL)


def _visual(asked: Instance, rng: np.random.Generator, dtype: FloatType) -> Encoding:
    """Return INDEX in the earlier maps of a pyramid."""
    keys = _keys(asked.written, asked.dim, rng, dtype)
    return visual_encoding(largest_pyramid(asked.tokens), keys, asked.value_dim, TYPICAL)


_DRAWS: dict[Model, Callable[[Instance, np.random.Generator, FloatType], Encoding]] = {
    "attention": _attention,
    "tensor4": _four_caches,
    "tensor2": _attention,
    "visual": _visual,
}
