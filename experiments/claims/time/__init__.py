"""Claims of theory 6: time."""
