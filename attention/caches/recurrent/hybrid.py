"""A sliding window whose evicted tokens go on living in a recurrent state."""

import copy
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches.base import real, whole, word
from kvfloor.attention.caches.dense import StoredCache
from kvfloor.attention.caches.recurrent.delta import DeltaNet
from kvfloor.attention.caches.recurrent.linear_attention import LinearAttention
from kvfloor.attention.caches.recurrent.selective import SelectiveSSM
from kvfloor.attention.caches.wire import Field, WireError
from kvfloor.attention.caches.wire.formats import FORMATS
from kvfloor.attention.checks import Matrix

__all__ = ["Hybrid"]

STATES = {kind.name: kind for kind in (LinearAttention, DeltaNet, SelectiveSSM)}


class Hybrid(StoredCache):
    """The last `window_tokens` tokens under softmax attention, and beside them one that stands for all others.

    Its value is what the recurrent state answers, its score a fixed share of the query's length: a query with a
    unit key in the window finds a higher one there, any other query does not (theory 14).

    References
    ----------
    S. De et al. Griffin: Mixing Gated Linear Recurrences with Local Attention. 2024, arXiv:2402.19427. S. Arora et
    al. 2024, arXiv:2402.18668. Both alternate layers; one layer that adds both up is our reading.
    """

    name: ClassVar[str] = "hybrid"
    source: ClassVar[str] = "arXiv:2402.19427, arXiv:2402.18668, our reading"
    count_names: ClassVar[tuple[str, ...]] = ("tokens", "evicted")

    window_tokens: int = whole("last tokens, which stay as they are", 1, default=16)
    state: str = word("the recurrent state, by its name", tuple(STATES), default="delta-net")
    share: float = real("score of the state, as a share of the query's length", 1.0, default=0.75)
    dtype: str = word("number format of tokens and state", FORMATS, default="float32")

    def _begin(self) -> None:
        super()._begin()
        self._rest: Any = STATES[self.state](self.dim, self.value_dim, self.coins, dtype=self.dtype)

    def _store(self, keys: Matrix, values: Matrix) -> None:
        held = len(self._keys)
        surplus = max(0, held + len(keys) - self.window_tokens)
        if surplus:
            new = max(0, surplus - held)
            rest = copy.copy(self._rest)  # its arrays are never written to
            rest.append(
                np.concatenate([self._keys.array[:surplus], keys[:new]]),
                np.concatenate([self._values.array[:surplus], values[:new]]),
            )
            self._rest = rest
        super()._store(keys, values)
        self._keep(slice(surplus, None))

    def _answer(self, queries: Matrix) -> Matrix:
        if not self._rest._count:
            return super()._answer(queries)
        keys, values = (array.astype(np.float64) for array in self._tokens())
        asked = queries.astype(np.float64)
        scores = np.column_stack([asked @ keys.T, self.share * np.linalg.norm(asked, axis=1)])
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        totals = weights[:, :-1] @ values + weights[:, -1:] * self._rest.attend(queries)
        answers: Matrix = totals / weights.sum(axis=1, keepdims=True)
        return answers

    def _state(self) -> tuple[tuple[int, ...], tuple[NDArray[Any], ...]]:
        (tokens,), arrays = super()._state()
        (evicted,), rest = self._rest._state()
        return (tokens, evicted), (*arrays, *rest)

    def _layout(self, *counts: int) -> tuple[Field, ...]:
        tokens, evicted = counts
        if tokens > self.window_tokens or (evicted and tokens < self.window_tokens):
            raise WireError(
                f"a window of {self.window_tokens} tokens holds {tokens} after {evicted} were evicted"
            )
        return (*super()._layout(tokens), *self._rest._layout(evicted))

    def _restore(self, counts: tuple[int, ...], arrays: list[NDArray[Any]]) -> None:
        super()._restore(counts, arrays[:2])
        self._rest._restore(counts[1:], arrays[2:])
