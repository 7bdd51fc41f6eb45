"""Caches in NumPy: those of `kvfloor caches`, and whoever's class follows `kvfloor.attention.caches.base.Cache`."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches import resolve
from kvfloor.attention.caches.base import Cache, Coins
from kvfloor.experiments.game.hosts.host import Host, Written
from kvfloor.reductions.encodings.protocol import Stream

__all__ = ["NumpyCache", "ask", "write"]

APPEND_TOKENS = 4096  # tokens handed to a cache at a time
ASK_QUERIES = 4096  # queries handed to a cache at a time


@dataclass(frozen=True, slots=True)
class NumpyCache(Host):
    """A cache by its name.

    Parameters
    ----------
    cache : str
        As `kvfloor.attention.caches.resolve` takes it.
    """

    cache: str

    @property
    def name(self) -> str:
        """The cache as it was named."""
        return self.cache

    def write(self, stream: Stream, coins: Coins) -> Written:
        """Feed the stream to a new cache; see `Host`."""
        return Written(write(resolve(self.cache).make(stream.dim, stream.value_dim, coins), stream))

    def ask(self, payload: bytes, token: Stream, queries: NDArray[Any], coins: Coins) -> NDArray[Any]:
        """Ask the cache that a message carries; see `Host`."""
        restored = resolve(self.cache).restore(payload, token.dim, token.value_dim, coins)
        return ask(restored, token, queries, token.value_dim)


def write(cache: Cache, tokens: Stream) -> bytes:
    """Feed a stream to a cache and return exactly the bytes it hands over.

    A subclass of bytes could lie about its own length; what is counted and sent is its plain buffer.
    """
    for start in range(0, len(tokens), APPEND_TOKENS):
        cache.append(*(array[start : start + APPEND_TOKENS] for array in tokens.arrays))
    payload = cache.to_bytes()
    if not isinstance(payload, bytes):
        raise ValueError(f"to_bytes must return bytes; got {type(payload).__name__}")
    return memoryview(payload).tobytes()


def ask(cache: Cache, token: Stream, queries: NDArray[Any], value_dim: int) -> NDArray[Any]:
    """Append the reader's tokens, if any, to a cache and return its checked answers, shape (m, d_v)."""
    if len(token):
        cache.append(*token.arrays)
    outputs = np.empty((len(queries), value_dim), queries.dtype)
    for start in range(0, len(queries), ASK_QUERIES):
        block = queries[start : start + ASK_QUERIES]
        answer = np.asarray(cache.attend(block))
        if answer.shape != (len(block), value_dim):
            raise ValueError(f"attend must return shape {(len(block), value_dim)}; got {answer.shape}")
        if not np.all(np.isfinite(answer)):
            raise ValueError("attend must return finite numbers; got NaN or infinity")
        outputs[start : start + len(block)] = answer
    return outputs
