"""Claims of theory 16 and 17: llama.cpp's cache, and the keys of a trained model."""
