"""Instances of INDEX inside larger streams: longer ones, windows, maps, and heads side by side.

Each puts the tokens of a plain encoding (`kvfloor.reductions.encodings.values`) among others and says what these
cost in query norm. What symbols are written as is decided there, not here.
"""
