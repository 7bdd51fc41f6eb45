"""Claims of theory 12, 15 and 16: what other people's caches keep, in models built for it and in a trained one.

`eviction_is_time_sharing` and `mask_is_not_memory` play shipped compressors (`counting`, which the `leaderboard` uses,
too), `real_keys_floor` looks at the keys of a trained model. The engines themselves live in `attention.engines`.
"""
