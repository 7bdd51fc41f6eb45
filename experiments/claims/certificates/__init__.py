"""Claims of theory 1: the certificate, and what every cache makes of it.

`certificate` plays honest caches and cheats, `threshold` every cache over its budgets, and `atlas`, which speaks of
all sections, every arrow that can be played. They judge caches; constructions are in the sections of their theorems.
"""
