"""Caches that need no bits for keys, because the keys are public coins."""
