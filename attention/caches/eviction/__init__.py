"""Caches that keep some tokens as they are, and drop the others."""
