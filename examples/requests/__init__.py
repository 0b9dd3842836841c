"""Requests that may be repeated."""
