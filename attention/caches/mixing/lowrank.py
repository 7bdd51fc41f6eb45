"""Keys and values as products of thin factors."""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches.base import whole
from kvfloor.attention.caches.dense import StoredCache
from kvfloor.attention.caches.wire import Field, Floats
from kvfloor.attention.caches.wire.formats import round_to
from kvfloor.attention.checks import Matrix

__all__ = ["LowRank"]


class LowRank(StoredCache):
    """The best approximation of keys and of values by matrices of a given rank (truncated SVD).

    Compression happens once, when the prefill ends. Here that is when the cache crosses the wire: until
    then all tokens are held, and answers and payload are those of the compressed cache; tokens that are
    appended after it was restored are generated ones, and are kept whole.

    References
    ----------
    U. Saxena et al. Eigen Attention: Attention in Low-Rank Space for KV Cache Compression. EMNLP Findings
    2024, arXiv:2408.05646. There the bases come from a calibration set; here from the stream itself.
    """

    name: ClassVar[str] = "lowrank"
    source: ClassVar[str] = "arXiv:2408.05646 (Eigen Attention), our reading"
    count_names: ClassVar[tuple[str, ...]] = ("tokens", "later_tokens")

    key_rank: int = whole("rank of the keys; one that the matrix cannot exceed is exact", 1, 1 << 20)
    value_rank: int = whole("rank of the values, likewise", 1, 1 << 20)

    def _begin(self) -> None:
        super()._begin()
        self._factors: tuple[NDArray[Any], ...] | None = None  # of the prefill, once it has ended

    def _store(self, keys: Matrix, values: Matrix) -> None:
        for name, rows in (("keys", keys), ("values", values)):
            # A factor's entries are at most as large as the norms of rows.
            round_to(self.dtype, 1.01 * np.linalg.norm(rows.astype(np.float64), axis=1), f"norms of {name}")
        super()._store(keys, values)

    def _tokens(self) -> tuple[Matrix, Matrix]:
        _, (left, basis, value_left, value_basis, keys, values) = self._state()
        return np.concatenate([left @ basis, keys]), np.concatenate([value_left @ value_basis, values])

    def _state(self) -> tuple[tuple[int, ...], tuple[NDArray[Any], ...]]:
        keys, values = self._keys.array, self._values.array
        factors, later = self._factors, len(keys)
        if factors is None:
            factors = (*self._factored(keys, self.key_rank), *self._factored(values, self.value_rank))
            later = 0
        return (len(factors[0]), later), (*factors, keys[len(keys) - later :], values[len(keys) - later :])

    def _factored(self, rows: Matrix, rank: int) -> tuple[Matrix, Matrix]:
        """Return rows' coefficients in their leading right singular vectors, and these."""
        wide = rows.astype(np.float64)
        vectors = np.linalg.eigh(wide.T @ wide)[1]  # by ascending eigenvalue
        basis = vectors[:, ::-1].T[: min(rank, *rows.shape)]
        return round_to(self.dtype, wide @ basis.T, "factors"), round_to(self.dtype, basis, "factors")

    def _layout(self, *counts: int) -> tuple[Field, ...]:
        tokens, later = counts
        fields: list[Field] = []
        for name, rank, columns in (
            ("keys", self.key_rank, self.dim),
            ("values", self.value_rank, self.value_dim),
        ):
            rank = min(rank, tokens, columns)
            fields.append(Floats(f"coefficients of {name}", (tokens, rank), self.dtype))
            fields.append(Floats(f"basis of {name}", (rank, columns), self.dtype))
        fields.append(Floats("later keys", (later, self.dim), self.dtype))
        fields.append(Floats("later values", (later, self.value_dim), self.dtype))
        return tuple(fields)

    def _restore(self, counts: tuple[int, ...], arrays: list[NDArray[Any]]) -> None:
        self._factors = tuple(arrays[:4])
        self._keys.replace(arrays[4])
        self._values.replace(arrays[5])
