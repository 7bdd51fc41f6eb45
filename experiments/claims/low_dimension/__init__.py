"""Claims of theory 4: low dimension and SubGen."""
