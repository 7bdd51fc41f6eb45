"""Claims on depth against cache: POINTER CHASING (theory 19)."""
