"""What keeps a run from going on as its code says: a cancellation, a deadline, and trouble that asks for a person."""

from __future__ import annotations

from typing import Any, NamedTuple

from troth.journal.model import CANCEL_TOPIC, DEADLINE_PATH, Reason

# Why a run is undone, by the path under which it is recorded.
STOPPED = {CANCEL_TOPIC: "cancelled", DEADLINE_PATH: "its deadline has passed"}


class Stop(NamedTuple):
    """A reason to stop, by the path under which it is recorded; and when it came."""

    at: float
    path: str


class Parked(Exception):
    """The run cannot go on without a person."""

    def __init__(self, reason: Reason, detail: dict[str, Any]) -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.detail = detail
