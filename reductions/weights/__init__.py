"""INDEX compiled into the weights of a transformer, in plain NumPy and without any framework.

- `basis`: named directions of a vector space, and matrices between such spaces.
- `compiler`: the matrices of a decoder-only model whose heads answer attention over its input rows.
- `transformer`: INDEX as rows of that model's input, and its answers as bits.

What a framework calls these matrices is the business of its writer, under `kvfloor.attention.engines`.
"""
