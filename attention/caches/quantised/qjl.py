"""One-bit keys: signs of random projections."""

import functools
import math
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches.base import Coins, Rows, StreamCache
from kvfloor.attention.caches.formats import round_to
from kvfloor.attention.caches.projection import gaussian, norms, project
from kvfloor.attention.caches.quantised.quantized import Groups
from kvfloor.attention.caches.wire import Codes, Field, Floats
from kvfloor.attention.checks import Matrix, integer

__all__ = ["QJL"]


class QJL(StreamCache):
    """Keys as norms and signs of random projections, values quantised per token (QJL).

    With S of independent standard normal entries, sqrt(pi/2)/m |k| <S q, sign(S k)> is an unbiased estimate
    of <q, k> whose variance is at most pi/(2 m) |q|^2 |k|^2. It is the score of the stand-in key
    sqrt(pi/2)/m |k| S^T sign(S k).

    Parameters
    ----------
    dim, value_dim : int
        Numbers of columns of keys and values.
    coins : Coins
        Its seed draws S.
    sketch_bits : int
        Signs m a key, at least 1.
    value_bits : int
        Bits a value's code, 1 to 8.
    group_size : int
        Channels that share a scale and a zero point.

    References
    ----------
    A. Zandieh, M. Daliri, I. Han. QJL: 1-Bit Quantized JL Transform for KV Cache Quantization with Zero
    Overhead, arXiv:2406.03482.
    """

    name: ClassVar[str] = "qjl"
    source: ClassVar[str] = "arXiv:2406.03482 (QJL)"

    def __init__(
        self,
        dim: int,
        value_dim: int,
        coins: Coins,
        *,
        sketch_bits: int = 256,
        value_bits: int = 2,
        group_size: int = 32,
    ) -> None:
        super().__init__(dim, value_dim, coins)
        self.sketch_bits = integer("sketch_bits", sketch_bits, 1, 1 << 16)
        self.value_bits = integer("value_bits", value_bits, 1, 8)
        self.group_size = integer("group_size", group_size, 1, 1 << 20)
        self._norms = Rows(1, np.float32)
        self._signs = Rows(self.sketch_bits, np.uint8)
        self._values = Groups("values", self.value_dim, self.value_bits, self.group_size, "token")

    @functools.cached_property
    def _directions(self) -> NDArray[np.float64]:
        """The matrix S."""
        return gaussian(self.sketch_bits, self.dim, self.coins.seed)

    def _append(self, keys: Matrix, values: Matrix) -> None:
        lengths = round_to("float16", norms(keys), "norms of keys")
        quantised = self._values.quantise(round_to("float16", values, "values"))
        self._signs.extend(project(keys, self._directions) > 0)
        self._norms.extend(lengths)
        self._values.extend(*quantised)

    def _tokens(self) -> tuple[Matrix, Matrix]:
        signs = 2.0 * self._signs.array - 1.0
        keys = (math.sqrt(math.pi / 2) / self.sketch_bits) * self._norms.array * (signs @ self._directions)
        return keys.astype(np.float32), self._values.matrix()

    def _state(self) -> tuple[tuple[int, ...], tuple[NDArray[Any], ...]]:
        return (len(self._norms),), (self._norms.array, self._signs.array, *self._values.arrays())

    def _layout(self, *counts: int) -> tuple[Field, ...]:
        return (
            Floats("norms of keys", (counts[0], 1), "float16", low=0.0),
            Codes("signs of keys", (counts[0], self.sketch_bits), 2),
            *self._values.layout(counts[0]),
        )

    def _restore(self, counts: tuple[int, ...], arrays: list[NDArray[Any]]) -> None:
        self._norms.replace(arrays[0])
        self._signs.replace(arrays[1])
        self._values.extend(*arrays[2:])
