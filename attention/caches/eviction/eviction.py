"""Evictions by a fixed score: every token has one, and the tokens with the best are kept."""

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches.base import Coins
from kvfloor.attention.caches.dense import StoredCache
from kvfloor.attention.caches.draws import Draws
from kvfloor.attention.caches.wire import Codes, Field, WireError
from kvfloor.attention.checks import Matrix, integer

__all__ = ["Evicting", "KeyNorm", "RandomTokens", "Sinks", "Window"]


class Evicting(StoredCache):
    """The frame of evictions: at most `kept_tokens` tokens survive, in the stream's order.

    Parameters
    ----------
    dim, value_dim : int
        Numbers of columns of keys and values.
    coins : Coins
        The public randomness.
    kept_tokens : int
        The budget, at least 1.
    dtype : str
        The number format of the tokens, one of ``formats.FORMATS``.
    """

    def __init__(
        self, dim: int, value_dim: int, coins: Coins, *, kept_tokens: int, dtype: str = "float16"
    ) -> None:
        super().__init__(dim, value_dim, coins, dtype=dtype)
        self.kept_tokens = integer("kept_tokens", kept_tokens, 1, 1 << 48)

    def _layout(self, *counts: int) -> tuple[Field, ...]:
        if counts[0] > self.kept_tokens:
            raise WireError(f"{counts[0]} tokens are more than the {self.kept_tokens} that {self.name} keeps")
        return super()._layout(*counts)


class BestScores(Evicting):
    """Keeps the tokens with the largest scores, the later of two equal ones.

    A score depends on a token alone, so which tokens survive does not depend on the blocks in which they
    come.
    """

    def __init__(
        self, dim: int, value_dim: int, coins: Coins, *, kept_tokens: int, dtype: str = "float16"
    ) -> None:
        super().__init__(dim, value_dim, coins, kept_tokens=kept_tokens, dtype=dtype)
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
            self._keys.replace(self._keys.array[best])
            self._values.replace(self._values.array[best])

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

    def __init__(
        self,
        dim: int,
        value_dim: int,
        coins: Coins,
        *,
        kept_tokens: int,
        sink_tokens: int = 4,
        dtype: str = "float16",
    ) -> None:
        super().__init__(dim, value_dim, coins, kept_tokens=kept_tokens, dtype=dtype)
        self.sink_tokens = integer("sink_tokens", sink_tokens, 0, 1 << 48)
        if self.kept_tokens <= self.sink_tokens:
            raise ValueError(
                f"kept_tokens is {kept_tokens}, expected more than the {sink_tokens} sink_tokens"
            )

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

    def __init__(
        self, dim: int, value_dim: int, coins: Coins, *, kept_tokens: int, dtype: str = "float16"
    ) -> None:
        super().__init__(dim, value_dim, coins, kept_tokens=kept_tokens, dtype=dtype)
        self._draws = Draws(coins.seed)

    def _scores(self, positions: NDArray[np.int64], keys: Matrix) -> NDArray[Any]:
        return self._draws.words(positions)

    def _state(self) -> tuple[tuple[int, ...], tuple[NDArray[Any], ...]]:
        counts, arrays = super()._state()
        return (*counts, self._seen), (*arrays, self._positions)

    def _layout(self, *counts: int) -> tuple[Field, ...]:
        tokens, seen = counts
        if tokens != min(seen, self.kept_tokens):
            raise WireError(f"{self.name} keeps {self.kept_tokens} tokens, but has {tokens} of {seen}")
        return (*super()._layout(tokens), Codes("positions", (tokens,), max(seen, 1)))

    def _restore(self, counts: tuple[int, ...], arrays: list[NDArray[Any]]) -> None:
        super()._restore(counts, arrays)
        self._positions, self._seen = arrays[2].astype(np.int64), counts[1]
        if (np.diff(self._positions) <= 0).any():
            raise WireError("positions do not increase")
