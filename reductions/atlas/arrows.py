"""The arrows of the atlas: every reduction of the package. To add one, add a `Reduction` to `REDUCTIONS`."""

from __future__ import annotations

from kvfloor.reductions.atlas.beyond import BEYOND
from kvfloor.reductions.atlas.into_softmax import INTO_SOFTMAX
from kvfloor.reductions.atlas.reduction import Reduction

REDUCTIONS: tuple[Reduction, ...] = (*INTO_SOFTMAX, *BEYOND)
"""Every reduction of the package."""
