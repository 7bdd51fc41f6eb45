"""Claims of theory 10: the exact optimum of small caches."""
