"""Linear attention: a state whose size does not depend on the stream."""

import functools
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches.base import StreamCache, whole
from kvfloor.attention.caches.base.projection import gaussian, project
from kvfloor.attention.caches.wire import Field, Floats
from kvfloor.attention.checks import Matrix

__all__ = ["Linear"]

_LEAST_WEIGHT = 1e-30  # stands for the weight of a query whose features all underflow


class Linear(StreamCache):
    """Sums over all tokens of positive random features, times values and alone (linear attention).

    With w_1..w_m standard normal, phi(x)_j = exp(<w_j, x> - |x|^2/2) has E <phi(q), phi(k)>/m = e^<q,k>; the
    state is sum_l phi(k_l) v_l^T and sum_l phi(k_l), m (d_v + 1) numbers in float32, whatever n is.

    References
    ----------
    K. Choromanski et al. Rethinking Attention with Performers. ICLR 2021, arXiv:2009.14794: its positive
    features, with independent directions (our reading); A. Katharopoulos et al. Transformers are RNNs. ICML
    2020, arXiv:2006.16236.
    """

    name: ClassVar[str] = "linear"
    source: ClassVar[str] = "arXiv:2009.14794 (Performer), arXiv:2006.16236"

    features: int = whole("random directions w, their number m", 1, 1 << 16, default=256)

    def _begin(self) -> None:
        self._count = 0
        self._sums: Matrix | None = None  # of features times [value, 1], one row a feature

    @functools.cached_property
    def _directions(self) -> NDArray[np.float64]:
        """The directions w, one a row."""
        return gaussian(self.features, self.dim, self.coins.seed)

    def _append(self, keys: Matrix, values: Matrix) -> None:
        squares = np.square(keys, dtype=np.float64).sum(axis=1, keepdims=True)
        with np.errstate(over="ignore", invalid="ignore"):
            features = np.exp(project(keys, self._directions) - squares / 2).astype(np.float32)
            extended = np.column_stack([values, np.ones(len(values))]).astype(np.float32)
            sums = np.zeros((self.features, self.value_dim + 1), np.float32)
            if self._sums is not None:
                sums += self._sums
            for feature, value in zip(features, extended, strict=True):  # in order: sums round
                sums += feature[:, None] * value
        if not np.isfinite(sums).all():
            raise ValueError(f"keys or values are too large for {self.name}: a sum exceeds float32")
        self._sums, self._count = sums, self._count + len(keys)

    def _answer(self, queries: Matrix) -> Matrix:
        self._demand(self._count)
        assert self._sums is not None
        scores = queries.astype(np.float64) @ self._directions.T
        features = np.exp(scores - scores.max(axis=1, keepdims=True))
        totals = features @ self._sums.astype(np.float64)
        answers: Matrix = totals[:, :-1] / np.maximum(totals[:, -1:], _LEAST_WEIGHT)
        return answers

    def _state(self) -> tuple[tuple[int, ...], tuple[NDArray[Any], ...]]:
        if self._sums is None:
            return (0,), (np.empty((0, self.value_dim)), np.empty((0, 1)))
        return (self._count,), (self._sums[:, :-1], self._sums[:, -1:])

    def _layout(self, *counts: int) -> tuple[Field, ...]:
        features = self.features if counts[0] else 0
        return (
            Floats("sums of values", (features, self.value_dim), "float32"),
            Floats("sums of weights", (features, 1), "float32", low=0.0),
        )

    def _restore(self, counts: tuple[int, ...], arrays: list[NDArray[Any]]) -> None:
        self._count = counts[0]
        self._sums = np.hstack(arrays) if self._count else None
