"""Caches that need no bits for keys, because the keys are public coins.

`public_keys` is common to all. `bit_packing` keeps values of a finite alphabet exactly (the least cache for INDEX in
values), `covering_codes` fewer bits with errors: repetition, Hamming, Golay. Quantised values alone: `quantised`.
"""
