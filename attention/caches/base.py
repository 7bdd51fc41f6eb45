"""What a cache is, and the frame that makes each of ours a small class."""

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches import wire
from kvfloor.attention.caches.wire import Field, Scalar, WireError
from kvfloor.attention.checks import Matrix, integer, matrix, token_block
from kvfloor.attention.softmax import softmax_attention

__all__ = ["Cache", "Coins", "Rows", "StreamCache", "WireCache"]

_LARGEST_DIM = 1 << 20


@dataclass(frozen=True, slots=True)
class Coins:
    """Public randomness: the same on both sides of the wire, and free of charge.

    Parameters
    ----------
    seed : int
        For the cache's own draws, at least 0.
    keys : ndarray, shape (n, d), optional
        The keys of the first n tokens, where they are public and the bits live in the values; those of the
        two sides of tensor attention stand side by side, shape (n, 2 d).
    """

    seed: int
    keys: Matrix | None = None


@runtime_checkable
class Cache(Protocol):
    """A streaming algorithm that reads tokens and must then answer any attention query."""

    def append(self, *arrays: Any, **named: Any) -> None:
        """Read tokens: keys (b, d) and values (b, d_v), in blocks of any size, in the stream's order.

        A cache of tensor attention reads keys and values of its first side, then those of its second.
        """

    def attend(self, queries: Matrix) -> Matrix:
        """Return outputs (m, d_v) for queries (m, d); must not change the state."""

    def to_bytes(self) -> bytes:
        """Return the whole state; nothing outside it survives."""

    @classmethod
    def from_bytes(cls, payload: bytes, coins: Coins) -> Self:
        """Return the cache whose state this is."""


class WireCache(ABC):
    """The frame of all our caches: reads and writes payloads.

    A family gives three methods: `_state` and `_layout` say what is on the wire, `_restore` takes it back.
    Parameters are the keyword-only arguments of ``__init__``, each kept as an attribute of the same name.

    Parameters
    ----------
    dim, value_dim : int
        Numbers of columns of keys and values, from 1 to 2^20.
    coins : Coins
        The public randomness.
    """

    name: ClassVar[str]
    source: ClassVar[str]
    count_names: ClassVar[tuple[str, ...]] = ("tokens",)

    def __init__(self, dim: int, value_dim: int, coins: Coins) -> None:
        self.dim = integer("dim", dim, 1, _LARGEST_DIM)
        self.value_dim = integer("value_dim", value_dim, 1, _LARGEST_DIM)
        self.coins = coins

    def to_bytes(self) -> bytes:
        """Return the payload that carries the whole state.

        Returns
        -------
        bytes
            See `kvfloor.attention.caches.wire`.
        """
        counts, arrays = self._state()
        return wire.write(self.name, self.parameters(), self._counts(counts), self._layout(*counts), arrays)

    @classmethod
    def from_bytes(cls, payload: bytes, coins: Coins) -> Self:
        """Return the cache whose state a payload carries.

        Parameters
        ----------
        payload : bytes
            What `to_bytes` returned.
        coins : Coins
            The public randomness that the writer had.

        Returns
        -------
        WireCache
            A cache that answers and goes on exactly as the writer's would.

        Raises
        ------
        WireError
            If the payload is damaged, of another cache, or no state that such a cache can have.
        """
        message = wire.read(payload)
        if message.cache != cls.name:
            raise WireError(f"this is a payload of {message.cache!r}, not of {cls.name!r}")
        names, counts = cls.parameter_names(), message.counts[2:]
        if len(message.parameters) != len(names) or len(counts) != len(cls.count_names):
            raise WireError(f"the header of {cls.name!r} has the wrong number of parameters or counts")
        make: Callable[..., Self] = cls  # each class has parameters of its own, and checks them itself
        try:
            cache = make(*message.counts[:2], coins, **dict(zip(names, message.parameters, strict=True)))
        except ValueError as error:
            raise WireError(f"the header of {cls.name!r} cannot be right: {error}") from None
        if repr(cache.parameters()) != repr(message.parameters):  # such as 8 where 8.0 is written
            raise WireError(f"the header of {cls.name!r} spells a parameter in another way")
        cache._restore(counts, wire.read_arrays(message.body, cache._layout(*counts)))
        return cache

    @classmethod
    def parameter_names(cls) -> tuple[str, ...]:
        """Return the names of the parameters, in the order in which they are on the wire.

        Returns
        -------
        tuple of str
            The keyword-only arguments of ``__init__``.
        """
        return _keyword_only(cls)

    def parameters(self) -> tuple[Scalar, ...]:
        """Return the values of the parameters, in the order of `parameter_names`.

        Returns
        -------
        tuple of (str, int, float or None)
            Whatever tells this cache from others of its class.
        """
        return tuple(getattr(self, name) for name in self.parameter_names())

    def _counts(self, counts: tuple[int, ...]) -> tuple[int, ...]:
        """Return all counts of the header: the dimensions come first."""
        return (self.dim, self.value_dim, *counts)

    def _demand(self, tokens: int) -> None:
        """Raise ValueError if there are no tokens to attend to."""
        if not tokens:
            raise ValueError("the cache is empty: append tokens before attending")

    @abstractmethod
    def _state(self) -> tuple[tuple[int, ...], tuple[NDArray[Any], ...]]:
        """Return the counts named in `count_names` and the arrays of the state."""

    @abstractmethod
    def _layout(self, *counts: int) -> tuple[Field, ...]:
        """Return the fields of the arrays for these counts; WireError if no state has such counts."""

    @abstractmethod
    def _restore(self, counts: tuple[int, ...], arrays: list[NDArray[Any]]) -> None:
        """Take over a state that fits the layout; WireError if its parts contradict each other."""


@functools.cache
def _keyword_only(cls: type[WireCache]) -> tuple[str, ...]:
    """Return the names of a class's keyword-only arguments."""
    arguments = inspect.signature(cls).parameters.values()
    return tuple(argument.name for argument in arguments if argument.kind is argument.KEYWORD_ONLY)


class StreamCache(WireCache):
    """The frame of caches of ordinary attention: checks arguments, answers by softmax attention.

    A family gives its state and its rule, in five methods: `_append` reads checked tokens, `_tokens`
    returns the tokens that stand for the stream, `_state`, `_layout` and `_restore` are those of
    `WireCache`. One that answers in another way than by softmax attention over some tokens gives `_answer`
    instead of `_tokens`.
    """

    sides: ClassVar[int] = 1

    def append(self, keys: object, values: object) -> None:
        """Read the next tokens of the stream.

        Parameters
        ----------
        keys : array_like, shape (b, dim)
            Keys of b >= 1 tokens.
        values : array_like, shape (b, value_dim)
            Their values.

        Raises
        ------
        ValueError
            If a shape is wrong, an entry is not finite, or the cache cannot hold it; its state stays.
        """
        self._append(*token_block(keys, values, self.dim, self.value_dim))

    def attend(self, queries: object) -> Matrix:
        """Answer queries; the state stays as it is.

        Parameters
        ----------
        queries : array_like, shape (m, dim)
            Queries; m >= 1.

        Returns
        -------
        ndarray, shape (m, value_dim)
            Attention over the stream, as far as the cache knows it.

        Raises
        ------
        ValueError
            If the shape is wrong, an entry is not finite, or no token was read yet.
        """
        return self._answer(matrix("queries", queries, self.dim))

    def stand_ins(self) -> tuple[Matrix, Matrix]:
        """Return the tokens that stand for the stream, for readers that attend to them in their own way.

        Returns
        -------
        keys, values : ndarray, shapes (k, dim) and (k, value_dim)
            Of one dtype; those with public keys first, in the order of the stream.

        Raises
        ------
        ValueError
            If the cache answers in another way than by attention over some tokens.
        """
        return self._tokens()

    @abstractmethod
    def _append(self, keys: Matrix, values: Matrix) -> None:
        """Read checked tokens; on ValueError the state is unchanged."""

    def _answer(self, queries: Matrix) -> Matrix:
        """Return the answers to checked queries: softmax attention over `_tokens`, where nothing else is said."""
        keys, values = self._tokens()
        self._demand(len(keys))
        return softmax_attention(queries.astype(keys.dtype, copy=False), keys, values)

    def _tokens(self) -> tuple[Matrix, Matrix]:
        """Return keys and values of one dtype that stand for the stream."""
        raise ValueError(f"{self.name} keeps no tokens that stand for the stream, so it cannot be a side")


class Rows:
    """A matrix that grows downwards, at a constant cost per row.

    Parameters
    ----------
    columns : int
        Its number of columns.
    dtype : dtype
        The type of its entries.
    """

    def __init__(self, columns: int, dtype: Any) -> None:
        self._buffer: NDArray[Any] = np.empty((0, columns), dtype)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def array(self) -> NDArray[Any]:
        """The rows so far, a view."""
        return self._buffer[: self._count]

    def extend(self, rows: NDArray[Any]) -> None:
        """Append rows.

        Parameters
        ----------
        rows : ndarray, shape (b, columns)
            The new rows; they are copied.
        """
        needed = self._count + len(rows)
        if needed > len(self._buffer):
            grown = np.empty((max(needed, 2 * len(self._buffer)), self._buffer.shape[1]), self._buffer.dtype)
            grown[: self._count] = self.array
            self._buffer = grown
        self._buffer[self._count : needed] = rows
        self._count = needed

    def delete(self, row: int) -> None:
        """Remove one row; those below move up.

        Parameters
        ----------
        row : int
            Its index.
        """
        self._buffer[row : self._count - 1] = self._buffer[row + 1 : self._count]
        self._count -= 1

    def replace(self, rows: NDArray[Any]) -> None:
        """Put other rows in the place of all.

        Parameters
        ----------
        rows : ndarray, shape (b, columns)
            The rows; they are kept, not copied.
        """
        self._buffer, self._count = rows, len(rows)
