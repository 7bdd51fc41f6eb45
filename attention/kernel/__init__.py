"""What computes exact attention fast: blocks of scores, thinned where most weights cannot tell (theory 13)."""
