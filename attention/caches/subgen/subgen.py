"""SubGen: attention estimated from a few samples of the stream, by clusters of keys."""

from abc import abstractmethod
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches.base import StreamCache, WireCache, real, whole
from kvfloor.attention.caches.base.draws import Draws
from kvfloor.attention.caches.subgen.clusters import Clusters
from kvfloor.attention.caches.subgen.reservoirs import KeySlots, ValueSlots
from kvfloor.attention.caches.wire import Codes, Field, Floats, WireError
from kvfloor.attention.caches.wire.formats import round_tokens
from kvfloor.attention.checks import Matrix

__all__ = ["Estimate", "Estimating", "SubGen"]

Estimate: TypeAlias = tuple[Matrix, NDArray[np.float64]]

_LARGEST_SLOTS = 1 << 20
_SCORES = 1 << 17  # scores in memory at a time
_LARGEST_EXPONENT = 300.0


class Estimating(WireCache):
    """The frame of caches that answer with the ratio of two estimates from sampled tokens."""

    delta: float = real("radius of a cluster")
    cluster_slots: int = whole("samples t of each cluster", 1, _LARGEST_SLOTS)
    value_slots: int = whole("sampled tokens s, of each side", 1, _LARGEST_SLOTS)

    @abstractmethod
    def estimates(self, queries: Matrix) -> tuple[Estimate, Estimate]:
        """Return the unbiased estimates of which an answer is the ratio.

        Parameters
        ----------
        queries : ndarray, shape (m, dim)
            Finite queries.

        Returns
        -------
        numerators : tuple of ndarray, shapes (m, value_dim) and (m,)
            Estimates of z = sum_l e^<q,k_l> v_l over all tokens, or pairs of tokens of two sides, as pairs y, x
            that stand for y e^x: nothing overflows.
        denominators : tuple of ndarray, shapes (m,) and (m,)
            Estimates of tau = sum_l e^<q,k_l>, likewise.
        """

    def _answer(self, queries: Matrix) -> Matrix:
        self._demand(self._sampled_tokens())
        (above, up), (below, down) = self.estimates(queries)
        # Without a limit estimates that lie further apart than any number overflow.
        ratio = np.exp(np.minimum(up - down, _LARGEST_EXPONENT))
        answers: Matrix = above / below[:, None] * ratio[:, None]
        return answers

    @abstractmethod
    def _sampled_tokens(self) -> int:
        """Return how many tokens the samples come from, or anything positive if there are some."""


class SubGen(Estimating, StreamCache):
    """SubGen: a few sampled keys of every cluster and a few tokens sampled by |v|^2 estimate attention.

    The denominator of softmax is estimated from `cluster_slots` uniform samples of each cluster's keys, the
    numerator from `value_slots` tokens sampled with probability |v|^2/mu; both without bias. Keys and
    values are float32. Apart from the two samples, the wire carries representatives and counts of the
    clusters, and mu with the totals at which value slots are due. How well it answers: theory 4.

    References
    ----------
    A. Zandieh, I. Han, V. Mirrokni, A. Karbasi. SubGen: Token Generation in Sublinear Time and Memory.
    arXiv:2402.06082.
    """

    name: ClassVar[str] = "subgen"
    source: ClassVar[str] = "arXiv:2402.06082 (SubGen)"
    count_names: ClassVar[tuple[str, ...]] = ("tokens", "clusters", "sampled")
    key_sampling: ClassVar[type[KeySlots]] = KeySlots
    value_sampling: ClassVar[type[ValueSlots]] = ValueSlots

    def _begin(self) -> None:
        draws = Draws(self.coins.seed)
        self._seen = 0
        self._clusters = Clusters(self.dim, self.delta)
        self._key_slots = self.key_sampling(self.dim, self.cluster_slots, draws)
        self._value_slots = self.value_sampling(self.dim, self.value_dim, self.value_slots, draws)

    def _append(self, keys: Matrix, values: Matrix) -> None:
        keys, values = round_tokens("float32", keys, values)
        self._key_slots.extend(self._clusters.join(keys), keys)
        self._value_slots.extend(self._seen, keys, values)
        self._seen += len(keys)

    def _sampled_tokens(self) -> int:
        return self._seen

    def estimates(self, queries: Matrix) -> tuple[Estimate, Estimate]:
        """Return the unbiased estimates of which an answer is the ratio: see `Estimating`."""
        numerators, (sums, shifts) = (_exponential_sums(queries, *rows) for rows in self.samples())
        return numerators, (sums[:, 0], shifts)

    def samples(self) -> tuple[tuple[Matrix, Matrix], tuple[Matrix, Matrix]]:
        """Return the sampled keys and what e^<q,k> of each counts, in the numerator and in the denominator.

        Returns
        -------
        numerator : tuple of ndarray, shapes (s, dim) and (s, value_dim)
            Keys of the value slots, and mu v/(s |v|^2); no rows while all values are zero.
        denominator : tuple of ndarray, shapes (m t, dim) and (m t, 1)
            Keys of the clusters' slots, and n_a/t.
        """
        sampled = self._value_slots
        values = sampled.values.astype(np.float64)
        squares = np.square(values).sum(axis=1, keepdims=True)
        weighted = values / squares * (sampled.total / self.value_slots)
        shares = np.repeat(self._key_slots.counts / self.cluster_slots, self.cluster_slots)
        return (sampled.keys, weighted), (self._key_slots.keys.reshape(-1, self.dim), shares[:, None])

    def _state(self) -> tuple[tuple[int, ...], tuple[NDArray[Any], ...]]:
        sampled = self._value_slots
        counts = (self._seen, len(self._clusters), len(sampled.keys))
        return counts, (
            self._clusters.representatives,
            self._key_slots.counts,
            self._key_slots.keys,
            np.full(min(counts[2], 1), sampled.total),
            sampled.due,
            sampled.keys,
            sampled.values,
        )

    def _layout(self, *counts: int) -> tuple[Field, ...]:
        tokens, clusters, sampled = counts
        if not (tokens > 0) == (clusters > 0) or clusters > tokens or sampled not in (0, self.value_slots):
            raise WireError(
                f"{clusters} clusters and {sampled} sampled tokens cannot come from {tokens} tokens"
            )
        return (
            Floats("representatives", (clusters, self.dim), "float32"),
            Codes("counts", (clusters,), tokens + 1),
            Floats("keys of clusters", (clusters, self.cluster_slots, self.dim), "float32"),
            Floats("the sum of |v|^2", (min(sampled, 1),), "float64", low=0.0),
            Floats("due totals", (sampled,), "float64", low=0.0),
            Floats("sampled keys", (sampled, self.dim), "float32"),
            Floats("sampled values", (sampled, self.value_dim), "float32"),
        )

    def _restore(self, counts: tuple[int, ...], arrays: list[NDArray[Any]]) -> None:
        representatives, members, cluster_keys, totals, due, keys, values = arrays
        members = members.astype(np.int64)
        if int(members.sum()) != counts[0] or not members.all():
            raise WireError(f"the counts of clusters do not make up {counts[0]} tokens")
        total = float(totals.sum())
        squares = np.square(values, dtype=np.float64).sum(axis=1)
        if ((due < total) | (squares == 0) | (squares > total)).any():
            raise WireError("a sampled value or the total at which it is due contradicts the sum of |v|^2")
        self._seen = counts[0]
        self._clusters.open(representatives)
        self._key_slots.restore(members, cluster_keys)
        self._value_slots.restore(total, due, keys, values)


def _exponential_sums(queries: Matrix, keys: Matrix, weights: Matrix) -> tuple[Matrix, NDArray[np.float64]]:
    """Return sum_l e^(<q,k_l> - x) weights_l and the largest score x, for every query; 0 and 0 without keys."""
    sums = np.zeros((len(queries), weights.shape[1]))
    shifts = np.zeros(len(queries))
    if len(keys):
        transposed = np.ascontiguousarray(keys.T, dtype=np.float64)
        step = max(1, _SCORES // len(keys))
        for start in range(0, len(queries), step):
            rows = slice(start, start + step)
            scores = queries[rows].astype(np.float64) @ transposed
            shifts[rows] = scores.max(axis=1)
            scores -= shifts[rows, None]
            sums[rows] = np.exp(scores, out=scores) @ weights
    return sums, shifts
