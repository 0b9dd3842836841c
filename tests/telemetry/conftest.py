"""The places of the workflows' tests."""

from tests.workflow.conftest import place, troth

__all__ = ["place", "troth"]
