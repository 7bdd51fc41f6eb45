"""Encodings of problems other than INDEX, one a file, each with the proof of its constants.

Questions are what the problem says (sets, words, strings), and its own reconstruction gives Alice's string back.
Encodings of INDEX stand one folder up.
"""
