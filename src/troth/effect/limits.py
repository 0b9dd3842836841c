"""Slots in time: how a rate becomes moments at which one call may be sent. Pure.

**Why no window ever holds too many.** The shared row hands out slots that are `spacing` apart. A slot is used once, not
before its time and not after its time plus `tolerance`. So of any `limit + 1` calls that follow each other in the order
of their slots, the first was sent at most `tolerance` after its slot and the last not before its own, which lies
`limit * spacing` later: they are at least `limit * spacing - tolerance = per` apart. Any `limit + 1` calls at all contain
two whose slots are at least that many slots apart. So no span of `per` holds more than `limit` calls. The price is
the tolerance: `per / (per + tolerance)` of the rate can be used, 91 % if that is a tenth.

Slots are in the database's time, calls are sent by the local monotonic clock. A reading of the database's clock was
taken at some moment between asking and answering, so a slot has come *for certain* when it would have come had the
reading been taken at the answer, and has not lapsed for certain until it would have, had it been taken when it was
asked for. Clocks are trusted only to run at about the same speed for the few seconds that a reading is used.
"""

from __future__ import annotations

import dataclasses
from datetime import timedelta

from troth.effect.model import SEND_WITHIN_S, Provider, Rate

NEAR_S = 1.0  # a slot that is less far ahead is waited for in memory
LEAD_S = 0.8  # a run that waits elsewhere is woken so long before its slot
READING_S = 10.0  # after this long the database's clock is read again
BRIEFLY_S = 2.0  # a permit that no slot limits must be used within this time

_RESERVED_S = 10.0  # a turn reserves slots for so long, or a few
_FEW_SLOTS = 100
_TOLERANCE = 0.1  # of `per`
_LEAST_TOLERANCE_S = 0.05  # the intent has to become durable between the slot and the call
_ROUNDING_S = 1e-6  # seconds since 1970 are rounded to a quarter of this


def tolerance_s(rate: Rate) -> float:
    """For how long a slot may be used. Longer costs throughput, shorter loses slots to a busy worker."""
    share = rate.per.total_seconds() * _TOLERANCE
    return min(max(share, _LEAST_TOLERANCE_S), SEND_WITHIN_S)


def spacing_s(rate: Rate) -> float:
    """How far slots lie apart, see the proof above."""
    return (rate.per.total_seconds() + tolerance_s(rate)) / rate.limit + _ROUNDING_S


@dataclasses.dataclass(frozen=True, slots=True)
class Declaration:
    """What a worker says of a provider, as the shared row keeps it. The fields are the columns."""

    rate_limit: int | None
    rate_per_s: float | None
    spacing_s: float | None
    tolerance_s: float | None
    breaker_failures: int | None
    breaker_pause_s: float | None
    concurrency: int | None


def declaration_of(provider: Provider) -> Declaration:
    """The limits of a provider."""
    rate, breaker = provider.rate, provider.breaker
    return Declaration(
        rate_limit=rate.limit if rate else None,
        rate_per_s=rate.per.total_seconds() if rate else None,
        spacing_s=spacing_s(rate) if rate else None,
        tolerance_s=tolerance_s(rate) if rate else None,
        breaker_failures=breaker.failures if breaker else None,
        breaker_pause_s=breaker.pause.total_seconds() if breaker else None,
        concurrency=provider.concurrency,
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Reading:
    """The database's clock said *now* at some moment between two local instants."""

    now: float
    asked_at: float
    answered_at: float

    def better(self, older: Reading | None) -> Reading:
        """The one to use: the narrower, but not for long."""
        if older is None or self.answered_at - older.answered_at > READING_S / 2:
            return self
        return min(older, self, key=_width)


def _width(reading: Reading) -> float:
    return reading.answered_at - reading.asked_at


@dataclasses.dataclass(frozen=True, slots=True)
class Terms:
    """The shared row as it was at one moment, which a worker learned at *read_at* (local).

    What is declared there holds, not what this process has declared: a later deploy may have said otherwise.
    """

    declared: Declaration
    era: int
    failures: int
    open_until: float | None  # database time; None: the breaker is closed
    trial_until: float | None  # database time
    reading: Reading
    read_at: float

    def database_time(self, local_s: float) -> float:
        """The database's time at a local instant, give or take half a round trip."""
        reading = self.reading
        return reading.now + local_s - (reading.asked_at + reading.answered_at) / 2

    def opens(self, slot: float) -> float:
        """The local instant at which a slot has certainly come."""
        return slot - self.reading.now + self.reading.answered_at

    def lapses(self, slot: float) -> float:
        """The local instant until which a slot has certainly not lapsed."""
        return slot + (self.declared.tolerance_s or 0.0) - self.reading.now + self.reading.asked_at

    def tells_time(self, local_s: float) -> bool:
        """Is the reading of the clock recent enough?"""
        return local_s - self.reading.answered_at < READING_S


def slots_at_once(spacing: float) -> int:
    """How many slots to reserve in one turn at most: if its answer is lost, nobody uses them."""
    return max(_FEW_SLOTS, int(_RESERVED_S / spacing))


def why_rate(name: str, declared: Declaration) -> str:
    """For people who look at a waiting run."""
    per = timedelta(seconds=declared.rate_per_s or 0.0)
    span = f"{per.total_seconds():g} s" if per < timedelta(minutes=2) else str(per)
    return f"rate of {name}: {declared.rate_limit} per {span}"
