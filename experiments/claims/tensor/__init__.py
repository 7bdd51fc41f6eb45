"""Claims of theory 7: tensor attention."""
