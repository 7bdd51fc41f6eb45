"""Alice's half and Bob's half of the one-way game, who solves for the values, and the ways to run them.

Only bytes cross from Alice to Bob. Who solves knows the coins and the cache's code, but of the message only
what Bob was answered.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches import CacheSpec, resolve
from kvfloor.attention.caches.base import Cache, Coins
from kvfloor.reductions.encodings.protocol import Stream, Tokens

__all__ = ["Answered", "Channel", "InProcess", "ask", "solve", "write"]

APPEND_TOKENS = 4096  # tokens handed to a cache at a time
ASK_QUERIES = 4096  # queries handed to a cache at a time


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """What a reader that solves for the values is given; nothing in it but the outputs depends on x.

    Parameters
    ----------
    keys : ndarray, shape (n, d)
        The public keys.
    token : Tokens
        Bob's token.
    queries : ndarray, shape (m, d)
        What Bob asked.
    outputs : ndarray, shape (m, d_v)
        What he was answered.
    levels : ndarray, shape (q,)
        What a value can be.
    """

    keys: NDArray[Any]
    token: Tokens
    queries: NDArray[Any]
    outputs: NDArray[Any]
    levels: NDArray[np.float64]


class Channel(Protocol):
    """A way to run Alice and Bob with nothing but a payload and public coins between them."""

    def send(self, cache: str, coins: Coins, tokens: Stream) -> bytes:
        """Run Alice: feed the tokens to a new cache and return the bytes she sends."""

    def receive(
        self, cache: str, coins: Coins, payload: bytes, token: Stream, queries: NDArray[Any]
    ) -> NDArray[Any]:
        """Run Bob: restore the cache, append his token and return the answers, shape (m, d_v)."""

    def solve(self, cache: str, coins: Coins, readers: Sequence[str], answered: Answered) -> NDArray[Any]:
        """Run those who solve for the values; see `solve`."""


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


def solve(spec: CacheSpec, coins: Coins, readers: Sequence[str], answered: Answered) -> NDArray[np.float64]:
    """Return what each reader takes the values for, shape (r, n, d_v); NaN from one who had to give up.

    A reader gives up if the cache's code, which it runs on values of its own, ends in an error; it says so
    on standard error.
    """
    found = np.full((len(readers), len(answered.keys), answered.outputs.shape[1]), np.nan)
    for estimate, reader in zip(found, readers, strict=True):
        try:
            estimate[:] = _estimate(reader, spec, coins, answered)
        except Exception as error:
            print(f"the reader {reader!r} had to give up: {error}", file=sys.stderr)
    return found


def _estimate(reader: str, spec: CacheSpec, coins: Coins, answered: Answered) -> NDArray[np.float64]:
    """Return what one reader takes the values for."""
    # Only who solves pays for importing SciPy; every audit starts Alice and Bob.
    from kvfloor.reductions.bounds.readers import least_squares, likeliest, probed_weights, softmax_weights

    keys, levels, outputs = answered.keys, answered.levels, answered.outputs
    tokens, (dim, value_dim) = len(keys), (keys.shape[1], outputs.shape[1])

    def answers(values: NDArray[np.float64]) -> NDArray[Any]:
        payload = write(spec.make(dim, value_dim, coins), Tokens(keys, values.astype(keys.dtype)))
        cache = spec.restore(payload, dim, value_dim, coins)
        return ask(cache, answered.token, answered.queries, value_dim)

    if reader == "least-squares":
        weights = softmax_weights(keys, answered.token.keys, answered.queries)
        return least_squares(weights, outputs, levels)
    weights, offset = probed_weights(tokens, value_dim, answers)
    probed = least_squares(weights, outputs - offset, levels)
    return probed if reader == "probe" else likeliest(probed, outputs, levels, answers)


@dataclass(frozen=True, slots=True)
class InProcess:
    """Alice and Bob in this process: fast, for caches that are trusted to keep no state outside."""

    def send(self, cache: str, coins: Coins, tokens: Stream) -> bytes:
        """Run Alice's half; see `Channel`."""
        return write(resolve(cache).make(tokens.dim, tokens.value_dim, coins), tokens)

    def receive(
        self, cache: str, coins: Coins, payload: bytes, token: Stream, queries: NDArray[Any]
    ) -> NDArray[Any]:
        """Run Bob's half; see `Channel`."""
        restored = resolve(cache).restore(payload, token.dim, token.value_dim, coins)
        return ask(restored, token, queries, token.value_dim)

    def solve(self, cache: str, coins: Coins, readers: Sequence[str], answered: Answered) -> NDArray[Any]:
        """Run those who solve for the values; see `solve`."""
        return solve(resolve(cache), coins, readers, answered)
