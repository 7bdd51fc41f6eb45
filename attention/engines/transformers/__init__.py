"""Models of the transformers library, and whatever compresses their caches: kvpress and transformers itself.

- `library`: the optional packages, imported quietly, or one sentence on how to install them.
- `model`: a decoder-only model from given weight matrices.
- `compressors`: a compressor from a text: a press of kvpress or a cache of transformers.
- `state`: what a cache holds, how many bits that takes, and its bytes.
- `sessions`: a writer reads tokens into a cache; a reader asks it.

Nothing here knows what the tokens mean. Importing this package imports none of the libraries.
"""
