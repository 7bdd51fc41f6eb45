"""Claims of theory 3 and 5: INDEX in values and keys, and under sparse values and windows.

`index_barrier` and `key_barrier` state the barrier, `precision` its form for many levels, `phase_diagram` the query
norm at which it sets in; `unstructured_sparsity` and `sliding_window` say what neither way to save can escape.
"""
