"""SubGen for tensor attention: two sides that are clustered and sampled apart."""

from typing import ClassVar

from kvfloor.attention.caches.base import Coins
from kvfloor.attention.caches.composed.bundle import Bundle
from kvfloor.attention.caches.composed.sides import TensorCache, side_coins
from kvfloor.attention.caches.subgen.clustering import Estimate, SubGen, quotients
from kvfloor.attention.caches.wire import WireError
from kvfloor.attention.checks import Matrix
from kvfloor.attention.tensor import tensor_sums

__all__ = ["SubGen4"]


class _Side:
    """Makes the SubGen of a side; see `kvfloor.attention.caches.composed.bundle.CacheMaker`."""

    spec = SubGen.name

    def __init__(self, **parameters: float) -> None:
        self._parameters = parameters

    def make(self, dim: int, value_dim: int, coins: Coins) -> SubGen:
        """Return a new, empty cache."""
        return SubGen(dim, value_dim, coins, **self._parameters)  # type: ignore[arg-type]

    def restore(self, payload: bytes, dim: int, value_dim: int, coins: Coins) -> SubGen:
        """Return the cache whose state a payload carries."""
        side = SubGen.from_bytes(payload, coins)
        if side.parameters() != self.make(dim, value_dim, coins).parameters():
            raise WireError(f"a side of {SubGen4.name!r} has other parameters than its header says")
        return side


class SubGen4(Bundle, TensorCache):
    """SubGen4Cache: each side of tensor attention clustered and sampled apart (our reading).

    The denominator is estimated from all pairs of a cluster sample of one side and one of the other, the
    numerator from all pairs of value samples. Either estimate is linear in the samples of each side, and
    the sides draw independently, so both are unbiased (theory 7). `delta`, `cluster_slots` and
    `value_slots` are those of `subgen`, for either side. SubGen2Cache is `subgen` on the n^2 rows.

    Parameters
    ----------
    dim, value_dim : int
        Numbers of columns of keys and values.
    coins : Coins
        Their seed draws the samples, another seed a side.
    delta : float
        Radius of a cluster, positive.
    cluster_slots : int
        Samples t of each cluster, 1 to 2^20.
    value_slots : int
        Sampled tokens s of a side, 1 to 2^20.

    References
    ----------
    Y. Chen et al. Limits of KV Cache Compression for Tensor Attention based Autoregressive Transformers.
    arXiv:2503.11108.
    """

    name: ClassVar[str] = "subgen4"
    source: ClassVar[str] = "arXiv:2503.11108 (SubGen4Cache), our reading"

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
        maker = _Side(delta=delta, cluster_slots=cluster_slots, value_slots=value_slots)
        self._compose([maker] * 2, dim, value_dim, self._coins_of_sides(coins))
        self.delta = self._parts[0].delta
        self.cluster_slots, self.value_slots = self._parts[0].cluster_slots, self._parts[0].value_slots

    def estimates(self, queries: Matrix) -> tuple[Estimate, Estimate]:
        """Return the unbiased estimates of which an answer is the ratio.

        Parameters
        ----------
        queries : ndarray, shape (m, dim)
            Finite queries.

        Returns
        -------
        numerators : tuple of ndarray, shapes (m, value_dim) and (m,)
            Estimates of sum_ab e^<q, k1_a o k2_b> v1_a o v2_b as pairs y, x that stand for y e^x.
        denominators : tuple of ndarray, shapes (m,) and (m,)
            Estimates of sum_ab e^<q, k1_a o k2_b>, likewise.
        """
        first, second = (part.samples() for part in self._parts)
        numerators, (sums, shifts) = (
            tensor_sums(queries, *one, *other) for one, other in zip(first, second, strict=True)
        )
        return numerators, (sums[:, 0], shifts)

    def _coins_of_sides(self, coins: Coins) -> list[Coins]:
        """Return the coins of the sides, which must be independent; public keys are of no use here."""
        return [side_coins(Coins(coins.seed), side, self.dim) for side in range(2)]

    def _append(self, keys1: Matrix, values1: Matrix, keys2: Matrix, values2: Matrix) -> None:
        self._feed([(keys1, values1), (keys2, values2)])

    def _answer(self, queries: Matrix) -> Matrix:
        self._demand(min(len(part.samples()[1][0]) for part in self._parts))
        return quotients(*self.estimates(queries))
