"""Claims of theory 12: INDEX in a transformer's weights."""
