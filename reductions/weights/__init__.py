"""INDEX compiled into the weights of a transformer."""
