"""The graph of problems and models: its arrows, and how a bound travels along them."""
