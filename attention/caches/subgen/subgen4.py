"""SubGen for tensor attention: two sides that are clustered and sampled apart."""

from typing import ClassVar

from kvfloor.attention.caches.base import CacheSpec, Coins
from kvfloor.attention.caches.composed.sides import TwoSided
from kvfloor.attention.caches.subgen.subgen import Estimate, Estimating, SubGen
from kvfloor.attention.checks import Matrix
from kvfloor.attention.tensor import tensor_sums

__all__ = ["SubGen4"]


class SubGen4(Estimating, TwoSided):
    """SubGen4Cache: each side of tensor attention clustered and sampled apart (our reading).

    The denominator is estimated from all pairs of a cluster sample of one side and one of the other, the
    numerator from all pairs of value samples. Either estimate is linear in the samples of each side, and
    the sides draw independently, so both are unbiased (theory 7). SubGen2Cache is `subgen` on the n^2 rows.

    References
    ----------
    Y. Chen et al. Limits of KV Cache Compression for Tensor Attention based Autoregressive Transformers.
    arXiv:2503.11108.
    """

    name: ClassVar[str] = "subgen4"
    source: ClassVar[str] = "arXiv:2503.11108 (SubGen4Cache), our reading"

    def _begin(self) -> None:
        names = self.parameter_names()
        side = CacheSpec(SubGen.name, SubGen, dict(zip(names, self.parameters(), strict=True)))
        coins = self._coins_of_sides(Coins(self.coins.seed))  # public keys are of no use here
        self._compose([side] * 2, self.dim, self.value_dim, coins)

    def estimates(self, queries: Matrix) -> tuple[Estimate, Estimate]:
        """Return the unbiased estimates of which an answer is the ratio: see `Estimating`."""
        first, second = (part.samples() for part in self._parts)
        numerators, (sums, shifts) = (
            tensor_sums(queries, *one, *other) for one, other in zip(first, second, strict=True)
        )
        return numerators, (sums[:, 0], shifts)

    def _sampled_tokens(self) -> int:
        return min(len(part.samples()[1][0]) for part in self._parts)
