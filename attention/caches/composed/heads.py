"""A cache for several heads, with a budget for each (HACK)."""

from typing import ClassVar

import numpy as np

from kvfloor.attention.caches.base import CacheSpec, Coins, StreamCache, parameter, word
from kvfloor.attention.caches.composed.bundle import Bundle
from kvfloor.attention.caches.eviction.by_attention import HeavyHitters
from kvfloor.attention.caches.eviction.by_score import KeyNorm, RandomTokens, Sinks, Window
from kvfloor.attention.checks import Matrix

__all__ = ["Heads"]

_RULES = {rule.name: rule for rule in (Window, Sinks, RandomTokens, KeyNorm, HeavyHitters)}


def _budgets(name: str, text: object) -> str:
    """Return a text that spells budgets in the one canonical way."""
    words = text.split("/") if isinstance(text, str) else [""]
    if not all(w.isascii() and w.isdigit() and len(w) < 15 and str(int(w)) == w and w != "0" for w in words):
        shown = repr(text) if len(repr(text)) < 80 else "a long text"
        raise ValueError(f"{name} is {shown}, expected a positive number a head, as in 8/8/120/120")
    return "/".join(words)


class Heads(Bundle, StreamCache):
    """Several heads, each an eviction with a budget of its own: unequal ones where heads differ (HACK).

    A token's key and value are those of all heads side by side, and so are queries and outputs. Which heads
    deserve more is settled beforehand, by `kvfloor.attention.caches.composed.head_budgets`.

    References
    ----------
    Z. Qin et al. Head-Aware KV Cache Compression for Efficient Visual Autoregressive Modeling.
    arXiv:2504.09261.
    """

    name: ClassVar[str] = "heads"
    source: ClassVar[str] = "arXiv:2504.09261 (HACK), our reading"

    kept_tokens: str = parameter("the budget of every head", _budgets, str, default="8/8")
    rule: str = word("the eviction rule of all heads", _RULES, default="window")

    def _begin(self) -> None:
        budgets = [int(budget) for budget in self.kept_tokens.split("/")]
        self._heads = len(budgets)
        if self.dim % self._heads or self.value_dim % self._heads:
            raise ValueError(
                f"{self.dim} columns of keys and {self.value_dim} of values cannot be shared "
                f"among {self._heads} heads"
            )
        specs = [CacheSpec(self.rule, _RULES[self.rule], {"kept_tokens": budget}) for budget in budgets]
        seeds = np.random.SeedSequence(self.coins.seed).generate_state(self._heads, np.uint64) >> np.uint64(1)
        sizes = self.dim // self._heads, self.value_dim // self._heads
        self._compose(specs, *sizes, [Coins(int(seed)) for seed in seeds])

    def _append(self, keys: Matrix, values: Matrix) -> None:
        self._feed(list(zip(self._split(keys), self._split(values), strict=True)))

    def _answer(self, queries: Matrix) -> Matrix:
        answers = [part.attend(own) for part, own in zip(self._parts, self._split(queries), strict=True)]
        outputs: Matrix = np.hstack(answers)
        return outputs

    def _split(self, rows: Matrix) -> list[Matrix]:
        """Return the columns of every head."""
        return [np.ascontiguousarray(own) for own in np.hsplit(rows, self._heads)]
