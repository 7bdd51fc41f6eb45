"""Evictions: caches that keep some tokens as they are and forget the others.

`frame` is common to all. `by_score` keeps the best by a score that never changes (window, sinks, knorm, random),
`by_attention` those that were attended to (h2o, snapkv), and `unmasked_window` remembers of the others how many
there were and the sum of their values. What merges or reweights tokens lives in `mixing`.
"""
