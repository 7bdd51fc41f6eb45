"""The cache that keeps every token, in a number format of choice."""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches.base import Rows, StreamCache, word
from kvfloor.attention.caches.wire import Field, Floats
from kvfloor.attention.caches.wire.formats import FORMATS, compute_dtype, round_tokens
from kvfloor.attention.checks import Matrix

__all__ = ["Dense", "StoredCache"]


class StoredCache(StreamCache):
    """A cache that holds tokens rounded to a number format: the frame of `Dense` and of evictions."""

    dtype: str = word("number format of what is kept", FORMATS, default="float16")

    def _begin(self) -> None:
        self._keys = Rows(self.dim, compute_dtype(self.dtype))
        self._values = Rows(self.value_dim, compute_dtype(self.dtype))

    def _append(self, keys: Matrix, values: Matrix) -> None:
        self._store(*round_tokens(self.dtype, keys, values))

    def _store(self, keys: Matrix, values: Matrix) -> None:
        """Take in rounded tokens."""
        self._keys.extend(keys)
        self._values.extend(values)

    def _keep(self, rows: Any) -> None:
        """Keep some of the tokens, given by their indices or as a slice."""
        self._keys.replace(self._keys.array[rows].copy())
        self._values.replace(self._values.array[rows].copy())

    def _tokens(self) -> tuple[Matrix, Matrix]:
        return self._keys.array, self._values.array

    def _state(self) -> tuple[tuple[int, ...], tuple[NDArray[Any], ...]]:
        keys, values = self._tokens()
        return (len(keys),), (keys, values)

    def _layout(self, *counts: int) -> tuple[Field, ...]:
        tokens = counts[0]
        return (
            Floats("keys", (tokens, self.dim), self.dtype),
            Floats("values", (tokens, self.value_dim), self.dtype),
        )

    def _restore(self, counts: tuple[int, ...], arrays: list[NDArray[Any]]) -> None:
        self._keys.replace(np.ascontiguousarray(arrays[0]))
        self._values.replace(np.ascontiguousarray(arrays[1]))


class Dense(StoredCache):
    """Every token, as float64, float32, float16 or bfloat16."""

    name: ClassVar[str] = "dense"
    source: ClassVar[str] = "the uncompressed cache"
