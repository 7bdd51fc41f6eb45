"""The hard instances that an audit puts to a cache, one an input model."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from kvfloor.experiments.game.randomness import Randomness
from kvfloor.reductions.encodings.keyside import KeysEncoding
from kvfloor.reductions.encodings.protocol import Encoding
from kvfloor.reductions.encodings.tensor import TensorEncoding, address_dim
from kvfloor.reductions.encodings.values import ValuesEncoding
from kvfloor.reductions.encodings.visual import largest_pyramid, map_tokens, visual_encoding
from kvfloor.reductions.keys.projections import FloatType, gaussian_keys, incoherence_bound

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


def _attention(asked: Instance, rng: np.random.Generator, dtype: FloatType) -> Encoding:
    """Return INDEX in values, keys or both; for two caches the tokens are the n^2 rows."""
    if asked.sides != "values":
        return KeysEncoding.draw(
            asked.written,
            asked.dim,
            asked.value_dim,
            rng,
            dtype=dtype,
            both=asked.sides == "both",
            failure_probability=FAILURE_PROBABILITY,
        )
    lowest = max(2.0 ** (1 - asked.levels), LOWEST_LEVEL)
    return ValuesEncoding.from_levels(
        gaussian_keys(asked.written, asked.dim, rng, dtype=dtype),
        asked.value_dim,
        (0.0, 1.0) if asked.levels == 2 else np.geomspace(lowest, 1.0, asked.levels),
        incoherence=incoherence_bound("gaussian", asked.written, asked.dim, FAILURE_PROBABILITY),
        failure_probability=FAILURE_PROBABILITY,
        decoder="typical",
    )


def _four_caches(asked: Instance, rng: np.random.Generator, dtype: FloatType) -> Encoding:
    """Return INDEX in the values of both sides of tensor attention."""
    half = address_dim(asked.dim)
    return TensorEncoding.binary(
        gaussian_keys(asked.tokens + 1, half, rng, dtype=dtype),
        asked.value_dim,
        incoherence=incoherence_bound("gaussian", asked.tokens + 1, half, FAILURE_PROBABILITY),
        failure_probability=FAILURE_PROBABILITY,
        decoder="typical",
    )


def _visual(asked: Instance, rng: np.random.Generator, dtype: FloatType) -> Encoding:
    """Return INDEX in the earlier maps of a pyramid."""
    return visual_encoding(
        largest_pyramid(asked.tokens),
        gaussian_keys(asked.written, asked.dim, rng, dtype=dtype),
        asked.value_dim,
        incoherence=incoherence_bound("gaussian", max(2, asked.written), asked.dim, FAILURE_PROBABILITY),
        failure_probability=FAILURE_PROBABILITY,
        decoder="typical",
    )


_DRAWS: dict[Model, Callable[[Instance, np.random.Generator, FloatType], Encoding]] = {
    "attention": _attention,
    "tensor4": _four_caches,
    "tensor2": _attention,
    "visual": _visual,
}
