"""Acts on schedules."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

from troth.base import lengths
from troth.base.errors import UsageError
from troth.command.model import Author
from troth.console.deed import Deed, Given, Place, Preview
from troth.schedule import acts, store
from troth.schedule.model import Terms
from troth.store.plan import carry_out
from troth.store.tx import Tx
from troth.view import schedules as view

_SHOWN = 50  # times of a range


def _schedule(given: Given) -> str:
    return given.needed("schedule")


def _page(given: Given) -> Place:
    return "/schedule", {"name": given.text("schedule")}


async def _pause(tx: Tx, schema: str, author: Author, given: Given) -> None:
    await carry_out(
        tx, store.pause(store.queries(schema), _schedule(given), author.by, author.note)
    )


async def _resume(tx: Tx, schema: str, author: Author, given: Given) -> datetime | None:
    return await carry_out(
        tx, store.resume(store.queries(schema), _schedule(given), author.by, author.note)
    )


def _resumed(given: Given, next_at: datetime | None) -> str:
    next_ = f": next at {next_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if next_at else ""
    return f"{_schedule(given)} goes on{next_}."


async def _run(tx: Tx, schema: str, author: Author, given: Given) -> None:
    q = store.queries(schema)
    await carry_out(tx, store.wish(q, _schedule(given), None, author.by, author.note))


# Making up for the past -----------------------------------------------------------------------------------------------


def _span(given: Given) -> dict[str, Any]:
    """From when until when; until is this minute if nothing is said. Raises `UsageError`."""
    now = datetime.now(UTC)
    since = _moment(given, "since", now)
    if given.text("until") is None:
        return {"since": since, "until": now.replace(second=0, microsecond=0)}
    return {"since": since, "until": _moment(given, "until", now)}


def _moment(given: Given, name: str, now: datetime) -> datetime:
    try:
        return lengths.moment(given.needed(name), now)
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from None


async def _preview(tx: Tx, schema: str, given: Given) -> Preview:
    name, span = _schedule(given), _span(given)
    line = (await view.schedule(tx, schema, name, limit=1)).line
    now = await store.now(tx, store.queries(schema))
    times = acts.within(name, Terms(line.cron, line.tz), span["since"], span["until"], now)
    mark = hashlib.sha256(repr(times).encode()).hexdigest()
    return Preview({"times": times[:_SHOWN], "count": len(times), "tz": line.tz}, mark)


async def _backfill(tx: Tx, schema: str, author: Author, given: Given) -> list[datetime]:
    q, span = store.queries(schema), _span(given)
    plan = acts.backfill(q, _schedule(given), span["since"], span["until"], author.by, author.note)
    return await carry_out(tx, plan)


def _backfilled(given: Given, times: list[datetime]) -> str:
    if not times:
        return f"{_schedule(given)} has no times in this range, so nothing is fired."
    count = f"{len(times)} {'time' if len(times) == 1 else 'times'}"
    return f"{_schedule(given)} will be fired for {count} by the next worker that can; what it has fired for before is left out."


DEEDS = (
    Deed(
        act="schedule.pause", title="Pause a schedule", button="Pause it", about=_schedule, do=_pause, hidden=("schedule",), back=_page,
        said=lambda given, _: f"{_schedule(given)} is paused, also over deployments. Runs that it has started go on.",
        note="Why, for those who wonder that it does not fire",
    ),
    Deed(
        act="schedule.resume", title="Let a schedule go on", button="Let it go on", about=_schedule, do=_resume,
        hidden=("schedule",), said=_resumed, back=_page,
    ),
    Deed(
        act="schedule.run", title="Fire a schedule now", button="Fire it once", about=_schedule, do=_run, hidden=("schedule",), back=_page,
        said=lambda given, _: f"{_schedule(given)} will be fired by the next worker that can.",
    ),
    Deed(
        act="schedule.backfill", title="Make up for the past", button="Fire for all of them", about=_schedule, do=_backfill,
        details=_span, hidden=("schedule", "since", "until"), preview=_preview, template="act_times.html", said=_backfilled,
        grave=True, told=lambda times: {"times": len(times)}, back=_page,
    ),
)  # fmt: skip
