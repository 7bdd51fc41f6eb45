"""Claims on quantisers (theory 16)."""
