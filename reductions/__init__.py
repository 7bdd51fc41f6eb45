"""Communication problems as attention inputs, and what follows for the bits of a cache.

- `reductions.problems`: INDEX.
- `reductions.keys`: nearly orthogonal keys and their incoherence.
- `reductions.kissing`: hexagon, FCC, D4, E8 and Leech as keys.
- `reductions.packings`: the known configurations and greedy packings as keys.
- `reductions.packing_numbers`: how many keys fit into d dimensions.
- `reductions.encoding`: the one protocol that every reduction follows.
- `reductions.values`: INDEX in the values, binary and with many levels.
- `reductions.stretched`: a short instance in a long stream.
- `reductions.keyside`: INDEX in the keys, and in both.
- `reductions.optimum`: the exact least number of messages of small families.
- `reductions.coverings`: the best success of too few bits.
- `reductions.atlas`: from a model's parameters along the reductions (`reductions.arrows`) to its floor.
- `reductions.certificates`: from errors and a length to proven bits.

Nothing here knows how attention is computed: encodings take and give NumPy arrays.
"""
