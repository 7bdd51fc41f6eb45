"""Models of the transformers library, and whatever compresses their caches: kvpress and transformers itself.

- `attention.hf.library`: the optional packages, imported quietly, or one sentence on how to install them.
- `attention.hf.model`: a decoder-only model from given weight matrices.
- `attention.hf.compressors`: a compressor from a text: a press of kvpress or a cache of transformers.
- `attention.hf.state`: what a cache holds, how many bits that takes, and its bytes.
- `attention.hf.sessions`: a writer reads tokens into a cache; a reader asks it.

Nothing here knows what the tokens mean. Importing this package imports none of the libraries.
"""
