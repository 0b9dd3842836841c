"""Tests of programs that use troth: one step alone, or whole runs on a real database with a virtual clock."""

from troth.testing.bodies import FakeCall, call_effect, call_step
from troth.testing.recordings import recordings, replay
from troth.testing.world import Worker

__all__ = ["FakeCall", "Worker", "call_effect", "call_step", "recordings", "replay"]
