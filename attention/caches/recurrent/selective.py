"""A diagonal selective state space model whose gates address slots."""

import functools
from typing import ClassVar

import numpy as np

from kvfloor.attention.caches.base import whole, word
from kvfloor.attention.caches.base.projection import gaussian, project
from kvfloor.attention.caches.recurrent.frame import Doubles, RecurrentCache, directions
from kvfloor.attention.checks import Matrix

__all__ = ["SelectiveSSM", "SlotCache"]


class SlotCache(RecurrentCache):
    """The frame of states with slots: a key's slot is the direction that is nearest to it.

    Directions are the axes where there are as many slots as coordinates, else Gaussian.
    """

    slots: int | None = whole(
        "slots of the state; as many as key dimensions if None", 1, 1 << 16, default=None
    )

    @functools.cached_property
    def _axes(self) -> Doubles | None:
        """The directions of the slots, one a row; None for the axes."""
        return None if self.slots is None else gaussian(self.slots, self.dim, self.coins.seed)

    def _shape(self) -> tuple[int, int]:
        """Return the shape of one matrix."""
        return (self.slots or self.dim, self.value_dim)

    def _features(self, rows: Matrix) -> Doubles:
        units = directions(rows)
        scores = units if self._axes is None else project(units, self._axes)
        chosen = np.zeros_like(scores)
        chosen[np.arange(len(rows)), scores.argmax(axis=1)] = units.any(axis=1)
        return chosen


class SelectiveSSM(SlotCache):
    """h becomes a * h + b v^T with gates a, b that depend on the token: b names its slot, a = 1 - b empties it.

    Input-dependent diagonal transitions of which each coordinate has its own (our reading of what the family can
    do at best; the gates are at zero temperature). With forget=nothing the transition is the same for all
    coordinates and stays 1, so that values in the same slot add up.

    References
    ----------
    A. Gu, T. Dao. Mamba: Linear-Time Sequence Modeling with Selective State Spaces. COLM 2024, arXiv:2312.00752.
    S. Yang et al. Gated Linear Attention Transformers with Hardware-Efficient Training. ICML 2024,
    arXiv:2312.06635.
    """

    name: ClassVar[str] = "selective-ssm"
    source: ClassVar[str] = "arXiv:2312.00752, arXiv:2312.06635, our reading"

    forget: str = word("what a token empties: its slot, or nothing", ("slot", "nothing"), default="slot")

    def _shapes(self) -> dict[str, tuple[int, int]]:
        return {"state": self._shape()}

    def _step(self, memory: tuple[Doubles, ...], feature: Doubles, value: Doubles) -> tuple[Doubles, ...]:
        state = memory[0] * (1 - feature)[:, None] if self.forget == "slot" else memory[0]
        return (state + np.outer(feature, value),)

    def _read(self, memory: tuple[Doubles, ...], features: Doubles) -> Matrix:
        return features @ memory[0]
