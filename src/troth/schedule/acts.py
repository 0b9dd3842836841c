"""What people do with schedules that takes more than one statement and no program: plans."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import islice
from typing import Final

from troth.base.errors import UsageError
from troth.schedule import rules, store
from troth.schedule.model import Terms
from troth.store.plan import Plan
from troth.store.queries import Queries

MOST_AT_ONCE: Final = 1000  # firings that may be made up for at once
_INSTANT: Final = timedelta(microseconds=1)


def times_between(q: Queries, name: str, since: datetime, until: datetime) -> Plan[list[datetime]]:
    """When a schedule fires from *since* to *until*. Raises `UsageError` for more than 1000 times, and for the future."""
    if since.tzinfo is None or until.tzinfo is None:
        raise UsageError("since and until need a time zone")
    held = yield from store.hold(q, name)
    return within(name, held.stored.terms, since, until, held.now)


def within(
    name: str, terms: Terms, since: datetime, until: datetime, now: datetime
) -> list[datetime]:
    """The same, of terms that are known. Pure."""
    if until > now:
        raise UsageError("until has not come yet: what is to come fires by itself")
    every = rules.times(terms.cron, terms.tz, since - _INSTANT, until)
    found = list(islice(every, MOST_AT_ONCE + 1))
    if len(found) > MOST_AT_ONCE:
        msg = (
            f"schedule {name} has more than {MOST_AT_ONCE} times in that range: take a shorter one"
        )
        raise UsageError(msg)
    return found


def backfill(
    q: Queries, name: str, since: datetime, until: datetime, by: str, note: str | None
) -> Plan[list[datetime]]:
    """Ask for a firing at each of these times; which they are."""
    found = yield from times_between(q, name, since, until)
    if found:
        yield from store.wish(q, name, found, by, note)
    return found
