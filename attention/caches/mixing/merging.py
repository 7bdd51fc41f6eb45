"""Merging: tokens that no longer fit join the most similar one."""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches.base import Rows, whole
from kvfloor.attention.caches.eviction.frame import Evicting, demand_more
from kvfloor.attention.caches.wire import Codes, Field, WireError
from kvfloor.attention.caches.wire.formats import round_to
from kvfloor.attention.checks import Matrix

__all__ = ["Merge"]


class Merge(Evicting):
    """At most `kept_tokens` means of tokens: one that leaves the recent window joins the nearest by cosine.

    A slot holds the means of the keys and of the values of its tokens, and counts as many times as there
    are tokens in it. The first tokens open a slot each; the last `recent_tokens` tokens are not merged yet.

    References
    ----------
    Z. Wan et al. D2O: Dynamic Discriminative Operations for Efficient Long-Context Inference of Large
    Language Models, arXiv:2406.13035. Our reading: what is evicted is what leaves the window, and all of it
    is merged.
    """

    name: ClassVar[str] = "merge"
    source: ClassVar[str] = "arXiv:2406.13035 (D2O), our reading"
    count_names: ClassVar[tuple[str, ...]] = ("tokens", "seen")

    recent_tokens: int = whole(
        "last tokens, which are not merged yet, fewer than `kept_tokens`", 0, default=16
    )

    def _begin(self) -> None:
        super()._begin()
        demand_more(self, "recent_tokens")
        self._together = Rows(1, np.int64)

    def _store(self, keys: Matrix, values: Matrix) -> None:
        for key, value in zip(keys, values, strict=True):
            super()._store(key[None], value[None])
            self._together.extend(np.ones((1, 1), np.int64))
            if len(self._keys) > self.kept_tokens:
                self._merge(self.kept_tokens - self.recent_tokens)

    def _merge(self, slot: int) -> None:
        """Let a slot join the nearest of those before it."""
        keys, key = self._keys.array[:slot].astype(np.float64), self._keys.array[slot].astype(np.float64)
        norms = np.linalg.norm(keys, axis=1)
        nearest = int(np.argmax(keys @ key / np.where(norms > 0, norms, 1.0)))
        counts = self._together.array[:, 0]
        together = counts[nearest] + counts[slot]
        for rows in (self._keys, self._values):
            pair = rows.array[[nearest, slot]].astype(np.float64) * counts[[nearest, slot], None]
            rows.array[nearest] = round_to(self.dtype, pair.sum(axis=0, keepdims=True) / together, "means")[0]
        counts[nearest] = together
        for each in (self._keys, self._values, self._together):
            each.delete(slot)

    def _weights(self) -> Matrix:
        return self._together.array[:, 0]

    def _state(self) -> tuple[tuple[int, ...], tuple[NDArray[Any], ...]]:
        (tokens,), arrays = super()._state()
        return (tokens, int(self._together.array.sum())), (*arrays, self._together.array[:, 0] - 1)

    def _layout(self, *counts: int) -> tuple[Field, ...]:
        tokens, seen = counts
        self._demand_full(tokens, seen)
        return (*super()._layout(tokens), Codes("merged tokens", (tokens,), seen - tokens + 1))

    def _restore(self, counts: tuple[int, ...], arrays: list[NDArray[Any]]) -> None:
        super()._restore(counts, arrays)
        merged = arrays[2].astype(np.int64)
        if int(merged.sum()) != counts[1] - counts[0]:
            raise WireError(f"the slots hold {merged.sum() + counts[0]} tokens, not {counts[1]}")
        self._together.replace(merged[:, None] + 1)
