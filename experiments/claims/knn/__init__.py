"""Claims of theory 9: kNN attention and sublinear time."""
