"""Encodings of problems other than INDEX, each with its own reconstruction."""
