"""A cache for several heads, with a budget for each (HACK)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from kvfloor.attention.caches.base import Cache, Coins, StreamCache
from kvfloor.attention.caches.composed.bundle import Bundle
from kvfloor.attention.caches.eviction.eviction import KeyNorm, RandomTokens, Sinks, Window
from kvfloor.attention.caches.eviction.voting import HeavyHitters
from kvfloor.attention.checks import Matrix, one_of

__all__ = ["Heads"]

_RULES: Mapping[str, Any] = {rule.name: rule for rule in (Window, Sinks, RandomTokens, KeyNorm, HeavyHitters)}


@dataclass(frozen=True, slots=True)
class _Head:
    """A head's eviction rule and budget; see `kvfloor.attention.caches.composed.bundle.CacheMaker`."""

    rule: str
    kept_tokens: int

    @property
    def spec(self) -> str:
        return f"{self.rule}:kept_tokens={self.kept_tokens}"

    def make(self, dim: int, value_dim: int, coins: Coins) -> Cache:
        cache: Cache = _RULES[self.rule](dim, value_dim, coins, kept_tokens=self.kept_tokens)
        return cache

    def restore(self, payload: bytes, dim: int, value_dim: int, coins: Coins) -> Cache:
        cache: Cache = _RULES[self.rule].from_bytes(payload, coins)
        return cache


class Heads(Bundle, StreamCache):
    """Several heads, each an eviction with a budget of its own: unequal ones where heads differ (HACK).

    A token's key and value are those of all heads side by side, and so are queries and outputs. Which heads
    deserve more is settled beforehand, by `kvfloor.attention.heads`.

    Parameters
    ----------
    dim, value_dim : int
        Numbers of columns of keys and values, of all heads together.
    coins : Coins
        The public randomness; each head draws its own.
    kept_tokens : str
        The budget of every head, as in ``"8/8/120/120"``.
    rule : str
        The eviction rule of all heads: window, sinks, random, knorm or h2o.

    References
    ----------
    Z. Qin et al. Head-Aware KV Cache Compression for Efficient Visual Autoregressive Modeling.
    arXiv:2504.09261.
    """

    name: ClassVar[str] = "heads"
    source: ClassVar[str] = "arXiv:2504.09261 (HACK), our reading"

    def __init__(
        self, dim: int, value_dim: int, coins: Coins, *, kept_tokens: str = "8/8", rule: str = "window"
    ) -> None:
        super().__init__(dim, value_dim, coins)
        self.rule = one_of("rule", rule, _RULES)
        self.kept_tokens = kept_tokens
        budgets = _budgets(kept_tokens)
        if dim % len(budgets) or value_dim % len(budgets):
            raise ValueError(
                f"{dim} columns of keys and {value_dim} of values cannot be shared among {len(budgets)} heads"
            )
        self._heads = len(budgets)
        makers = [_Head(self.rule, budget) for budget in budgets]
        seeds = np.random.SeedSequence(coins.seed).generate_state(self._heads, np.uint64) >> np.uint64(1)
        self._compose(makers, dim // self._heads, value_dim // self._heads, [Coins(int(s)) for s in seeds])

    def _append(self, keys: Matrix, values: Matrix) -> None:
        self._feed(list(zip(self._split(keys), self._split(values), strict=True)))

    def _answer(self, queries: Matrix) -> Matrix:
        answers = [part.attend(own) for part, own in zip(self._parts, self._split(queries), strict=True)]
        outputs: Matrix = np.hstack(answers)
        return outputs

    def _split(self, rows: Matrix) -> list[Matrix]:
        """Return the columns of every head."""
        return [np.ascontiguousarray(own) for own in np.hsplit(rows, self._heads)]


def _budgets(text: object) -> list[int]:
    """Return the budgets that a text spells in the one canonical way."""
    words = text.split("/") if isinstance(text, str) else [""]
    if not all(w.isascii() and w.isdigit() and len(w) < 15 and str(int(w)) == w and w != "0" for w in words):
        shown = repr(text) if len(repr(text)) < 80 else "a long text"
        raise ValueError(f"kept_tokens is {shown}, expected a positive number a head, as in 8/8/120/120")
    return [int(word) for word in words]
