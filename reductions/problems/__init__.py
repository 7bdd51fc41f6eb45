"""Communication problems: what Alice holds, what Bob asks, what the answer is.

Nothing here knows of keys or attention.
"""
