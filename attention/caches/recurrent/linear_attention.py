"""Linear attention without a normaliser: pairs are added up, and read as they were written."""

from typing import ClassVar

import numpy as np

from kvfloor.attention.caches.base import whole
from kvfloor.attention.caches.recurrent.frame import (
    Doubles,
    RecurrentCache,
    directions,
    power_columns,
    powers,
)
from kvfloor.attention.checks import Matrix

__all__ = ["LinearAttention"]


class LinearAttention(RecurrentCache):
    """The sum of all outer products of features and values; a query reads sum_l <q, k_l>^p v_l.

    Keys and queries count by their directions. Whatever is stored stays, and whatever is stored besides is noise
    (theory 14): nothing decays, which is the best choice where no token is worth less than another.

    References
    ----------
    A. Katharopoulos et al. Transformers are RNNs. ICML 2020, arXiv:2006.16236. S. Arora et al. Simple linear
    attention language models balance the recall-throughput tradeoff. 2024, arXiv:2402.18668: features of degree 2
    (our reading, without the lower degrees).
    """

    name: ClassVar[str] = "linear-attention"
    source: ClassVar[str] = "arXiv:2006.16236, without the normaliser"

    degree: int = whole("power p of the inner products of keys and queries", 1, 3, default=1)

    def _shapes(self) -> dict[str, tuple[int, int]]:
        return {"state": (power_columns(self.dim, self.degree), self.value_dim)}

    def _features(self, rows: Matrix) -> Doubles:
        return powers(directions(rows), self.degree)

    def _step(self, memory: tuple[Doubles, ...], feature: Doubles, value: Doubles) -> tuple[Doubles, ...]:
        return (memory[0] + np.outer(feature, value),)

    def _read(self, memory: tuple[Doubles, ...], features: Doubles) -> Matrix:
        return features @ memory[0]
