"""Claims on additive accuracy and temperature (theory 15)."""
