"""The cache that keeps every token, in a number format of choice."""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches import formats
from kvfloor.attention.caches.base import Coins, Rows, StreamCache
from kvfloor.attention.caches.wire import Field, Floats
from kvfloor.attention.checks import Matrix, one_of

__all__ = ["Dense", "StoredCache"]


class StoredCache(StreamCache):
    """A cache that holds tokens rounded to a number format: the frame of `Dense` and of evictions.

    Parameters
    ----------
    dim, value_dim : int
        Numbers of columns of keys and values.
    coins : Coins
        The public randomness.
    dtype : str
        The number format, one of ``formats.FORMATS``.
    """

    def __init__(self, dim: int, value_dim: int, coins: Coins, *, dtype: str) -> None:
        super().__init__(dim, value_dim, coins)
        self.dtype = one_of("dtype", dtype, formats.FORMATS)
        self._keys = Rows(self.dim, formats.compute_dtype(dtype))
        self._values = Rows(self.value_dim, formats.compute_dtype(dtype))

    def _append(self, keys: Matrix, values: Matrix) -> None:
        keys, values = (
            formats.round_to(self.dtype, keys, "keys"),
            formats.round_to(self.dtype, values, "values"),
        )
        self._store(keys, values)

    def _store(self, keys: Matrix, values: Matrix) -> None:
        """Take in rounded tokens."""
        self._keys.extend(keys)
        self._values.extend(values)

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

    def __init__(self, dim: int, value_dim: int, coins: Coins, *, dtype: str = "float16") -> None:
        super().__init__(dim, value_dim, coins, dtype=dtype)
