"""Evictions by a fixed score: every token has one, and the tokens with the best are kept."""

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches.base import whole
from kvfloor.attention.caches.base.draws import Draws
from kvfloor.attention.caches.eviction.frame import Evicting, demand_more
from kvfloor.attention.caches.wire import Codes, Field, WireError
from kvfloor.attention.checks import Matrix

__all__ = ["BestScores", "KeyNorm", "RandomTokens", "Sinks", "Window"]


class BestScores(Evicting):
    """Keeps the tokens with the largest scores, the later of two equal ones.

    A score depends on a token alone, so which tokens survive does not depend on the blocks in which they
    come.
    """

    def _begin(self) -> None:
        super()._begin()
        self._positions = np.empty(0, np.int64)
        self._seen = 0

    def _store(self, keys: Matrix, values: Matrix) -> None:
        super()._store(keys, values)
        self._positions = np.append(self._positions, np.arange(self._seen, self._seen + len(keys)))
        self._seen += len(keys)
        if len(self._positions) > self.kept_tokens:
            scores = self._scores(self._positions, self._keys.array)
            best = np.sort(np.lexsort((self._positions, scores))[-self.kept_tokens :])
            self._positions = self._positions[best]
            self._keep(best)

    def _restore(self, counts: tuple[int, ...], arrays: list[NDArray[Any]]) -> None:
        super()._restore(counts, arrays)
        # Unless a rule sends positions along, only their order matters, so the survivors may be numbered
        # anew.
        self._positions, self._seen = np.arange(counts[0]), counts[0]

    @abstractmethod
    def _scores(self, positions: NDArray[np.int64], keys: Matrix) -> NDArray[Any]:
        """Return a score for every token; numbering the survivors anew must not change their order."""


class Window(BestScores):
    """The last `kept_tokens` tokens: a sliding window."""

    name: ClassVar[str] = "window"
    source: ClassVar[str] = "arXiv:2004.05150 (Longformer)"

    def _scores(self, positions: NDArray[np.int64], keys: Matrix) -> NDArray[Any]:
        return positions


class Sinks(BestScores):
    """The first `sink_tokens` tokens, the attention sinks, and the last of the others (StreamingLLM).

    References
    ----------
    G. Xiao et al. Efficient Streaming Language Models with Attention Sinks. ICLR 2024, arXiv:2309.17453.
    """

    name: ClassVar[str] = "sinks"
    source: ClassVar[str] = "arXiv:2309.17453 (StreamingLLM)"

    sink_tokens: int = whole("first tokens that always stay, fewer than `kept_tokens`", 0, default=4)

    def _begin(self) -> None:
        super()._begin()
        demand_more(self, "sink_tokens")

    def _scores(self, positions: NDArray[np.int64], keys: Matrix) -> NDArray[Any]:
        return np.where(positions < self.sink_tokens, np.iinfo(np.int64).max, positions)


class KeyNorm(BestScores):
    """The `kept_tokens` tokens whose keys have the smallest norm, the later of two equal ones.

    References
    ----------
    A. Devoto et al. A Simple and Effective L2 Norm-Based Strategy for KV Cache Compression. EMNLP 2024,
    arXiv:2406.11430.
    """

    name: ClassVar[str] = "knorm"
    source: ClassVar[str] = "arXiv:2406.11430 (key norm)"

    def _scores(self, positions: NDArray[np.int64], keys: Matrix) -> NDArray[Any]:
        scores: NDArray[Any] = -np.square(keys, dtype=np.float64).sum(axis=1)
        return scores


class RandomTokens(BestScores):
    """A uniformly random set of `kept_tokens` tokens: those of the largest priorities, drawn from the coins.

    The priority of a token is drawn by its position, so it is known again after a restore.

    References
    ----------
    J. S. Vitter. Random Sampling with a Reservoir. ACM TOMS 11, 1985.
    """

    name: ClassVar[str] = "random"
    source: ClassVar[str] = "J. S. Vitter, 1985 (reservoir sampling)"
    count_names: ClassVar[tuple[str, ...]] = ("tokens", "seen")

    def _begin(self) -> None:
        super()._begin()
        self._draws = Draws(self.coins.seed)

    def _scores(self, positions: NDArray[np.int64], keys: Matrix) -> NDArray[Any]:
        return self._draws.words(positions)

    def _state(self) -> tuple[tuple[int, ...], tuple[NDArray[Any], ...]]:
        counts, arrays = super()._state()
        return (*counts, self._seen), (*arrays, self._positions)

    def _layout(self, *counts: int) -> tuple[Field, ...]:
        tokens, seen = counts
        self._demand_full(tokens, seen)
        return (*super()._layout(tokens), Codes("positions", (tokens,), max(seen, 1)))

    def _restore(self, counts: tuple[int, ...], arrays: list[NDArray[Any]]) -> None:
        super()._restore(counts, arrays)
        self._positions, self._seen = arrays[2].astype(np.int64), counts[1]
        if (np.diff(self._positions) <= 0).any():
            raise WireError("positions do not increase")
