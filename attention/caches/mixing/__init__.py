"""Caches that keep combinations of tokens: merged, projected, balanced, of low rank."""
