"""A uniform sample of the stream that stands, by its weights, for all of it."""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches.base import Coins
from kvfloor.attention.caches.eviction.eviction import RandomTokens
from kvfloor.attention.checks import Matrix, integer
from kvfloor.attention.softmax import weighted_attention

__all__ = ["Coreset"]


class Coreset(RandomTokens):
    """The last `recent_tokens` tokens, and of all earlier ones a uniform sample that counts for them.

    Of m earlier tokens s are kept, and each counts m/s times: numerator and denominator of attention are
    both unbiased.

    Parameters
    ----------
    dim, value_dim : int
        Numbers of columns of keys and values.
    coins : Coins
        Its seed draws the sample.
    kept_tokens : int
        The budget, more than `recent_tokens`.
    recent_tokens : int
        How many of the last tokens are always kept, at least 0.
    dtype : str
        The number format of the tokens, one of ``formats.FORMATS``.

    References
    ----------
    Streaming Attention Approximation via Discrepancy Theory (BalanceKV). NeurIPS 2025, arXiv:2502.07861, whose
    baseline of independent samples this is (our reading).
    """

    name: ClassVar[str] = "coreset"
    source: ClassVar[str] = "arXiv:2502.07861, its uniform baseline, our reading"

    def __init__(
        self,
        dim: int,
        value_dim: int,
        coins: Coins,
        *,
        kept_tokens: int,
        recent_tokens: int = 16,
        dtype: str = "float16",
    ) -> None:
        super().__init__(dim, value_dim, coins, kept_tokens=kept_tokens, dtype=dtype)
        self.recent_tokens = integer("recent_tokens", recent_tokens, 0, 1 << 48)
        if self.kept_tokens <= self.recent_tokens:
            raise ValueError(
                f"kept_tokens is {kept_tokens}, expected more than the {recent_tokens} recent_tokens"
            )

    def _scores(self, positions: NDArray[np.int64], keys: Matrix) -> NDArray[Any]:
        recent = positions >= self._seen - self.recent_tokens
        return np.where(recent, np.iinfo(np.uint64).max, super()._scores(positions, keys))

    def _answer(self, queries: Matrix) -> Matrix:
        keys, values = self._tokens()
        self._demand(len(keys))
        earlier = self._seen - self.recent_tokens
        sampled = self._positions < earlier
        weights = np.where(sampled, max(earlier, 1) / max(int(sampled.sum()), 1), 1.0)
        return weighted_attention(queries.astype(keys.dtype, copy=False), keys, values, weights)
