"""Reads the facts about an installation that `troth.view.doctor` judges."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

from troth.base import settings
from troth.base.errors import UsageError
from troth.store import migrate
from troth.store.connect import AsyncConnection, connect_async
from troth.store.road import try_road
from troth.view import health, workers
from troth.view.doctor import Facts, Here
from troth.view.paging import MOST_ROWS
from troth.view.store import READ_LIMIT_S, reading

_LOOKS = 3  # at the clock: the quickest answer says most


async def facts(
    url: str,
    schema: str,
    environ: Mapping[str, str] | None = None,
    *,
    limit_s: float = READ_LIMIT_S,
) -> Facts:
    """All facts, from this process and its environment, and from the database. A statement may take *limit_s* seconds.

    Raises `DatabaseUnavailable`, and a database error if the time does not suffice.
    """
    road = await try_road(url)
    async with await connect_async(url) as opened:
        skew_s, error_s = await _skew(opened, schema)
        async with reading(opened, schema, limit_s) as tx:
            found = await migrate.status_in(tx, schema)
            fits = found.problem() is None
            return Facts(
                here=_here(os.environ if environ is None else environ, skew_s, error_s),
                road=road,
                server=await health.server(tx, schema),
                settings=await health.settings(tx, schema),
                migrations=found,
                tables=await health.tables(tx, schema),
                weeks=await health.weeks(tx, schema) if fits else None,
                sessions=await health.sessions(tx, schema),
                snapshots=await health.snapshots(tx, schema),
                workers=(await workers.processes(tx, schema, limit=MOST_ROWS)).rows if fits else (),
                gone=await workers.gone(tx, schema) if fits else (),
                versions=await workers.versions(tx, schema) if fits else (),
                ahead_s=await workers.ahead(tx, schema) if fits else 0.0,
            )


async def _skew(opened: AsyncConnection, schema: str) -> tuple[float, float]:
    """How far this machine's clock is ahead of the server's, in seconds, and how far wrong that may be."""
    looks = []
    for _ in range(_LOOKS):
        before = time.time()
        row = await (await opened.execute(health.queries(schema).clock)).fetchone()
        after = time.time()
        assert row is not None
        looks.append(((after - before) / 2, (before + after) / 2 - row[0]))
    error_s, skew_s = min(looks)
    return skew_s, error_s


def _here(environ: Mapping[str, str], skew_s: float, error_s: float) -> Here:
    wrong = []
    found = settings.DEFAULTS
    for name in settings.TABLE:
        text = environ.get(settings.variable(name))
        try:
            if text:
                settings.value(name, text)
        except UsageError as error:
            wrong.append(str(error))
    if not wrong:
        found = settings.read(environ)
    unknown = tuple(settings.complaint(*each) for each in settings.unknown(environ).items())
    return Here(skew_s, error_s, unknown, tuple(wrong), found.connections, found.processes)
