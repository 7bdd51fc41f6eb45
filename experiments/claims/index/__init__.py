"""Claims of theory 3: INDEX in values and keys.

`index_barrier` and `key_barrier` hold bits in one side or both, `phase_diagram` shows where decoding begins, `precision`
what accuracy costs. Other input models (windows, tensors, maps) have sections of their own.
"""
