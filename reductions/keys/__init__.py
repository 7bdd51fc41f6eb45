"""Sets of keys, their incoherence, and how many keys fit into a dimension."""
