"""What every cache stands on: the protocol, the frames of ours, and the pieces that families share.

`cache` says what a cache is, `frame` makes each of ours a small class, `parameters` declares what it is given,
`rows` holds tokens, `draws` and `projection` are public randomness. No file here knows a method of compression.
"""

from kvfloor.attention.caches.base.cache import Cache, CacheSpec, Coins, Factory
from kvfloor.attention.caches.base.frame import StreamCache, WireCache
from kvfloor.attention.caches.base.parameters import Parameter, declared, parameter, real, whole, word
from kvfloor.attention.caches.base.rows import Rows

__all__ = [
    "Cache",
    "CacheSpec",
    "Coins",
    "Factory",
    "Parameter",
    "Rows",
    "StreamCache",
    "WireCache",
    "declared",
    "parameter",
    "real",
    "whole",
    "word",
]
