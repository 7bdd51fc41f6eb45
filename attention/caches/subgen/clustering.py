"""Caches that cluster keys online: SubGen, whose size follows the geometry of the keys, not their number."""

from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches import formats
from kvfloor.attention.caches.base import Coins, Rows, StreamCache
from kvfloor.attention.caches.draws import Draws
from kvfloor.attention.caches.subgen.reservoirs import KeySlots, ValueSlots
from kvfloor.attention.caches.wire import Codes, Field, Floats, WireError
from kvfloor.attention.checks import Matrix, integer, positive

__all__ = ["Clusters", "Estimate", "SubGen", "quotients"]

Estimate: TypeAlias = tuple[Matrix, NDArray[np.float64]]

_LARGEST_SLOTS = 1 << 20
_JOIN_TOKENS = 256  # tokens that are compared with the clusters at a time
_SCORES = 1 << 17  # scores in memory at a time
_LARGEST_EXPONENT = 300.0


class Clusters:
    """Online clusters: a key joins the nearest representative within `delta`, else it becomes one.

    Blocks of keys are compared with all representatives by one matrix product. Its rounding depends on the
    block, so it only picks candidates: representatives that may be nearest for all that its error bound
    says. Among these the distances decide, computed row by row; so the clusters do not depend on the blocks.

    Parameters
    ----------
    dim : int
        Number d of columns of keys.
    delta : float
        Radius of a cluster, positive.
    """

    def __init__(self, dim: int, delta: float) -> None:
        self.dim = dim
        self._largest_square = delta * delta
        self._rows = Rows(dim + 1, np.float64)  # c and -|c|^2/2: their product with (k, 1) ranks distances
        self._largest_norm = 0.0

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def representatives(self) -> Matrix:
        """The first keys of the clusters, float32, shape (m, dim)."""
        return self._rows.array[:, : self.dim].astype(np.float32)

    def join(self, keys: Matrix) -> NDArray[np.int64]:
        """Put keys into clusters, one after the other.

        Parameters
        ----------
        keys : ndarray of float32, shape (b, dim)
            The keys.

        Returns
        -------
        ndarray of int64, shape (b,)
            The cluster of each; clusters are numbered in the order in which they were opened.
        """
        labels, start = np.empty(len(keys), np.int64), 0
        while start < len(keys):
            stop = start + min(_JOIN_TOKENS, max(16, _SCORES // max(len(self), 1)))
            labels[start:stop] = self._join(keys[start:stop].astype(np.float64))
            start = stop
        return labels

    def open(self, keys: Matrix) -> None:
        """Make keys the representatives of new clusters.

        Parameters
        ----------
        keys : ndarray, shape (m, dim)
            Keys in float32 precision.
        """
        squares = np.square(keys, dtype=np.float64).sum(axis=1, keepdims=True)
        self._rows.extend(np.hstack([keys, -squares / 2]))
        self._largest_norm = max(self._largest_norm, float(np.sqrt(squares.max(initial=0.0))))

    def _join(self, keys: NDArray[np.float64]) -> NDArray[np.int64]:
        """Put a few keys into clusters; only those that open one take a step of their own."""
        labels, squares = self._nearest(keys)
        row = 0
        while len(far := np.flatnonzero(squares[row:] > self._largest_square)):
            row += int(far[0])
            labels[row] = len(self)
            self.open(keys[row : row + 1])
            rest = slice(row + 1, None)
            to_new = _squares(keys[rest], keys[row])
            closer = to_new < squares[rest]
            labels[rest][closer], squares[rest][closer] = labels[row], to_new[closer]
            row += 1
        return labels

    def _nearest(self, keys: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the nearest cluster of every key, the earliest of equally near ones, and the squared distance."""
        if not len(self):
            return np.zeros(len(keys), np.int64), np.full(len(keys), np.inf)
        scores = np.hstack([keys, np.ones((len(keys), 1))]) @ self._rows.array.T
        # A score errs by at most (d + 2) u |c| (|k| + |c|) and a distance by (d + 3) u (|k| + |c|)^2, u = eps/2;
        # two of each are compared.
        unit = 2 * (self.dim + 4) * np.finfo(np.float64).eps
        slack = unit * (np.sqrt(np.square(keys).sum(axis=1)) + self._largest_norm) ** 2
        near = scores >= (scores.max(axis=1) - slack)[:, None]
        rows, clusters = np.divmod(np.flatnonzero(near), len(self))
        squares = _squares(keys[rows], self._rows.array[clusters, : self.dim])
        best = np.lexsort((squares, rows))[np.searchsorted(rows, np.arange(len(keys)))]
        return clusters[best], squares[best]


class SubGen(StreamCache):
    """SubGen: a few sampled keys of every cluster and a few tokens sampled by |v|^2 estimate attention.

    The denominator of softmax is estimated from `cluster_slots` uniform samples of each cluster's keys, the
    numerator from `value_slots` tokens sampled with probability |v|^2/mu; both without bias. Keys and
    values are float32. Apart from the two samples, the wire carries representatives and counts of the
    clusters, and mu with the totals at which value slots are due. How well it answers: theory 4.

    Parameters
    ----------
    dim, value_dim : int
        Numbers of columns of keys and values.
    coins : Coins
        Their seed draws the samples.
    delta : float
        Radius of a cluster, positive.
    cluster_slots : int
        Samples t of each cluster, 1 to 2^20.
    value_slots : int
        Sampled tokens s, 1 to 2^20.

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

    def __init__(
        self,
        dim: int,
        value_dim: int,
        coins: Coins,
        *,
        delta: float,
        cluster_slots: int,
        value_slots: int,
    ) -> None:
        super().__init__(dim, value_dim, coins)
        self.delta = positive("delta", delta)
        self.cluster_slots = integer("cluster_slots", cluster_slots, 1, _LARGEST_SLOTS)
        self.value_slots = integer("value_slots", value_slots, 1, _LARGEST_SLOTS)
        draws = Draws(coins.seed)
        self._seen = 0
        self._clusters = Clusters(self.dim, self.delta)
        self._key_slots = self.key_sampling(self.dim, self.cluster_slots, draws)
        self._value_slots = self.value_sampling(self.dim, self.value_dim, self.value_slots, draws)

    def _append(self, keys: Matrix, values: Matrix) -> None:
        keys, values = (
            formats.round_to("float32", keys, "keys"),
            formats.round_to("float32", values, "values"),
        )
        self._key_slots.extend(self._clusters.join(keys), keys)
        self._value_slots.extend(self._seen, keys, values)
        self._seen += len(keys)

    def _answer(self, queries: Matrix) -> Matrix:
        self._demand(self._seen)
        return quotients(*self.estimates(queries))

    def estimates(self, queries: Matrix) -> tuple[Estimate, Estimate]:
        """Return the unbiased estimates of which an answer is the ratio.

        Parameters
        ----------
        queries : ndarray, shape (m, dim)
            Finite queries.

        Returns
        -------
        numerators : tuple of ndarray, shapes (m, value_dim) and (m,)
            Estimates of z = sum_l e^<q,k_l> v_l as pairs y, x that stand for y e^x: nothing overflows.
        denominators : tuple of ndarray, shapes (m,) and (m,)
            Estimates of tau = sum_l e^<q,k_l>, likewise.
        """
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


def quotients(numerators: Estimate, denominators: Estimate) -> Matrix:
    """Return the ratios of two estimates.

    Parameters
    ----------
    numerators : tuple of ndarray, shapes (m, value_dim) and (m,)
        Pairs y, x that stand for y e^x.
    denominators : tuple of ndarray, shapes (m,) and (m,)
        Likewise.

    Returns
    -------
    ndarray, shape (m, value_dim)
        The ratios.
    """
    (above, up), (below, down) = numerators, denominators
    # Without a limit estimates that lie further apart than any number overflow.
    ratio = np.exp(np.minimum(up - down, _LARGEST_EXPONENT))
    answers: Matrix = above / below[:, None] * ratio[:, None]
    return answers


def _squares(keys: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return squared distances of rows, each rounded alike whatever other rows there are."""
    distances: NDArray[np.float64] = np.square(keys - others).sum(axis=1)
    return distances


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
