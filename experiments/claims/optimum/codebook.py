"""The least cache that answers a small family of streams: a colouring, kept as its colour alone (theory 10)."""

import functools
from dataclasses import dataclass
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches.base import Coins
from kvfloor.attention.caches.wire import WireError, bits_for
from kvfloor.attention.softmax import softmax_attention_reference
from kvfloor.reductions.accuracy import TYPICAL
from kvfloor.reductions.bounds.optimum import Bracket, common_answer, distinguishability_graph, least_messages
from kvfloor.reductions.encodings.values import ValuesEncoding
from kvfloor.reductions.keys.known import Keys

__all__ = ["Codebook", "OptimalCache", "codebook", "family_outputs", "optimal"]

LARGEST_FAMILY_BITS = 10

Matrix: TypeAlias = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Codebook:
    """What both sides know beforehand: no bit of it depends on the stream.

    Parameters
    ----------
    encoding : ValuesEncoding
        INDEX in one-bit values behind public keys; its strings are the family.
    bracket : Bracket
        The colouring, and what proves it least.
    messages : int
        How many messages are used.
    answers : ndarray, shape (messages, n, d_v)
        What each message answers to the queries C k_i, the family's n tokens alone.
    """

    encoding: ValuesEncoding
    bracket: Bracket
    messages: int
    answers: NDArray[np.float64]

    @property
    def payload_bytes(self) -> int:
        """Bytes of a message: ceil(log2 messages) bits, filled up to whole bytes."""
        return (bits_for(self.messages) + 7) // 8

    def message(self, values: Matrix) -> int:
        """Return the message for a stream of one-bit values, shape (n, d_v)."""
        if not ((values == 0) | (values == 1)).all():
            raise ValueError("the optimal cache reads values 0 and 1 only; got another")
        stream = int(values.reshape(-1).astype(np.int64) @ (1 << np.arange(values.size)))
        return min(self.bracket.colours[stream], self.messages - 1)


class OptimalCache:
    """A cache whose whole state is a colour; `optimal` makes one for a codebook.

    It reads the n tokens of the family, then whatever a reader appends, which is not sent. It answers the
    queries of the family. Values of later tokens must not be negative for its answers to stay within eta.
    """

    book: ClassVar[Codebook]

    def __init__(self) -> None:
        encoding = self.book.encoding
        self._family = np.empty((0, encoding.value_dim))
        self._message: int | None = None
        self._later_keys = np.empty((0, encoding.dim))
        self._later_values = np.empty((0, encoding.value_dim))

    def append(self, keys: Matrix, values: Matrix) -> None:
        """Read tokens, shapes (b, d) and (b, d_v): first those of the family, in order."""
        public = self.book.encoding.public_keys
        start = len(public) if self._message is not None else len(self._family)
        taken = min(len(keys), len(public) - start)
        if not np.array_equal(keys[:taken], public[start : start + taken]):
            raise ValueError("the optimal cache reads the public keys in their order; got another key")
        family = np.concatenate([self._family, values[:taken]])
        if self._message is None and len(family) == len(public):
            self._message = self.book.message(family)
        self._family = family
        self._later_keys = np.concatenate([self._later_keys, keys[taken:]])
        self._later_values = np.concatenate([self._later_values, values[taken:]])

    def attend(self, queries: Matrix) -> Matrix:
        """Return answers, shape (m, d_v), to queries C k_i of the family."""
        encoding = self.book.encoding
        known = (queries[:, None] == _queries(encoding)).all(axis=2)
        if self._message is None or not known.any(axis=1).all():
            raise ValueError("the optimal cache answers C k_i after all tokens of its family, nothing else")
        answers: Matrix = self.book.answers[self._message][known.argmax(axis=1)]
        if not len(self._later_keys):
            return answers
        # The family is one token more: its weight is public, its value the answer.
        asked = queries.astype(np.float64)
        of_family = np.logaddexp.reduce(asked @ encoding.public_keys.astype(np.float64).T, axis=1)
        scores = np.column_stack([of_family, asked @ self._later_keys.T])
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        mixed: Matrix = weights[:, :1] * answers + weights[:, 1:] @ self._later_values
        return mixed

    def to_bytes(self) -> bytes:
        """Return the colour."""
        if self._message is None or len(self._later_keys):
            raise ValueError("a colour stands for all tokens of the family and no more")
        return self._message.to_bytes(self.book.payload_bytes, "big")

    @classmethod
    def from_bytes(cls, payload: bytes, coins: Coins) -> Self:
        """Return the cache whose colour this is."""
        message = int.from_bytes(payload, "big")
        if len(payload) != cls.book.payload_bytes or message >= cls.book.messages:
            raise WireError(f"a payload is one of {cls.book.messages} messages, not {payload[:8].hex()!r}")
        cache = cls()
        cache._message = message
        return cache


def optimal(
    dim: int, value_dim: int, coins: Coins, *, query_norm: float, eta: float, messages: int | None = None
) -> OptimalCache:
    """Return an empty least cache for one-bit values behind the public keys.

    Parameters
    ----------
    dim, value_dim : int
        Numbers of columns of keys and values.
    coins : Coins
        Their keys make the family.
    query_norm : float
        C of the queries C k_i that it answers.
    eta : float
        Relative accuracy in [0, 1).
    messages : int, optional
        Use only so many, at least 1; streams whose colour is beyond them are taken for one of the last.

    Returns
    -------
    OptimalCache
        Of a class of its own, which knows the codebook.

    Raises
    ------
    ValueError
        If the keys are not public or the family is too large.
    """
    if coins.keys is None:
        raise ValueError("the optimal cache needs public keys (coins.keys), but here the keys are not public")
    keys = np.asarray(coins.keys)
    book = codebook(keys.tobytes(), keys.dtype.str, keys.shape[1], value_dim, query_norm, eta, messages)
    bound: type[OptimalCache] = type("BoundOptimalCache", (OptimalCache,), {"book": book})
    return bound()


@functools.lru_cache(maxsize=8)
def codebook(
    keys: bytes, dtype: str, dim: int, value_dim: int, query_norm: float, eta: float, messages: int | None
) -> Codebook:
    """Return the codebook of a family; the arguments are those of `optimal`."""
    public = np.frombuffer(keys, dtype).reshape(-1, dim)
    encoding = ValuesEncoding.build(Keys(public), value_dim, accuracy=TYPICAL, query_norm=query_norm)
    outputs = family_outputs(encoding)
    bracket = least_messages(distinguishability_graph(outputs, eta))
    used = bracket.upper_messages if messages is None else min(messages, bracket.upper_messages)
    if used < 1:
        raise ValueError(f"messages must be at least 1; got {messages}")
    colours = np.array(bracket.colours)
    answers = [common_answer(outputs[colours == colour], eta) for colour in range(used)]
    assert all(answer is not None for answer in answers)
    return Codebook(encoding, bracket, used, np.array(answers))


def family_outputs(encoding: ValuesEncoding) -> NDArray[np.float64]:
    """Return the exact answers of every stream that a string is encoded into, without the reader's token.

    Parameters
    ----------
    encoding : ValuesEncoding
        Of N = n d_v <= 10 bits.

    Returns
    -------
    ndarray, shape (2^N, n, d_v)
        Stream s holds the binary digits of s, the lowest first.

    Raises
    ------
    ValueError
        If N is larger or the alphabet is another.
    """
    problem = encoding.problem
    if problem.alphabet != 2 or problem.length > LARGEST_FAMILY_BITS:
        raise ValueError(
            f"a family has at most {LARGEST_FAMILY_BITS} bits; got {problem.length} symbols of {problem.alphabet}"
        )
    strings = np.arange(1 << problem.length)[:, None] >> np.arange(problem.length) & 1
    values = np.concatenate([encoding.encode(string).values for string in strings], axis=1)
    outputs = softmax_attention_reference(_queries(encoding), encoding.public_keys, values)
    split = outputs.reshape(encoding.tokens, len(strings), encoding.value_dim)
    return np.ascontiguousarray(split.transpose(1, 0, 2))


def _queries(encoding: ValuesEncoding) -> Matrix:
    """Return the queries C k_i of all tokens."""
    return encoding.queries(np.arange(encoding.problem.length))
