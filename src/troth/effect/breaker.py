"""The circuit breaker's decisions: what the shared row means now, and what there is to report to it. Pure.

Closed: all may call. Open: nobody may, until a time. Then half-open: one call of all workers together is the trial; its
answer closes the breaker, its failure opens it again, and if nothing is heard of it another call is the trial. Each
move begins a new *era*: how calls of an older one end says nothing about the provider of today, and is not counted.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from enum import Enum

from troth.effect.limits import Terms

_TRIAL_S = 1.0  # a trial is given this long before others look again
_LONGEST_SPREAD = 10  # pauses
_SPREAD_S = 0.01  # for each run that waits for the breaker: so many do not come back at once


class State(Enum):
    """Where the breaker stands, as far as a worker knows."""

    CLOSED = "all may call"
    OPEN = "nobody may"
    ON_TRIAL = "one call is under way, to try it"
    HALF_OPEN = "one call may try it"


def state_of(terms: Terms, now: float) -> State:
    """Where it stands at *now* (database time)."""
    if terms.open_until is None:
        return State.CLOSED
    if now < terms.open_until:
        return State.OPEN
    if terms.trial_until is not None and now < terms.trial_until:
        return State.ON_TRIAL
    return State.HALF_OPEN


@dataclasses.dataclass(slots=True)
class Tally:
    """How calls have ended since the last report; all of one era."""

    era: int = 0
    answered: bool = False
    failed: int = 0  # in a row, since the last answer
    unsent: bool = False  # the trial was given back

    def count(self, era: int, *, answered: bool | None, trial: bool) -> None:
        """One more call, sent in *era*, has ended."""
        if era != self.era:
            return
        if answered:
            self.answered, self.failed = True, 0
        elif answered is not None:
            self.failed += 1
        elif trial:
            self.unsent = True

    def merge(self, older: Tally) -> None:
        """A report did not get through: what it said comes before this."""
        if older.era != self.era:
            return
        self.unsent |= older.unsent
        if not self.answered:
            self.failed += older.failed
            self.answered = older.answered

    def decides(self, terms: Terms) -> bool:
        """Would reporting it move the breaker?"""
        limit = terms.declared.breaker_failures
        if limit is None or self.era != terms.era:
            return False
        if terms.open_until is not None:
            return self.answered or self.failed > 0 or self.unsent
        before = 0 if self.answered else terms.failures
        return before + self.failed >= limit

    @property
    def pending(self) -> bool:
        """Is there something to report? (That calls were answered is worth a report only beside others.)"""
        return self.failed > 0 or self.unsent


def wait_s(terms: Terms, now: float, waiting: int, draw: float) -> float:
    """How long one more run waits that no rate gives a slot: past the pause, and spread by how many already wait."""
    pause_left_s = (terms.open_until or 0.0) - now
    longest_s = (terms.declared.breaker_pause_s or 0.0) * _LONGEST_SPREAD
    spread_s = draw * min(longest_s, waiting * _SPREAD_S)
    return (pause_left_s if pause_left_s > 0 else _TRIAL_S) + spread_s


def why_open(name: str, open_until: float) -> str:
    """For people who look at a waiting run."""
    until = dt.datetime.fromtimestamp(open_until, dt.UTC)
    return f"{name} is not answering: breaker open until {until:%H:%M:%S} UTC"


def why_trial(name: str) -> str:
    """For people who look at a waiting run."""
    return f"{name} was not answering: one call is trying it again"
