"""One worker's part of the calls that a provider allows at once. Pure bookkeeping; the shared count is the database's.

A lease is the right to have one call under way. A worker that is busy keeps its leases from call to call, so no row is
touched per call. It gives back what it has not used for a while; what others lack for an equal share, it gives back at
once if it is unused, and when a call ends if it is not.
"""

from __future__ import annotations

from collections import deque

POLL_S = 0.1  # between two looks at what others need
_SLICE_S = 0.25  # a lease is used for at least this long, so that handing over does not cost more than calling
_AGAIN_S = 1.0  # a run that waits elsewhere does so for at least this long
_IDLE_S = 1.0  # after this long without a call, how fast they were says nothing any more
_QUICKEST_S = 0.01  # a call takes, if nothing is known
_REMEMBERED_CALLS = 256


class Leases:
    """Held, used, and owed to others. Times are local monotonic seconds."""

    def __init__(self) -> None:
        self.held = 0
        self.used = 0
        self.demanded = 0  # what the shared row knows of our demand
        self.in_flight_s = 0.0  # and of how long our calls can outlive us
        self._share = 0
        self._lacking = 0  # what others wait for
        self._most_used = 0  # since the last turn
        self._held_since = 0.0
        self._ends: deque[float] = deque(maxlen=_REMEMBERED_CALLS)
        self._busy_since: float | None = None
        self._next_again = 0.0

    @property
    def free(self) -> int:
        """Leases that no call uses."""
        return self.held - self.used

    def owes(self, waiting: int) -> bool:
        """Do others wait for something that we do not use?"""
        return self._lacking > 0 and self.held > self._due(waiting)

    def settled(self, waiting: int) -> bool:
        """Has the shared row nothing to learn from us?"""
        return self.held == self.used == self.demanded and not waiting

    def use(self, now: float) -> None:
        """A call begins."""
        self._forget_other_times(now)
        if self._busy_since is None:
            self._busy_since = now
        self.used += 1
        self._most_used = max(self._most_used, self.used)

    def end(self, now: float) -> None:
        """A call has ended: its lease serves the next one, or is given up for those who lack their share."""
        self.used -= 1
        self._ends.append(now)
        if self._lacking and self.held > self._share and now - self._held_since >= _SLICE_S:
            self.held -= 1
            self._lacking -= 1

    def keep(self, waiting: int, *, spare: bool) -> tuple[int, int]:
        """(leases to keep, demand) to tell in a turn. What is not kept is not used from now on, whatever comes of it.

        *waiting* calls want to begin. *spare*: keep what was in use a moment ago, unless others wait for it.
        """
        demand = self.used + waiting
        if self._lacking or not spare:
            self.held = min(self.held, self._due(waiting))
        else:
            self.held = min(self.held, max(self._most_used, demand))
        self._most_used = self.used
        return self.held, max(self.held, demand)

    def _due(self, waiting: int) -> int:
        """What is ours even if others wait."""
        return max(self.used, min(self.used + waiting, self._share))

    def exchanged(
        self, held: int, share: int, lacking: int, demanded: int, in_flight_s: float, now: float
    ) -> None:
        """A turn has been taken. Calls may have begun and ended meanwhile, with what was kept."""
        if held > self.held:
            self._held_since = now
        self.held, self._share, self._lacking = held, share, lacking
        self.demanded, self.in_flight_s = demanded, in_flight_s

    def unsure(self) -> None:
        """A turn was not answered: the shared row may know something else than we do."""
        self.demanded = -1

    def pace(self, now: float, limit: int) -> float:
        """How many calls a second end here. While few have ended: as many as there could be, for all that is known."""
        self._forget_other_times(now)
        if self._busy_since is None:
            return limit / _QUICKEST_S
        if len(self._ends) == _REMEMBERED_CALLS:
            return len(self._ends) / max(now - self._ends[0], _QUICKEST_S)
        return (len(self._ends) + limit) / max(now - self._busy_since, _QUICKEST_S)

    def _forget_other_times(self, now: float) -> None:
        if not self.used and (not self._ends or now > self._ends[-1] + _IDLE_S):
            self._busy_since = None
            self._ends.clear()

    def again_s(self, now: float, limit: int) -> float:
        """How long a run is to wait elsewhere. One after the other they ask again, twice as fast as calls end here.

        If calls get faster, so do those who ask; if not, two ask per call that ends, and not all at once.
        """
        self._next_again = max(self._next_again, now + _AGAIN_S) + 0.5 / self.pace(now, limit)
        return self._next_again - now


def why_busy(name: str, limit: int) -> str:
    """For people who look at a waiting run."""
    calls = "one call" if limit == 1 else f"{limit} calls"
    return f"concurrency of {name}: {calls} at once"
