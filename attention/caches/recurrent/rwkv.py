"""RWKV's weighted averages: channels of their own for every slot, each with its normaliser."""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches.base import real
from kvfloor.attention.caches.recurrent.frame import Doubles
from kvfloor.attention.caches.recurrent.selective import SlotCache
from kvfloor.attention.caches.wire import WireError
from kvfloor.attention.checks import LARGEST, Matrix

__all__ = ["RWKV"]


class RWKV(SlotCache):
    """In each channel the average of its values, weighted by e^{-w age}; keys open the channels of their slot.

    A channel keeps three numbers: numerator, denominator, and the exponent that both are relative to. With
    w >= ln 2 the newest value of a slot outweighs all earlier ones, so that signs are those of a slot that was
    emptied (theory 14). Versions 5 and 6 have matrix states, which decay; version 7 has the delta rule: see
    linear-attention and gated-delta-net.

    References
    ----------
    B. Peng et al. RWKV: Reinventing RNNs for the Transformer Era. EMNLP Findings 2023, arXiv:2305.13048: its
    version 4, with keys of 0 and minus infinity (our reading).
    """

    name: ClassVar[str] = "rwkv"
    source: ClassVar[str] = "arXiv:2305.13048 (RWKV-4), our reading"

    decay: float = real("decay w of the logarithm of a weight at a token", 1e3, default=1.0)

    def _shapes(self) -> dict[str, tuple[int, int]]:
        return dict.fromkeys(("numerators", "denominators", "exponents"), self._shape())

    def _step(self, memory: tuple[Doubles, ...], feature: Doubles, value: Doubles) -> tuple[Doubles, ...]:
        numerators, denominators, exponents = memory
        opened = feature[:, None] > 0
        faded = np.exp(exponents - self.decay)
        return (
            np.where(opened, faded * numerators + value, numerators),
            np.where(opened, faded * denominators + 1, denominators),
            np.where(opened, 0.0, exponents - self.decay),
        )

    def _read(self, memory: tuple[Doubles, ...], features: Doubles) -> Matrix:
        numerators, denominators, _ = memory
        return features @ (numerators / np.where(denominators > 0, denominators, 1.0))

    def _restore(self, counts: tuple[int, ...], arrays: list[NDArray[Any]]) -> None:
        super()._restore(counts, arrays)
        if self._memory:
            numerators, denominators, exponents = self._memory
            if (denominators < 0).any() or (np.abs(numerators) > LARGEST * denominators).any():
                raise WireError("a numerator is not that of an average")
            if (exponents > 0).any():
                raise WireError("an exponent is above 0")
