"""Communication problems as attention inputs, and what follows for the bits of a cache.

- `kvfloor.reductions.problems.index`: INDEX.
- `kvfloor.reductions.keys.projections`: nearly orthogonal keys and their incoherence.
- `kvfloor.reductions.keys.kissing`: hexagon, FCC, D4, E8 and Leech as keys.
- `kvfloor.reductions.keys.packings`: the known configurations and greedy packings as keys.
- `kvfloor.reductions.keys.packing_numbers`: how many keys fit into d dimensions.
- `kvfloor.reductions.encodings.protocol`: the one protocol that every reduction follows.
- `kvfloor.reductions.encodings.values`: INDEX in the values, binary and with many levels.
- `kvfloor.reductions.encodings.stretched`: a short instance in a long stream.
- `kvfloor.reductions.encodings.keyside`: INDEX in the keys, and in both.
- `kvfloor.reductions.bounds.optimum`: the exact least number of messages of small families.
- `kvfloor.reductions.bounds.coverings`: the best success of too few bits.
- `kvfloor.reductions.atlas.graph`: from a model's parameters along the reductions (`kvfloor.reductions.atlas.arrows`) to its floor.
- `kvfloor.reductions.bounds.certificates`: from errors and a length to proven bits.

Nothing here knows how attention is computed: encodings take and give NumPy arrays.
"""
