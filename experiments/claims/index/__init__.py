"""Claims of theory 3: INDEX in values and keys."""
