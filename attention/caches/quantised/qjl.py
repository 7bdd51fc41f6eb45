"""One-bit keys: signs of random projections."""

import functools
import math
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches.base import whole
from kvfloor.attention.caches.base.projection import gaussian, project
from kvfloor.attention.caches.quantised.frame import Groups, NormedCodes, QuantisedCache
from kvfloor.attention.checks import Matrix

__all__ = ["QJL"]


class QJL(QuantisedCache):
    """Keys as norms and signs of random projections, values quantised per token (QJL).

    With S of independent standard normal entries, sqrt(pi/2)/m |k| <S q, sign(S k)> is an unbiased estimate
    of <q, k> whose variance is at most pi/(2 m) |q|^2 |k|^2. It is the score of the stand-in key
    sqrt(pi/2)/m |k| S^T sign(S k).

    References
    ----------
    A. Zandieh, M. Daliri, I. Han. QJL: 1-Bit Quantized JL Transform for KV Cache Quantization with Zero
    Overhead, arXiv:2406.03482.
    """

    name: ClassVar[str] = "qjl"
    source: ClassVar[str] = "arXiv:2406.03482 (QJL)"

    sketch_bits: int = whole("signs a key, their number m", 1, 1 << 16, default=256)
    value_bits: int = whole("bits a value's code", 1, 8, default=2)
    group_size: int = whole("channels that share a scale and a zero point", 1, 1 << 20, default=32)

    def _begin(self) -> None:
        self._keys = _Signs(self.sketch_bits, self.dim, self.coins.seed)
        self._values = Groups("values", self.value_dim, self.value_bits, self.group_size, "token")


class _Signs(NormedCodes):
    """Keys as norms in float16 and signs of projections."""

    def __init__(self, bits: int, columns: int, seed: int) -> None:
        super().__init__("keys", "signs", bits, 2)
        self._directions_of = bits, columns, seed

    @functools.cached_property
    def _directions(self) -> NDArray[np.float64]:
        """The matrix S, made when it is first needed."""
        return gaussian(*self._directions_of)

    def _coded(self, rows: Matrix, lengths: Matrix) -> NDArray[Any]:
        return project(rows, self._directions) > 0

    def _decoded(self, lengths: Matrix, codes: NDArray[Any]) -> Matrix:
        signs = 2.0 * codes - 1.0
        keys: Matrix = (math.sqrt(math.pi / 2) / codes.shape[1]) * lengths * (signs @ self._directions)
        return keys
