"""The frame of evictions: a budget of tokens."""

from typing import Any

from kvfloor.attention.caches.base import whole
from kvfloor.attention.caches.dense import StoredCache
from kvfloor.attention.caches.wire import Field, WireError

__all__ = ["Evicting", "demand_more"]


class Evicting(StoredCache):
    """A cache of at most `kept_tokens` tokens, which survive in the stream's order."""

    kept_tokens: int = whole("tokens that stay", 1)

    def _layout(self, *counts: int) -> tuple[Field, ...]:
        if counts[0] > self.kept_tokens:
            raise WireError(f"{counts[0]} tokens are more than the {self.kept_tokens} that {self.name} keeps")
        return super()._layout(*counts)

    def _demand_full(self, tokens: int, seen: int) -> None:
        """Raise WireError unless there are as many tokens as were seen, or as fit."""
        if tokens != min(seen, self.kept_tokens):
            raise WireError(f"{self.name} keeps {self.kept_tokens} tokens, but has {tokens} of {seen}")


def demand_more(cache: Any, name: str) -> None:
    """Raise ValueError unless a cache keeps more tokens than another of its parameters, by name, reserves."""
    reserved = getattr(cache, name)
    if cache.kept_tokens <= reserved:
        raise ValueError(f"kept_tokens is {cache.kept_tokens}, expected more than the {reserved} {name}")
