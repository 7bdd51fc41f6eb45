"""Caches made of caches: several payloads in one.

`bundle` is common to all. `sides` joins two caches for tensor attention (``dense+uniform``), `heads` gives every head
a budget of its own, and `head_budgets` says which heads need much. A part is any cache by name; what it does with its
tokens is its own family's affair.
"""
