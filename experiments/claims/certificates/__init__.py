"""Claims of theory 1: the certificate, and what every cache makes of it."""
