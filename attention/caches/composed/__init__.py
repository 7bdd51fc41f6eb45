"""Caches made of caches: a side, a head, a part each."""
