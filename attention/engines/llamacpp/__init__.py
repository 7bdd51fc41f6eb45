"""llama.cpp's own cache, by the C interface that xllamacpp's extension module exports.

- `library`: the extension module as a C library, or one sentence on how to install it.
- `parameters`: the fields of its parameter structs, found by their defaults.
- `settings`: a cache from a text: types of keys and values, flash attention, rotation, window.
- `files`: a model file from given weight matrices.
- `contexts`: a model with a cache; tokens in, logits out, the state of a sequence as bytes.
- `proof`: that the library does what the parameters say, shown before its first use.
- `sessions`: a writer reads tokens into a cache; a reader asks it.

Nothing here knows what the tokens mean. Importing this package loads no library.
"""
