"""The sliding window whose evicted values still count: exact at the cost of one sum (theory 5, our reading)."""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches.base import whole
from kvfloor.attention.caches.dense import StoredCache
from kvfloor.attention.caches.wire import Field, Floats, WireError
from kvfloor.attention.checks import LARGEST, Matrix
from kvfloor.attention.window import attend_beside_zeros

__all__ = ["UnmaskedWindow"]


class UnmaskedWindow(StoredCache):
    """The last `window_tokens` tokens, and the sum and number of all evicted values (values unmasked).

    It answers `kvfloor.attention.window.window_attention` with tokens outside of the window "zeroed", exactly but
    for rounding, whatever the stream. Evicted values are added in the stream's order, in float64, so that the
    state does not depend on the blocks in which tokens come.

    References
    ----------
    T. Haris, K. Onak. Compression Barriers for Autoregressive Transformers. COLT 2025, arXiv:2502.15955.
    """

    name: ClassVar[str] = "unmasked-window"
    source: ClassVar[str] = "arXiv:2502.15955 (sliding window, values unmasked), our reading"
    count_names: ClassVar[tuple[str, ...]] = ("tokens", "evicted")
    window_tokens: int = whole("last tokens, which stay", 1)

    def _begin(self) -> None:
        super()._begin()
        self._evicted = 0
        self._total: NDArray[np.float64] = np.empty((0, self.value_dim))  # one row once a token was evicted

    def _answer(self, queries: Matrix) -> Matrix:
        if not self._evicted:
            return super()._answer(queries)
        keys, values = self._tokens()
        queries = queries.astype(keys.dtype, copy=False)
        return attend_beside_zeros(queries, keys, values, self._total[0], self._evicted)

    def _store(self, keys: Matrix, values: Matrix) -> None:
        surplus = max(0, len(self._keys) + len(keys) - self.window_tokens)
        if not surplus:
            super()._store(keys, values)
            return
        leaving = np.concatenate(
            [self._values.array[:surplus], values[: max(0, surplus - len(self._values))]]
        )
        total = self._add(np.vstack([self._total, leaving], dtype=np.float64))
        if np.abs(total).max() > LARGEST:
            raise ValueError(f"the sum of evicted values exceeds {LARGEST:g} in magnitude")
        super()._store(keys, values)
        self._keep(slice(surplus, None))
        self._total, self._evicted = total, self._evicted + surplus

    def _add(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sum of rows, shape (1, d_v), one after the other: a plain sum would add them in pairs."""
        return np.add.accumulate(rows, axis=0)[-1:].copy()

    def _state(self) -> tuple[tuple[int, ...], tuple[NDArray[Any], ...]]:
        counts, arrays = super()._state()
        return (*counts, self._evicted), (*arrays, self._total)

    def _layout(self, *counts: int) -> tuple[Field, ...]:
        tokens, evicted = counts
        if tokens > self.window_tokens or (evicted and tokens < self.window_tokens):
            raise WireError(
                f"a window of {self.window_tokens} tokens holds {tokens} after {evicted} were evicted"
            )
        total = Floats("the sum of evicted values", (min(evicted, 1), self.value_dim), "float64")
        return (*super()._layout(tokens), total)

    def _restore(self, counts: tuple[int, ...], arrays: list[NDArray[Any]]) -> None:
        super()._restore(counts, arrays[:2])
        self._evicted, self._total = counts[1], arrays[2]
