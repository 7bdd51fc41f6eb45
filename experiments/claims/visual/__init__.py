"""Claims of theory 8: visual autoregressive attention and budgets of heads.

`visual_barrier` holds bits in the earlier maps of a pyramid, `head_budgets` shares windows out among heads. The budgets
are computed in `attention.caches.composed.head_budgets`.
"""
