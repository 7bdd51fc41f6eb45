"""Caches: a family a folder, their common frame, what is on their wire, and the registry that names them."""

from kvfloor.attention.caches.base import Cache, Coins, StreamCache
from kvfloor.attention.caches.registry import (
    CACHES,
    REQUIRED,
    CacheSpec,
    Registered,
    installed_caches,
    resolve,
)
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
