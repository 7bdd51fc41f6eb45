"""The hard instances that an audit puts to a cache: one an input model, and one compiled into a transformer."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, cast

import numpy as np

from kvfloor.attention.caches import CACHES
from kvfloor.attention.engines.llamacpp.library import EXTRA as ENGINE
from kvfloor.attention.engines.llamacpp.library import INSTALL as ENGINE_INSTALL
from kvfloor.attention.engines.transformers.library import EXTRA, INSTALL, NotInstalledError, missing, offline
from kvfloor.attention.engines.transformers.model import Model as Transformer
from kvfloor.attention.engines.transformers.sessions import Feed
from kvfloor.experiments.audits.memory import must_fit, numpy_bytes, transformer_bytes
from kvfloor.experiments.game.hosts.host import Host
from kvfloor.experiments.game.hosts.llamacpp import LlamaCache
from kvfloor.experiments.game.hosts.names import kind_of
from kvfloor.experiments.game.hosts.numpy_caches import NumpyCache
from kvfloor.experiments.game.hosts.transformers import TransformerCache
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.reductions.accuracy import TYPICAL
from kvfloor.reductions.encodings.keys import KeysEncoding, Layout
from kvfloor.reductions.encodings.levels import BINARY, Levels
from kvfloor.reductions.encodings.protocol import Encoding
from kvfloor.reductions.encodings.streams.heads import MultiHeadEncoding
from kvfloor.reductions.encodings.streams.visual import largest_pyramid, map_tokens, visual_encoding
from kvfloor.reductions.encodings.tensor import TensorEncoding, address_dim
from kvfloor.reductions.encodings.values import ValuesEncoding
from kvfloor.reductions.keys.known import Keys
from kvfloor.reductions.keys.projections import FloatType
from kvfloor.reductions.weights.encoding import Readout

__all__ = ["MODELS", "Instance", "Model", "Posed", "Sides", "Wanted", "instance", "pose"]

Model: TypeAlias = Literal["attention", "tensor4", "tensor2", "visual"]
Sides: TypeAlias = Literal["values", "keys", "both"]

MODELS: dict[Model, int] = {"attention": 4096, "tensor4": 512, "tensor2": 64, "visual": 4096}
"""The input models, and how many tokens an audit of each takes by default."""

FAILURE_PROBABILITY = 1e-6
LARGEST_FLOAT32_NORM = 1000.0  # scores of larger queries round by more than the decoder's margin
LARGEST_FLOAT32_ALPHABET = 4096
LOWEST_LEVEL = 1e-6
TRANSFORMER_TOKENS = 512
ALL_POSITIONS_TOKENS = 8192  # up to this many tokens every symbol is asked
SAMPLED_POSITIONS = 4096
ALL_POSITIONS_PAIRS = 1 << 20  # the same for pairs of tokens, of which each query scores all
SAMPLED_PAIRS = 1 << 32


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked of an audit: its parameters as `kvfloor.experiments.audits.audit.audit` has them."""

    model: str | None
    tokens: int | None
    dim: int
    value_dim: int | None
    levels: int
    sides: Sides
    feed: Feed
    readout: Readout
    readers: tuple[str, ...] | None


@dataclass(frozen=True, slots=True, eq=False)
class Posed:
    """An instance and who is to hold it.

    Parameters
    ----------
    host : Host
        Holds the cache.
    encoding : Encoding
        The instance.
    model, tokens
        As the audit's record tells them.
    full_cache_bits : int
        What a float16 cache of all that Alice writes takes.
    positions : int or None
        How many symbols to ask if nobody says; None for all.
    """

    host: Host
    encoding: Encoding
    model: str
    tokens: int
    full_cache_bits: int
    positions: int | None


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


def pose(cache: str, wanted: Wanted, randomness: Randomness) -> Posed:
    """Return the instance that fits a cache, and its host.

    Parameters
    ----------
    cache : str
        The cache's name.
    wanted : Wanted
        What was asked of the audit.
    randomness : Randomness
        Source of the keys.

    Returns
    -------
    Posed
        Both.

    Raises
    ------
    ValueError
        If the cache is unknown, a size is out of range, or something is asked that the host does not have.
    """
    posing = {"numpy": _in_numpy, "transformers": _in_transformer, "llamacpp": _in_llamacpp}
    return posing[kind_of(cache)](cache, wanted, randomness)


def _in_numpy(cache: str, wanted: Wanted, randomness: Randomness) -> Posed:
    """Return an instance for a cache in NumPy."""
    model = cast(Model, wanted.model or "attention")
    tokens = MODELS.get(model, 1) if wanted.tokens is None else wanted.tokens
    value_dim = wanted.dim if wanted.value_dim is None else wanted.value_dim
    asked = Instance(model, tokens, wanted.dim, value_dim, wanted.levels, wanted.sides)
    must_fit(numpy_bytes(asked), tokens=tokens, dim=wanted.dim, value_dim=value_dim, levels=wanted.levels)
    host = NumpyCache(_fitting(cache, model))
    encoding = instance(asked, randomness)
    written = encoding.encode(np.zeros(encoding.problem.length, encoding.problem.dtype))
    full_cache_bits = sum(16 * array.size for array in written.arrays)
    return Posed(host, encoding, model, tokens, full_cache_bits, _positions(asked))


def _in_transformer(cache: str, wanted: Wanted, randomness: Randomness) -> Posed:
    """Return INDEX in a transformer's weights."""
    if (wanted.value_dim, wanted.levels, wanted.sides, wanted.readers) != (None, 2, "values", None):
        raise ValueError(
            "a transformer holds bits in its values and is read by a threshold: "
            "leave out --value-dim, --levels, --sides, --reader"
        )
    if lacking := missing(EXTRA):
        raise NotInstalledError(f"{', '.join(lacking)} not installed; {INSTALL}")
    offline()
    host = TransformerCache(cache, wanted.model or "llama", wanted.feed, wanted.readout)
    tokens = wanted.tokens or TRANSFORMER_TOKENS
    model = Transformer.parse(host.model)
    needed = transformer_bytes(tokens, wanted.dim, model.layers * model.kv_heads)
    must_fit(needed, tokens=tokens, dim=wanted.dim)
    heads = f"{model.heads} heads ({model.kv_heads} of keys and values)"
    told = f"{model.architecture}, {model.layers} layers of {heads}, {model.dtype}"
    return Posed(host, host.encoding(tokens, wanted.dim, randomness), told, tokens, 0, None)


def _in_llamacpp(cache: str, wanted: Wanted, randomness: Randomness) -> Posed:
    """Return an instance a key-value head for llama.cpp's cache."""
    if (wanted.feed, wanted.readout) != ("auto", "rows"):
        raise ValueError("llama.cpp is fed embeddings and read by logits: leave out --feed, --readout")
    if lacking := missing(ENGINE):
        raise NotInstalledError(f"{', '.join(lacking)} not installed; {ENGINE_INSTALL}")
    host = LlamaCache(cache, wanted.model or "llama")
    tokens = wanted.tokens or TRANSFORMER_TOKENS
    value_dim = wanted.dim if wanted.value_dim is None else wanted.value_dim
    asked = Instance("attention", tokens, wanted.dim, value_dim, wanted.levels, wanted.sides)
    head = _roomy(_attention(asked, randomness.keys(), np.float32))
    encoding = head if host.heads == 1 else MultiHeadEncoding((head,) * host.heads)
    parsed = Transformer.parse(host.model)
    told = f"llama.cpp, {parsed.layers} layers of {parsed.heads} heads ({parsed.kv_heads} of keys and values)"
    return Posed(host, encoding, told, tokens, 0, None)


def _roomy(head: Encoding) -> Encoding:
    """Return an instance with longer queries: engines round queries as they round keys, which moves scores."""
    if isinstance(head, KeysEncoding):
        bit_norm = 4 * head.bit_norm
        norm = 1.5 * KeysEncoding.build(head.addresses, head.layout, bit_norm=bit_norm).query_norm
        return KeysEncoding.build(head.addresses, head.layout, query_norm=norm, bit_norm=bit_norm)
    assert isinstance(head, ValuesEncoding)
    return replace(head, reading=replace(head.reading, query_norm=4 * head.query_norm))


def _fitting(cache: str, model: Model) -> str:
    """Return the cache that reads as many sides as the model has: one of ours keeps either side if need be."""
    head = cache.partition(":")[0]
    ours = getattr(CACHES[head].factory, "sides", None) if head in CACHES else None
    two_sided = "+" in cache or ours == 2  # somebody else's says in a process of its own what it reads
    if two_sided and model != "tensor4":
        raise ValueError(f"{cache!r} reads two sides, which only --model tensor4 has; got {model}")
    return f"{cache}+{cache}" if model == "tensor4" and ours == 1 and not two_sided else cache


def _positions(asked: Instance) -> int | None:
    """Return how many symbols to ask, or None for all."""
    if asked.model == "tensor4":
        pairs = asked.tokens**2
        return max(64, SAMPLED_PAIRS // pairs) if pairs > ALL_POSITIONS_PAIRS else None
    return SAMPLED_POSITIONS if asked.written > ALL_POSITIONS_TOKENS else None


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
