"""Communication problems as attention inputs, and what follows for the bits of a cache.

- `reductions.problems`: INDEX.
- `reductions.keys`: nearly orthogonal keys and their incoherence.
- `reductions.encoding`: the one protocol that every reduction follows.
- `reductions.values`: INDEX in the values, binary and with many levels.
- `reductions.keyside`: INDEX in the keys, and in both.
- `reductions.certificates`: from errors and a length to proven bits.

Nothing here knows how attention is computed: encodings take and give NumPy arrays.
"""
