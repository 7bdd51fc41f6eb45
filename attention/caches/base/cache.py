"""What a cache is: the protocol, the public randomness of both sides, and a cache that is still to be made."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Self, runtime_checkable

from kvfloor.attention.checks import Matrix

__all__ = ["Cache", "CacheSpec", "Coins", "Factory"]

_METHODS = ("append", "attend", "to_bytes", "from_bytes")


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
    keys: Matrix | None = field(default=None, repr=False)


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


Factory = Callable[..., Cache]
"""``factory(dim, value_dim, coins, **parameters) -> Cache``."""


@dataclass(frozen=True, slots=True)
class CacheSpec:
    """A cache that can be made: a factory and its parameters.

    Parameters
    ----------
    spec : str
        What it was resolved from.
    factory : Factory
        What makes it.
    parameters : mapping of str to object
        The parameters that the spec gives.
    """

    spec: str
    factory: Factory
    parameters: Mapping[str, object] = field(default_factory=dict, hash=False)

    def make(self, dim: int, value_dim: int, coins: Coins) -> Cache:
        """Return a new, empty cache.

        Parameters
        ----------
        dim, value_dim : int
            Numbers of columns of keys and values.
        coins : Coins
            The public randomness.

        Returns
        -------
        Cache
            The cache.

        Raises
        ------
        ValueError
            If the factory rejects its arguments, or returns something that is not a cache.
        """
        cache = self.factory(dim, value_dim, coins, **self.parameters)
        missing = [method for method in _METHODS if not callable(getattr(cache, method, None))]
        if missing:
            raise ValueError(f"{self.spec!r} made a {type(cache).__name__}, which has no method {missing[0]}")
        return cache

    def restore(self, payload: bytes, dim: int, value_dim: int, coins: Coins) -> Cache:
        """Return the cache whose state a payload carries.

        Parameters
        ----------
        payload : bytes
            What ``to_bytes`` of such a cache returned.
        dim, value_dim, coins
            As for `make`.

        Returns
        -------
        Cache
            The cache, restored by ``from_bytes`` of the class that `make` makes.

        Raises
        ------
        WireError
            If one of our caches does not accept the payload.
        """
        return type(self.make(dim, value_dim, coins)).from_bytes(payload, coins)
