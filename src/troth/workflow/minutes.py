"""What one process does in each minute, by workflow: counted always, and written once a minute if there is anything.

It is for charts of the last hours, and nothing is decided by it: counts of a process that is killed are lost.
"""

from __future__ import annotations

from typing import NamedTuple

from troth.journal.model import RunState

MINUTE_S = 60.0


class Minute(NamedTuple):
    """What happened to the runs of one workflow in the minute that began at *minute* (seconds since 1970)."""

    minute: float
    workflow: str
    started: int
    succeeded: int
    failed: int
    cancelled: int
    attention: int
    steps: int
    effects_unknown: int


_FIELDS = Minute._fields[2:]
_MOST_KEPT = 10_000  # that could not be written yet
_PLACES = {name: place for place, name in enumerate(_FIELDS)}
STARTED, STEP = _PLACES["started"], _PLACES["steps"]
UNKNOWN, ATTENTION = _PLACES["effects_unknown"], _PLACES["attention"]
ENDS = {
    RunState.SUCCEEDED: _PLACES["succeeded"],
    RunState.FAILED: _PLACES["failed"],
    RunState.CANCELLED: _PLACES["cancelled"],
}


class Minutes:
    """Counts. Which minute something belongs to is as exact as `turn` is called often."""

    def __init__(self) -> None:
        self._minute = 0.0  # until somebody says what time it is
        self._counts: dict[str, list[int]] = {}
        self._over: list[Minute] = []

    def add(self, workflow: str, what: int) -> None:
        """One more of *what* (a constant of this module)."""
        counts = self._counts.get(workflow)
        if counts is None:
            counts = self._counts[workflow] = [0] * len(_FIELDS)
        counts[what] += 1

    def turn(self, now_s: float) -> bool:
        """It is *now_s*: is a minute over in which something happened?"""
        minute = now_s - now_s % MINUTE_S
        if minute != self._minute:
            if self._minute:
                self.close()
            self._minute = minute
        return bool(self._over)

    def close(self) -> None:
        """What was counted so far is all of this minute."""
        self._over += [Minute(self._minute, name, *counts) for name, counts in self._counts.items()]
        self._counts = {}

    def take(self) -> list[Minute]:
        """The minutes that are over, to be written; they are forgotten here."""
        over, self._over = self._over, []
        return over

    def give_back(self, minutes: list[Minute]) -> None:
        """They could not be written: try again. What would be too much is forgotten."""
        self._over = [*minutes, *self._over][-_MOST_KEPT:]
