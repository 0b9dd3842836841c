"""One clock for everything that is written down: the database's, followed on the local monotonic clock.

Wall clocks of several machines disagree, so due times and recorded times are all in database time. Between two
readings of it the monotonic clock carries on: an administrator who sets the wall clock back changes nothing.
"""

from __future__ import annotations

import math
import time


class Clock:
    """Database time in seconds since 1970, estimated from the last reading."""

    def __init__(self) -> None:
        self._offset_s = time.time() - time.monotonic()
        self._jumped_at = -math.inf

    def now(self) -> float:
        """Now, in seconds since 1970 by the database's clock (by this machine's until the first reading)."""
        return time.monotonic() + self._offset_s

    def observe(self, database_now_s: float, *, asked_at: float, answered_at: float) -> None:
        """Take a reading: the database said *database_now_s* between two local monotonic instants."""
        if asked_at >= self._jumped_at:
            self._offset_s = database_now_s - (asked_at + answered_at) / 2

    def jump(self, database_now_s: float) -> None:
        """The database's own time was moved, and is now this: for tests with a virtual clock. Earlier readings are void."""
        self._jumped_at = time.monotonic()
        self._offset_s = database_now_s - self._jumped_at
