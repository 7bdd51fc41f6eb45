"""Evictions by attention: tokens that were attended to stay.

A stream has keys and values but no queries, which these methods look at. Here the key of a token, times
`query_factor`, stands in for its query. That is our reading, not the papers': in a model queries are other
vectors.
"""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches.base import Coins, Rows
from kvfloor.attention.caches.dense import StoredCache
from kvfloor.attention.caches.eviction.eviction import Evicting
from kvfloor.attention.caches.wire import Field, Floats
from kvfloor.attention.checks import Matrix, integer, positive

__all__ = ["HeavyHitters", "SnapKV"]

_LARGEST_FACTOR = 1e6


class HeavyHitters(Evicting):
    """Heavy hitters: the most recent tokens, and the earlier ones with the most attention so far (H2O).

    Every new token attends to those kept and to itself; the weights are added up, in float32. Over budget,
    the token with the least sum goes, the oldest of equals, but none of the last ceil(kept_tokens / 2).

    Parameters
    ----------
    dim, value_dim : int
        Numbers of columns of keys and values.
    coins : Coins
        Not used.
    kept_tokens : int
        The budget, at least 1.
    query_factor : float
        A token's key times this stands in for its query, which is not part of the stream (our reading).
    dtype : str
        The number format of the tokens.

    References
    ----------
    Z. Zhang et al. H2O: Heavy-Hitter Oracle for Efficient Generative Inference of Large Language Models.
    NeurIPS 2023, arXiv:2306.14048.
    """

    name: ClassVar[str] = "h2o"
    source: ClassVar[str] = "arXiv:2306.14048 (H2O), our reading"

    def __init__(
        self,
        dim: int,
        value_dim: int,
        coins: Coins,
        *,
        kept_tokens: int,
        query_factor: float = 8.0,
        dtype: str = "float16",
    ) -> None:
        super().__init__(dim, value_dim, coins, kept_tokens=kept_tokens, dtype=dtype)
        self.query_factor = positive("query_factor", query_factor, _LARGEST_FACTOR)
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


class SnapKV(StoredCache):
    """The last window's tokens, and the earlier ones that its attention, pooled, votes for (SnapKV).

    Compression happens once, when the prefill ends. Here that is when the cache crosses the wire: until
    then all tokens are held, and answers and payload are those of the compressed cache; tokens that are
    appended after it was restored are generated ones, and all stay.

    Parameters
    ----------
    dim, value_dim : int
        Numbers of columns of keys and values.
    coins : Coins
        Not used.
    kept_tokens : int
        Tokens of the prefill that stay, more than `window_tokens`.
    window_tokens : int
        Size of the last window, whose tokens vote and always stay, at least 1.
    pool_tokens : int
        How many neighbouring votes are averaged, at least 1.
    query_factor : float
        A token's key times this stands in for its query, which is not part of the stream (our reading).
    dtype : str
        The number format of the tokens.

    References
    ----------
    Y. Li et al. SnapKV: LLM Knows What You are Looking for Before Generation. NeurIPS 2024, arXiv:2404.14469.
    """

    name: ClassVar[str] = "snapkv"
    source: ClassVar[str] = "arXiv:2404.14469 (SnapKV), our reading"

    def __init__(
        self,
        dim: int,
        value_dim: int,
        coins: Coins,
        *,
        kept_tokens: int,
        window_tokens: int = 32,
        pool_tokens: int = 5,
        query_factor: float = 8.0,
        dtype: str = "float16",
    ) -> None:
        super().__init__(dim, value_dim, coins, dtype=dtype)
        self.kept_tokens = integer("kept_tokens", kept_tokens, 1, 1 << 48)
        self.window_tokens = integer("window_tokens", window_tokens, 1, 1 << 20)
        self.pool_tokens = integer("pool_tokens", pool_tokens, 1, 1 << 20)
        self.query_factor = positive("query_factor", query_factor, _LARGEST_FACTOR)
        if self.kept_tokens <= self.window_tokens:
            raise ValueError(
                f"kept_tokens is {kept_tokens}, expected more than the {window_tokens} window_tokens"
            )
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
