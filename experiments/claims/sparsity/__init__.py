"""Claims of theory 5: sparsity and windows."""
