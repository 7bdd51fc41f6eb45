"""Caches that keep combinations of tokens, or tokens that count for others.

`coreset` and `balance` (BalanceKV) reweight the tokens that stay, `merging` (D2O) averages them, `lowrank` (Eigen
Attention) keeps factors of all of them, `linear` (Performer) sums of their features. What drops tokens without a
trace lives in `eviction`.
"""
