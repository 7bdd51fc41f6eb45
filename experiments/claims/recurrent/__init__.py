"""Claims of theory 14: recurrent and hybrid states.

`recall_takes_state` plays associative recall through every family; `superposition` says how often a sum of signs is
wrong. The states themselves live in `attention.caches.recurrent`.
"""
