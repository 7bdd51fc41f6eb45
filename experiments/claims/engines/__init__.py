"""Claims of theory 15 and 16: llama.cpp's cache, and the keys of a trained model."""
