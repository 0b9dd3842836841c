"""What is told to those who ask for permission to send one call."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TypeAlias


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Permit:
    """One call may be sent until *expires*, on `time.monotonic()`. Give it back when the call has ended, or was not sent."""

    provider: str
    expires: float
    era: int  # of the breaker
    trial: bool = False  # of a half-open breaker
    leased: bool = False  # it counts among the calls at once


@dataclasses.dataclass(frozen=True, slots=True)
class Wait:
    """No call now: ask again at *until* (database time), with *slot* if it is not None; *because* is for people."""

    until: float
    because: str
    slot: float | None = None


Told: TypeAlias = Callable[[Permit | Wait], None]


@dataclasses.dataclass(slots=True, eq=False)
class Asker:
    """One call that waits for permission."""

    told: Told
    worker: int
    in_flight_s: float
    slot: float | None = None  # the time that was reserved for it, in database time
    patient_until: float = 0.0  # local time until which one without a slot waits in memory
