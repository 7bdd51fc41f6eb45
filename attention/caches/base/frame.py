"""The frames of our caches: what makes each of them a small class."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from inspect import Signature
from typing import Any, ClassVar, Self

from numpy.typing import NDArray

from kvfloor.attention.caches import wire
from kvfloor.attention.caches.base.cache import Coins
from kvfloor.attention.caches.base.parameters import Parameter, declared, signature_of
from kvfloor.attention.caches.wire import Field, Header, Scalar, WireError
from kvfloor.attention.checks import Matrix, integer, matrix, token_block
from kvfloor.attention.softmax import softmax_attention, weighted_attention

__all__ = ["StreamCache", "WireCache"]

_LARGEST_DIM = 1 << 20


class WireCache(ABC):
    """The frame of all our caches: takes parameters, answers, and reads and writes payloads.

    A family declares its parameters (`kvfloor.attention.caches.base.parameters`) and gives five methods:
    `_begin` makes the state of an empty cache, `_answer` answers checked queries, `_state` and `_layout` say
    what is on the wire, `_restore` takes it back.

    Parameters
    ----------
    dim, value_dim : int
        Numbers of columns of keys and values, from 1 to 2^20.
    coins : Coins
        The public randomness.
    **parameters : object
        Those that the class declares, each kept as an attribute of its name.

    Raises
    ------
    ValueError
        If one of them is not allowed.
    """

    name: ClassVar[str]
    source: ClassVar[str]
    sides: ClassVar[int]
    count_names: ClassVar[tuple[str, ...]] = ("tokens",)
    __signature__: ClassVar[Signature | None]
    _declared: ClassVar[Mapping[str, Parameter]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls._declared = declared(cls)
        # A class with a constructor of its own has the signature of that.
        cls.__signature__ = signature_of(cls._declared) if cls.__init__ is WireCache.__init__ else None

    def __init__(self, dim: int, value_dim: int, coins: Coins, **parameters: Any) -> None:
        self.dim = integer("dim", dim, 1, _LARGEST_DIM)
        self.value_dim = integer("value_dim", value_dim, 1, _LARGEST_DIM)
        self.coins = coins
        given = signature_of(self._declared).bind(dim, value_dim, coins, **parameters)
        given.apply_defaults()
        for name, parameter in self._declared.items():
            setattr(self, name, parameter.checked(name, given.arguments[name]))
        self._begin()

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

    def to_bytes(self) -> bytes:
        """Return the payload that carries the whole state.

        Returns
        -------
        bytes
            See `kvfloor.attention.caches.wire`.
        """
        counts, arrays = self._state()
        header = Header(self.name, self.parameters(), (self.dim, self.value_dim, *counts))
        return wire.write(header, self._layout(*counts), arrays)

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
        header, body = wire.read(payload)
        if header.cache != cls.name:
            raise WireError(f"this is a payload of {header.cache!r}, not of {cls.name!r}")
        names, counts = cls.parameter_names(), header.counts[2:]
        if len(header.parameters) != len(names) or len(counts) != len(cls.count_names):
            raise WireError(f"the header of {cls.name!r} has the wrong number of parameters or counts")
        make: Callable[..., Self] = cls  # its own parameters, which it checks itself
        try:
            cache = make(*header.counts[:2], coins, **dict(zip(names, header.parameters, strict=True)))
        except ValueError as error:
            raise WireError(f"the header of {cls.name!r} cannot be right: {error}") from None
        if repr(cache.parameters()) != repr(header.parameters):  # such as 8 where 8.0 is written
            raise WireError(f"the header of {cls.name!r} spells a parameter in another way")
        cache._restore(counts, wire.read_arrays(body, cache._layout(*counts)))
        return cache

    @classmethod
    def parameter_names(cls) -> tuple[str, ...]:
        """Return the names of the parameters, in the order in which they are on the wire.

        Returns
        -------
        tuple of str
            The keyword-only arguments of the constructor.
        """
        arguments = inspect.signature(cls).parameters.values()
        return tuple(argument.name for argument in arguments if argument.kind is argument.KEYWORD_ONLY)

    def parameters(self) -> tuple[Scalar, ...]:
        """Return the values of the parameters, in the order of `parameter_names`.

        Returns
        -------
        tuple of (str, int, float or None)
            Whatever tells this cache from others of its class.
        """
        return tuple(getattr(self, name) for name in self.parameter_names())

    def _demand(self, tokens: int) -> None:
        """Raise ValueError if there are no tokens to attend to."""
        if not tokens:
            raise ValueError("the cache is empty: append tokens before attending")

    def _begin(self) -> None:  # noqa: B027
        """Make the state of an empty cache; ValueError if parameters contradict each other."""

    @abstractmethod
    def _answer(self, queries: Matrix) -> Matrix:
        """Return the answers to checked queries; ValueError if the cache is empty."""

    @abstractmethod
    def _state(self) -> tuple[tuple[int, ...], tuple[NDArray[Any], ...]]:
        """Return the counts named in `count_names` and the arrays of the state."""

    @abstractmethod
    def _layout(self, *counts: int) -> tuple[Field, ...]:
        """Return the fields of the arrays for these counts; WireError if no state has such counts."""

    @abstractmethod
    def _restore(self, counts: tuple[int, ...], arrays: list[NDArray[Any]]) -> None:
        """Take over a state that fits the layout; WireError if its parts contradict each other."""


class StreamCache(WireCache):
    """The frame of caches of ordinary attention: checks arguments, answers by attention to some tokens.

    Beside the methods of `WireCache` a family gives `_append`, which reads checked tokens, and `_tokens`,
    which returns the tokens that stand for the stream, with `_weights` where they do not count alike. One
    that answers in another way gives `_answer` instead of these two.
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
        keys, values = self._tokens()
        self._demand(len(keys))
        queries, weights = queries.astype(keys.dtype, copy=False), self._weights()
        if weights is None:
            return softmax_attention(queries, keys, values)
        return weighted_attention(queries, keys, values, weights)

    def _tokens(self) -> tuple[Matrix, Matrix]:
        """Return keys and values of one dtype that stand for the stream."""
        raise ValueError(f"{self.name} keeps no tokens that stand for the stream, so it cannot be a side")

    def _weights(self) -> Matrix | None:
        """Return how many times each token counts, or None if each counts once."""
        return None
