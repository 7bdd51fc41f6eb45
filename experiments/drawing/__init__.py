"""How figures look: their style, and the panels that several of them share.

Reads stored rows alone.
"""
