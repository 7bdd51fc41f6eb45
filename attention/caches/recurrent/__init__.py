"""Recurrent states: one matrix of fixed size that every token updates and every query reads (theory 14).

Each family stands here with parameters that are set by hand for recall, not trained. A token whose key is zero is
filler: it writes nothing, and gates are shut for it.
"""
