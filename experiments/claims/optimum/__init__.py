"""Claims of theory 10: the exact optimum of small caches.

`exact_optimum` colours families of streams and searches for the best codes; `codebook` is the cache that keeps nothing
but the colour. Bounds and searches themselves live in `reductions.bounds`.
"""
