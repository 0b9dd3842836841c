"""Examples that run: each is a small, complete system."""
