"""Communication problems: what Alice holds, what Bob asks, what the answer is, which questions give her string back.

`strings` is what every problem is; the others are problems, one a file. Nothing here knows of keys or attention:
a problem is written into tokens in `kvfloor.reductions.encodings`.
"""
