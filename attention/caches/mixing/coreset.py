"""A uniform sample of the stream that stands, by its weights, for all of it."""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches.base import whole
from kvfloor.attention.caches.eviction.by_score import RandomTokens
from kvfloor.attention.caches.eviction.frame import demand_more
from kvfloor.attention.checks import Matrix

__all__ = ["Coreset"]


class Coreset(RandomTokens):
    """The last `recent_tokens` tokens, and of all earlier ones a uniform sample that counts for them.

    Of m earlier tokens s are kept, and each counts m/s times: numerator and denominator of attention are
    both unbiased.

    References
    ----------
    Streaming Attention Approximation via Discrepancy Theory (BalanceKV). NeurIPS 2025, arXiv:2502.07861, whose
    baseline of independent samples this is (our reading).
    """

    name: ClassVar[str] = "coreset"
    source: ClassVar[str] = "arXiv:2502.07861, its uniform baseline, our reading"

    recent_tokens: int = whole("last tokens, which always stay, fewer than `kept_tokens`", 0, default=16)

    def _begin(self) -> None:
        super()._begin()
        demand_more(self, "recent_tokens")

    def _scores(self, positions: NDArray[np.int64], keys: Matrix) -> NDArray[Any]:
        recent = positions >= self._seen - self.recent_tokens
        return np.where(recent, np.iinfo(np.uint64).max, super()._scores(positions, keys))

    def _weights(self) -> Matrix:
        earlier = self._seen - self.recent_tokens
        sampled = self._positions < earlier
        return np.where(sampled, max(earlier, 1) / max(int(sampled.sum()), 1), 1.0)
