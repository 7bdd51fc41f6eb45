"""Claims of theory 15: what accuracy costs at every temperature.

`temperature_barrier` reads single tokens, `gap_hamming` averages, `additive_precision` levels; `noisy` moves their answers
by as much as an accuracy allows. Bounds live in `reductions.bounds.temperature`.
"""
