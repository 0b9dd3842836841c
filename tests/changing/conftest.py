"""A schema for each test, and a program on it."""

from tests.workflow.conftest import place, troth

__all__ = ["place", "troth"]
