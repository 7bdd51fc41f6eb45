"""Communication problems as attention inputs, and what follows for the bits of a cache.

A problem (`problems`) is written into tokens and read back by attention (`encodings`) through nearly orthogonal
keys (`keys`), within a stated accuracy (`accuracy`). What follows is proved in `bounds`, carried from model to
model by the `atlas`, and compiled into a transformer in `weights`. Nothing here knows how attention is computed:
encodings take and give NumPy arrays. A number out of the range that its line states is a `ValueError`.
"""
