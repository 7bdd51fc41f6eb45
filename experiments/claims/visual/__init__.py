"""Claims of theory 8: visual autoregressive attention and budgets of heads."""
