"""Alice's half and Bob's half of the one-way game, and the ways to run them with only bytes between."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from attention.caches import resolve
from attention.caches.base import Cache, Coins
from reductions.encoding import Tokens

__all__ = ["Channel", "InProcess", "ask", "write"]

APPEND_TOKENS = 4096  # tokens handed to a cache at a time
ASK_QUERIES = 4096  # queries handed to a cache at a time


class Channel(Protocol):
    """A way to run Alice and Bob with nothing but a payload and public coins between them."""

    def send(self, cache: str, coins: Coins, tokens: Tokens) -> bytes:
        """Run Alice: feed the tokens to a new cache and return the bytes she sends."""

    def receive(
        self, cache: str, coins: Coins, payload: bytes, token: Tokens, queries: NDArray[Any]
    ) -> NDArray[Any]:
        """Run Bob: restore the cache, append his token and return the answers, shape (m, d_v)."""


def write(cache: Cache, tokens: Tokens) -> bytes:
    """Feed a stream to a cache and return exactly the bytes it hands over.

    A subclass of bytes could lie about its own length; what is counted and sent is its plain buffer.
    """
    for start in range(0, len(tokens), APPEND_TOKENS):
        stop = start + APPEND_TOKENS
        cache.append(tokens.keys[start:stop], tokens.values[start:stop])
    payload = cache.to_bytes()
    if not isinstance(payload, bytes):
        raise ValueError(f"to_bytes must return bytes; got {type(payload).__name__}")
    return memoryview(payload).tobytes()


def ask(cache: Cache, token: Tokens, queries: NDArray[Any], value_dim: int) -> NDArray[Any]:
    """Append the reader's token, if any, to a cache and return its checked answers, shape (m, d_v)."""
    if len(token):
        cache.append(token.keys, token.values)
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


@dataclass(frozen=True, slots=True)
class InProcess:
    """Alice and Bob in this process: fast, for caches that are trusted to keep no state outside."""

    def send(self, cache: str, coins: Coins, tokens: Tokens) -> bytes:
        """Run Alice's half; see `Channel`."""
        return write(resolve(cache).make(tokens.keys.shape[1], tokens.values.shape[1], coins), tokens)

    def receive(
        self, cache: str, coins: Coins, payload: bytes, token: Tokens, queries: NDArray[Any]
    ) -> NDArray[Any]:
        """Run Bob's half; see `Channel`."""
        dim, value_dim = token.keys.shape[1], token.values.shape[1]
        return ask(resolve(cache).restore(payload, dim, value_dim, coins), token, queries, value_dim)
