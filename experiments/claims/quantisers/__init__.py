"""Claims on quantisers (theory 18)."""
