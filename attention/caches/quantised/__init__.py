"""Caches that keep every token in fewer bits.

`frame` holds a matrix in codes, in groups or with norms, and is common to all. `uniform` is KIVI, and its values alone
behind public keys; `blocks` is llama.cpp's formats; `turboquant` rotates first; `qjl` keeps signs of projections. Formats of floats: `wire.formats`.
"""
