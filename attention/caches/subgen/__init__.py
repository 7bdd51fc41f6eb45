"""SubGen and what it stands on: clusters of keys, reservoirs of values, tail bounds."""
