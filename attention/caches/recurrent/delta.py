"""The delta rule: what a key reads so far is taken out before its value is put in."""

from typing import ClassVar

import numpy as np

from kvfloor.attention.caches.base import real
from kvfloor.attention.caches.recurrent.frame import Doubles
from kvfloor.attention.caches.recurrent.linear_attention import LinearAttention

__all__ = ["DeltaNet", "GatedDeltaNet"]


class DeltaNet(LinearAttention):
    """S becomes S + beta k (v - S^T k)^T: at beta = 1 the newest pair is read exactly, older ones fade.

    A step of gradient descent on |S^T k - v|^2; a key that comes again overwrites its value.

    References
    ----------
    I. Schlag, K. Irie, J. Schmidhuber. Linear Transformers Are Secretly Fast Weight Programmers. ICML 2021,
    arXiv:2102.11174. S. Yang et al. Parallelizing Linear Transformers with the Delta Rule over Sequence Length.
    NeurIPS 2024, arXiv:2406.06484.
    """

    name: ClassVar[str] = "delta-net"
    source: ClassVar[str] = "arXiv:2102.11174, arXiv:2406.06484"

    rate: float = real("how far a step goes, beta", 1.0, default=1.0)

    def _step(self, memory: tuple[Doubles, ...], feature: Doubles, value: Doubles) -> tuple[Doubles, ...]:
        return self._corrected(memory[0], feature, value)

    def _corrected(self, state: Doubles, feature: Doubles, value: Doubles) -> tuple[Doubles, ...]:
        """Return the state after a step from it."""
        held = (feature[:, None] * state).sum(axis=0)  # a product of matrices could round as blocks have it
        return (state + self.rate * np.outer(feature, value - held),)


class GatedDeltaNet(DeltaNet):
    """The delta rule on a state that first decays: S becomes that of DeltaNet from alpha S.

    References
    ----------
    S. Yang, J. Kautz, A. Hatamizadeh. Gated Delta Networks: Improving Mamba2 with Delta Rule. ICLR 2025,
    arXiv:2412.06464.
    """

    name: ClassVar[str] = "gated-delta-net"
    source: ClassVar[str] = "arXiv:2412.06464"

    decay: float = real("what stays of the state at a token, alpha", 1.0, default=0.99)

    def _step(self, memory: tuple[Doubles, ...], feature: Doubles, value: Doubles) -> tuple[Doubles, ...]:
        return self._corrected(self.decay * memory[0], feature, value)
