"""Evictions by attention: tokens that were attended to stay.

A stream has keys and values but no queries, which these methods look at. Here the key of a token, times
`query_factor`, stands in for its query. That is our reading, not the papers': in a model queries are other
vectors.
"""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches.base import Rows, real, whole
from kvfloor.attention.caches.dense import StoredCache
from kvfloor.attention.caches.eviction.frame import Evicting, demand_more
from kvfloor.attention.caches.wire import Field, Floats
from kvfloor.attention.checks import Matrix

__all__ = ["HeavyHitters", "SnapKV"]


class _Voting(StoredCache):
    """The frame of evictions by attention: a token's key, scaled, is its query."""

    query_factor: float = real("a token's key times this stands in for its query", 1e6, default=8.0)


class HeavyHitters(_Voting, Evicting):
    """Heavy hitters: the most recent tokens, and the earlier ones with the most attention so far (H2O).

    Every new token attends to those kept and to itself; the weights are added up, in float32. Over budget,
    the token with the least sum goes, the oldest of equals, but none of the last ceil(kept_tokens / 2).

    References
    ----------
    Z. Zhang et al. H2O: Heavy-Hitter Oracle for Efficient Generative Inference of Large Language Models.
    NeurIPS 2023, arXiv:2306.14048.
    """

    name: ClassVar[str] = "h2o"
    source: ClassVar[str] = "arXiv:2306.14048 (H2O), our reading"

    def _begin(self) -> None:
        super()._begin()
        self._recent = self.kept_tokens - self.kept_tokens // 2
        self._wide_keys = Rows(self.dim, np.float64)  # no score of finite keys overflows in float64
        self._attention = Rows(1, np.float32)

    def _store(self, keys: Matrix, values: Matrix) -> None:
        for row in range(len(keys)):
            super()._store(keys[row : row + 1], values[row : row + 1])
            self._wide_keys.extend(keys[row : row + 1])
            self._attention.extend(np.zeros((1, 1), np.float32))
            self._vote()
            if len(self._keys) > self.kept_tokens:
                earlier = self._attention.array[: len(self._keys) - self._recent, 0]
                victim = int(np.argmin(earlier))
                for rows in (self._keys, self._values, self._wide_keys, self._attention):
                    rows.delete(victim)

    def _vote(self) -> None:
        """Add the attention weights of the last token."""
        keys = self._wide_keys.array
        # Not a BLAS product: a sum must not depend on how many rows there are or where they lie in memory.
        scores = np.einsum("td,d->t", keys, keys[-1] * self.query_factor)
        weights = np.exp(scores - scores.max())
        self._attention.array[:, 0] += (weights / weights.sum()).astype(np.float32)

    def _state(self) -> tuple[tuple[int, ...], tuple[NDArray[Any], ...]]:
        counts, arrays = super()._state()
        return counts, (*arrays, self._attention.array)

    def _layout(self, *counts: int) -> tuple[Field, ...]:
        return (*super()._layout(*counts), Floats("sums of attention", (counts[0], 1), "float32", low=0.0))

    def _restore(self, counts: tuple[int, ...], arrays: list[NDArray[Any]]) -> None:
        super()._restore(counts, arrays)
        self._wide_keys.extend(arrays[0])
        self._attention.replace(arrays[2])


class SnapKV(_Voting):
    """The last window's tokens, and the earlier ones that its attention, pooled, votes for (SnapKV).

    Compression happens once, when the prefill ends. Here that is when the cache crosses the wire: until
    then all tokens are held, and answers and payload are those of the compressed cache; tokens that are
    appended after it was restored are generated ones, and all stay.

    References
    ----------
    Y. Li et al. SnapKV: LLM Knows What You are Looking for Before Generation. NeurIPS 2024, arXiv:2404.14469.
    """

    name: ClassVar[str] = "snapkv"
    source: ClassVar[str] = "arXiv:2404.14469 (SnapKV), our reading"
    kept_tokens: int = whole("tokens of the prefill that stay, more than `window_tokens`", 1)
    window_tokens: int = whole("last tokens, which vote and always stay", 1, 1 << 20, default=32)
    pool_tokens: int = whole("neighbouring votes that are averaged", 1, 1 << 20, default=5)

    def _begin(self) -> None:
        super()._begin()
        demand_more(self, "window_tokens")
        self._prefill = True

    def _tokens(self) -> tuple[Matrix, Matrix]:
        keys, values = super()._tokens()
        if not self._prefill or len(keys) <= self.kept_tokens:
            return keys, values
        earlier = len(keys) - self.window_tokens
        votes = self._votes(keys, earlier)
        elected = np.lexsort((np.arange(earlier), votes))[earlier - (self.kept_tokens - self.window_tokens) :]
        kept = np.append(np.sort(elected), np.arange(earlier, len(keys)))
        return keys[kept], values[kept]

    def _votes(self, keys: Matrix, earlier: int) -> NDArray[np.float64]:
        """Return the pooled attention that the tokens after the first `earlier` ones give to these."""
        scores = (keys[earlier:] * np.float64(self.query_factor)) @ keys.T.astype(np.float64)
        scores[:, earlier:][np.triu_indices(self.window_tokens, 1)] = -np.inf  # attention is causal
        scores -= scores.max(axis=1, keepdims=True)
        weights = np.exp(scores, out=scores)
        weights /= weights.sum(axis=1, keepdims=True)
        votes = weights[:, :earlier].sum(axis=0)
        before = self.pool_tokens // 2
        pooled: NDArray[np.float64] = np.convolve(votes, np.full(self.pool_tokens, 1 / self.pool_tokens))
        return pooled[before : before + earlier]

    def _restore(self, counts: tuple[int, ...], arrays: list[NDArray[Any]]) -> None:
        super()._restore(counts, arrays)
        self._prefill = False
