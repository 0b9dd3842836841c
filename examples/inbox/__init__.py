"""A subscription that follows its provider's events."""
