"""What follows from errors and lengths: certificates, readers, exact optima, coverings."""
