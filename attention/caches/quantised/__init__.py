"""Caches that keep every token in fewer bits."""
