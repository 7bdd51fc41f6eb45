"""Halving by discrepancy: of every pair of tokens one survives, chosen so that the errors cancel."""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches.base import real, whole
from kvfloor.attention.caches.dense import StoredCache
from kvfloor.attention.caches.wire import Field
from kvfloor.attention.checks import Matrix

__all__ = ["Balance", "balanced_half"]


class Balance(StoredCache):
    """Batches of tokens halved by a self-balancing walk, again and again; survivors count twice (BalanceKV).

    A full batch is halved and the survivors move up a level, where two halves make a batch again
    (merge and reduce), up to `levels` times. A token of level l counts 2^l times. So of a long stream a
    share 2^-levels is kept, and the last tokens, which do not fill a batch yet, are all there.

    References
    ----------
    Streaming Attention Approximation via Discrepancy Theory (BalanceKV). NeurIPS 2025, arXiv:2502.07861;
    R. Alweiss, Y. P. Liu, M. Sawhney. Discrepancy Minimization via a Self-Balancing Walk. STOC 2021,
    arXiv:2006.14009. Our reading: the walk goes over the differences of pairs, so that exactly half survive.
    """

    name: ClassVar[str] = "balance"
    source: ClassVar[str] = "arXiv:2502.07861 (BalanceKV), our reading"

    levels: int = whole("how often a token can be halved away", 1, 40, default=1)
    batch_tokens: int = whole("tokens in a batch, an even number", 2, 1 << 14, default=256)
    walk_bound: float = real("c in `balanced_half`: the least is the most deterministic", default=2.0)

    def _begin(self) -> None:
        super()._begin()
        if self.batch_tokens % 2:
            raise ValueError(f"batch_tokens is {self.batch_tokens}, expected an even number")
        self._seen = 0
        # The tokens of the levels, the highest first, so that what is halved is always at the end.
        self._sizes = [0] * (self.levels + 1)

    def _store(self, keys: Matrix, values: Matrix) -> None:
        while len(keys):
            room = self.batch_tokens - self._sizes[0]
            super()._store(keys[:room], values[:room])
            self._seen += len(keys[:room])
            self._sizes[0] += len(keys[:room])
            keys, values = keys[room:], values[room:]
            level = 0
            while level < self.levels and self._sizes[level] == self.batch_tokens:
                self._halve(level)
                level += 1

    def _halve(self, level: int) -> None:
        """Move the survivors of a full level, which is the last of the rows, one level up."""
        start = len(self._keys) - self.batch_tokens
        rng = np.random.default_rng([self.coins.seed, level, self._seen])
        kept = balanced_half(self._keys.array[start:], self._values.array[start:], rng, self.walk_bound)
        self._keep(np.append(np.arange(start), start + kept))
        self._sizes[level] = 0
        self._sizes[level + 1] += len(kept)

    def _weights(self) -> Matrix:
        return np.repeat(2.0 ** np.arange(self.levels, -1, -1), self._sizes[::-1])

    def _state(self) -> tuple[tuple[int, ...], tuple[NDArray[Any], ...]]:
        return (self._seen,), super()._state()[1]

    def _layout(self, *counts: int) -> tuple[Field, ...]:
        return super()._layout(sum(self._level_sizes(counts[0])))

    def _restore(self, counts: tuple[int, ...], arrays: list[NDArray[Any]]) -> None:
        super()._restore(counts, arrays)
        self._seen, self._sizes = counts[0], self._level_sizes(counts[0])

    def _level_sizes(self, seen: int) -> list[int]:
        """Return how many tokens each level holds after so many."""
        half = self.batch_tokens // 2
        batches, last = divmod(seen, self.batch_tokens)
        sizes = [last]
        for _ in range(1, self.levels):
            sizes.append(batches % 2 * half)
            batches //= 2
        return [*sizes, batches * half]


def balanced_half(keys: Matrix, values: Matrix, rng: np.random.Generator, bound: float) -> NDArray[np.int64]:
    """Return one token of each pair of neighbours, so that twice their sum is close to the sum of all.

    Token l stands for the unit vector u_l along e^(<., k_l>) x [v_l, 1], of which attention is linear, with
    inner products from the Gaussian kernel e^(-|k - k'|^2/2). The walk takes the differences of pairs in
    turn, each with sign +1 with probability 1/2 - <w, difference>/(2 c), w the signed sum so far.

    Parameters
    ----------
    keys : ndarray, shape (t, d)
        Keys, t even.
    values : ndarray, shape (t, d_v)
        Values.
    rng : numpy.random.Generator
        Steps of the walk.
    bound : float
        c > 0; as it grows the choice becomes uniform.

    Returns
    -------
    ndarray of int, shape (t/2,)
        Indices, ascending.
    """
    keys, values = keys.astype(np.float64), np.column_stack([values, np.ones(len(values))]).astype(np.float64)
    squares = np.square(keys).sum(axis=1)
    distances = np.maximum(squares[:, None] + squares - 2 * keys @ keys.T, 0.0)
    directions = values / np.linalg.norm(values, axis=1, keepdims=True)
    gram = np.exp(-distances / 2) * (directions @ directions.T)
    across = gram[::2] - gram[1::2]
    gram = across[:, ::2] - across[:, 1::2]  # inner products of differences of pairs
    signs = np.zeros(len(gram))
    for pair, draw in enumerate(rng.random(len(gram))):
        signs[pair] = 1.0 if draw < 0.5 - gram[pair] @ signs / (2 * bound) else -1.0
    return 2 * np.arange(len(gram)) + (signs < 0)
