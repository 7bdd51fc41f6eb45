"""Claims of theory 1 and 18: the certificate, what every cache makes of it, and its form for numbers.

`certificate` plays honest caches and cheats, `threshold` every cache over its budgets, `quantiser_distortion` every
quantiser beside Shannon's bound, and `atlas`, which speaks of all sections, every arrow that can be played. They
judge caches; constructions are in the sections of their theorems.
"""
