"""What the two outside processes share: how they serve HTTP, and how they are told to misbehave."""
