"""A file for each screen: what its address asks, and what is read for that."""
