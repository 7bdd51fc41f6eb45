"""Other people's caches and engines, as they ship."""
