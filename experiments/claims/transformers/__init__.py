"""Claims of theory 12, 16 and 17: compressors as they ship, llama.cpp's cache, and a trained model's own keys."""
