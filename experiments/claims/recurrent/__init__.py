"""Claims on recurrent and hybrid states (theory 14)."""
