"""Caches, a family a folder, and how they are named.

`base` is what all stand on and `wire` their bytes; `dense`, `eviction`, `quantised`, `mixing`, `public`, `subgen`,
`recurrent` and `composed` are the families; `named` says which of them a text stands for. A cache knows nothing of
problems, encodings or audits.
"""

from kvfloor.attention.caches.base import Cache, CacheSpec, Coins, StreamCache
from kvfloor.attention.caches.named.installed import installed_caches
from kvfloor.attention.caches.named.registry import CACHES, REQUIRED, Registered
from kvfloor.attention.caches.named.specs import resolve
from kvfloor.attention.caches.wire import WireError

__all__ = [
    "CACHES",
    "REQUIRED",
    "Cache",
    "CacheSpec",
    "Coins",
    "Registered",
    "StreamCache",
    "WireError",
    "installed_caches",
    "resolve",
]
