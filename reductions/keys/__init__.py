"""Unit keys that attention can tell apart, and what is known of their inner products.

`known` holds keys with their bound, `projections`, `kissing` and `packings` make them, `incoherence` measures and
bounds them, `packing_numbers` says how many there can be. Nothing here knows of problems, tokens or bits.
"""
