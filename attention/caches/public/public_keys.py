"""Caches that spend no bits on keys: the public coins hold them already."""

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches.base import Rows, StreamCache
from kvfloor.attention.caches.wire import Codes, Field, Floats, WireError
from kvfloor.attention.caches.wire.formats import round_to
from kvfloor.attention.checks import Matrix, matrix

__all__ = ["PublicKeyCache"]


class PublicKeyCache(StreamCache):
    """A cache of tokens whose keys are public: only values are stored, by a rule that each family gives.

    The token at position l of the stream is public if its key equals ``coins.keys[l]``. Every other token,
    such as the one that Bob appends, is kept whole with its position, in the precision of the public keys.
    """

    count_names: ClassVar[tuple[str, ...]] = ("tokens", "other_tokens")

    def _begin(self) -> None:
        if self.coins.keys is None:
            raise ValueError(f"{self.name} needs public keys (coins.keys), but here the keys are not public")
        self._public_keys = matrix("coins.keys", self.coins.keys, self.dim)
        self._count = 0
        self._other_positions: NDArray[np.int64] = np.empty(0, np.int64)
        self._dtype = self._public_keys.dtype.name
        self._other_keys = Rows(self.dim, self._dtype)
        self._other_values = Rows(self.value_dim, self._dtype)

    def _append(self, keys: Matrix, values: Matrix) -> None:
        keys = round_to(self._dtype, keys, "keys")
        shared = self._public_keys[self._count : self._count + len(keys)]
        public = np.zeros(len(keys), np.bool_)
        public[: len(shared)] = (keys[: len(shared)] == shared).all(axis=1)
        others = ~public
        other_values = round_to(self._dtype, values[others], "values")
        if public.any():
            self._append_values(values[public].astype(np.float64))  # the last step that may find fault
        self._other_positions = np.append(self._other_positions, self._count + np.flatnonzero(others))
        self._other_keys.extend(keys[others])
        self._other_values.extend(other_values)
        self._count += len(keys)

    def _tokens(self) -> tuple[Matrix, Matrix]:
        public = np.ones(min(self._count, len(self._public_keys)), np.bool_)
        public[self._other_positions[self._other_positions < len(public)]] = False
        keys = self._public_keys[: len(public)]
        if len(self._other_positions):
            keys = np.concatenate([keys[public], self._other_keys.array])
        return keys, np.concatenate([self._values(), self._other_values.array])

    def _state(self) -> tuple[tuple[int, ...], tuple[NDArray[Any], ...]]:
        arrays = (
            self._other_positions,
            self._other_keys.array,
            self._other_values.array,
            *self._value_arrays(),
        )
        return (self._count, len(self._other_positions), *self._value_counts()), arrays

    def _layout(self, *counts: int) -> tuple[Field, ...]:
        tokens, others = counts[:2]
        if not tokens - len(self._public_keys) <= others <= tokens:
            raise WireError(
                f"{others} of {tokens} tokens are not public, with {len(self._public_keys)} public keys"
            )
        return (
            Codes("positions of other tokens", (others,), max(tokens, 1)),
            Floats("keys of other tokens", (others, self.dim), self._dtype),
            Floats("values of other tokens", (others, self.value_dim), self._dtype),
            *self._value_layout(tokens - others, *counts[2:]),
        )

    def _restore(self, counts: tuple[int, ...], arrays: list[NDArray[Any]]) -> None:
        positions = arrays[0].astype(np.int64)
        keys = arrays[1]
        shared = positions[positions < len(self._public_keys)]
        if (np.diff(positions) <= 0).any():
            raise WireError("positions of other tokens do not increase")
        if len(positions) - len(shared) != max(0, counts[0] - len(self._public_keys)):
            raise WireError("a token has neither a public key nor one of its own")
        if (keys[: len(shared)] == self._public_keys[shared]).all(axis=1).any():
            raise WireError("a token has a key of its own that equals its public key")
        self._count, self._other_positions = counts[0], positions
        self._other_keys.replace(keys)
        self._other_values.replace(arrays[2])
        self._restore_values(counts[0] - counts[1], counts[2:], arrays[3:])

    @abstractmethod
    def _append_values(self, values: Matrix) -> None:
        """Store values (b, value_dim) of the next b >= 1 public tokens; on ValueError nothing has changed."""

    @abstractmethod
    def _values(self) -> Matrix:
        """Return the values that stand for those of all public tokens."""

    @abstractmethod
    def _value_arrays(self) -> tuple[NDArray[Any], ...]:
        """Return the arrays of the stored values."""

    def _value_counts(self) -> tuple[int, ...]:
        """Return the counts that `count_names` has beyond the first two."""
        return ()

    @abstractmethod
    def _value_layout(self, public_tokens: int, *counts: int) -> tuple[Field, ...]:
        """Return the fields of the stored values."""

    @abstractmethod
    def _restore_values(
        self, public_tokens: int, counts: tuple[int, ...], arrays: list[NDArray[Any]]
    ) -> None:
        """Take over stored values."""
