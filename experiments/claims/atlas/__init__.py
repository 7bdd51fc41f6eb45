"""The claim that the atlas' arrows hold, over all sections of docs/theory.md."""
