"""Caches of the transformers library and presses of kvpress, each inside of a model that its engine builds.

The model's weights follow from the public keys; its embedding table holds what is written or asked, and
nothing else. Alice's model reads the facts while the compressor works, Bob's is a new one.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches.base import Coins
from kvfloor.attention.engines.transformers.compressors import Compressor
from kvfloor.attention.engines.transformers.library import EXTRA
from kvfloor.attention.engines.transformers.model import Model
from kvfloor.attention.engines.transformers.sessions import Feed, Session
from kvfloor.experiments.game.hosts.host import Accounts, Host, Written
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.reductions.encodings.protocol import Rows, Stream
from kvfloor.reductions.weights.encoding import Readout, WeightsEncoding
from kvfloor.reductions.weights.transformer import TransformerEncoding

__all__ = ["TransformerCache"]


@dataclass(frozen=True, slots=True)
class TransformerCache(Host):
    """A compressor by its name, inside of a model.

    Parameters
    ----------
    cache : str
        Such as "kvpress:SnapKVPress,compression_ratio=0.5"; see `kvfloor.attention.engines.transformers.compressors`.
    model : str
        The transformer, as `kvfloor.attention.engines.transformers.model.Model.parse` takes it.
    feed : str
        "prefill", "stream" or "auto"; see `kvfloor.attention.engines.transformers.sessions.Session.write`.
    readout : str
        "rows": all bits of a fact from one hidden state. "tokens": one greedily generated token is one bit.

    Raises
    ------
    ValueError
        If there is no such feed.
    """

    preload: ClassVar[tuple[str, ...]] = EXTRA

    cache: str
    model: str = "llama"
    feed: Feed = "auto"
    readout: Readout = "rows"

    def __post_init__(self) -> None:
        if self.feed not in ("auto", "prefill", "stream"):
            raise ValueError(f"feed is {self.feed!r}, expected one of auto, prefill, stream")

    @property
    def name(self) -> str:
        """The cache as it was named."""
        return self.cache

    def encoding(self, tokens: int, dim: int, randomness: Randomness) -> WeightsEncoding:
        """Return INDEX compiled into the weights of the host's model.

        Parameters
        ----------
        tokens, dim : int
            Facts n, and dimension d of a head.
        randomness : Randomness
            Source of the keys, which are public.

        Returns
        -------
        WeightsEncoding
            The encoding.

        Raises
        ------
        ValueError
            If the model is none, or a size is out of range.
        """
        model = Model.parse(self.model)
        sizes = {"layers": model.layers, "kv_heads": model.kv_heads, "group": model.group}
        compiled = TransformerEncoding.draw(tokens, dim, randomness.keys(), **sizes)
        return WeightsEncoding(compiled, self.readout)

    def write(self, stream: Stream, coins: Coins) -> Written:
        """Let a model read the facts while the compressor works; see `Host`."""
        assert isinstance(stream, Rows)
        written = self._session(coins).write(np.array(stream.rows), coins.seed, self.feed)
        accounts = Accounts(
            nominal_bits=written.nominal_bits,
            allocated_bits=written.allocated_bits,
            full_cache_bits=written.full_cache_bits,
            masked_entries=written.masked_entries,
            compresses=Compressor.parse(self.cache).compresses,
        )
        return Written(written.payload, accounts)

    def ask(self, payload: bytes, token: Stream, queries: NDArray[Any], coins: Coins) -> NDArray[Any]:
        """Ask a model whose cache a message carries; see `Host`."""
        assert coins.keys is not None
        questions, generate = np.array(queries), self.readout == "tokens"
        answers = self._session(coins).read(payload, len(coins.keys), questions, generate=generate)
        return answers[:, None] if generate else answers

    def _session(self, coins: Coins) -> Session:
        """Return what both halves run: it follows from the public keys."""
        assert coins.keys is not None
        model = Model.parse(self.model)
        compiled = TransformerEncoding(np.array(coins.keys), model.layers, model.kv_heads, model.group)
        return Session(model, compiled.weights(), compiled.dim, Compressor.parse(self.cache))
