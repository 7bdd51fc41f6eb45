"""Claims of theory 7: tensor attention.

`tensor_four_cache` and `tensor_two_cache` are the barriers, `tensor_structured` and `tensor_tradeoff` (`costs`) compare
them, `tensor_low_dimension` and `subgen4_unbiased` run both SubGens. What barriers share is in `judging.barrier`.
"""
