"""What computes exact attention fast: blocks of scores, thinned where most weights cannot tell (theory 13).

`blocks` holds tokens, `limits` says what weights must keep to, `sums` adds them up, `strips` answers queries, `mirror`
multiples of keys, `pairs` two sides; `threads` share the work. Arguments are checked by who calls: nothing here is for
others to call.
"""
