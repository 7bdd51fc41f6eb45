"""Blocks of work: who does them, where their rows are kept, and which code a row depends on.

Nothing here knows what is measured.
"""
