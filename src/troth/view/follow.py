"""Following runs as they move: looks once a second, and sooner when a hint comes. A lost connection is made again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import datetime, timedelta
from typing import Self, TypeVar
from uuid import UUID

from troth.journal.bell import DONE, MAIL, READY
from troth.journal.model import ENDED, RunState
from troth.store.connect import AsyncConnection, connect_async, listen
from troth.store.errors import StoreError
from troth.store.failure import DatabaseError, Failure, failure_of
from troth.store.tx import Tx
from troth.view import store
from troth.view.model import (
    BEGINNING,
    LAST_ID,
    MOST_RUNS,
    JournalEntry,
    Moment,
    RunHeader,
    RunLine,
)
from troth.view.runs import RunFilter, runs
from troth.view.timeline import timeline

log = logging.getLogger("troth.view")

T = TypeVar("T")

POLL_S = 1.0
_CLOSEST_S = 0.1  # hints may come by the thousand
_OVERLAP_S = 60.0  # an entry may become visible this long after the time that it carries
_LATE_MS = 10_000  # a run may become visible this long after the time that is in its id
_FIRST_LIVE = 50
_MOST_PAGES = 10
_LIVE = RunFilter(states=frozenset(RunState) - ENDED)


class Follower:
    """Follows runs of one schema. Use it as an asynchronous context manager."""

    def __init__(self, url: str, schema: str) -> None:
        self._url = url
        self._schema = schema
        self._connection: AsyncConnection | None = None
        self._hint = asyncio.Event()
        self._listener: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Raises `DatabaseUnavailable`."""
        self._connection = await connect_async(self._url)
        self._listener = asyncio.create_task(self._listen(), name="troth tail")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)
        await self._disconnect()

    async def run(self, run_id: UUID) -> AsyncGenerator[Moment | RunHeader, None]:
        """What is recorded of a run and each state that it is seen in, until it has ended.

        Raises `RunNotFoundError`.
        """
        seen: set[tuple[str, int, int]] = set()
        since = BEGINNING
        last: tuple[str, str | None] | None = None
        while True:
            # The state first: what was recorded before the end is there when the end is.
            header = await self._read(lambda tx: store.header(tx, self._schema, run_id))
            found = await self._entries(run_id, since)
            for moment in timeline(found):
                identity = (moment.entry.path, moment.entry.kind, moment.entry.attempt)
                if identity not in seen:
                    seen.add(identity)
                    yield moment
            if found:
                since = found[-1].at - timedelta(seconds=_OVERLAP_S)
            state = (header.line.state, header.line.reason)
            if state != last:
                last = state
                yield header
            if header.line.has_ended:
                return
            await self._next()

    async def all(self) -> AsyncGenerator[RunLine, None]:
        """Runs that are alive, then every run that begins and every change of state that is seen. Never ends."""
        known: dict[UUID, str] = {}
        mark = await self._read(lambda tx: store.latest_id(tx, self._schema))
        for line in await self._newer(_earlier(mark)):
            if line.has_ended and line.id <= mark:
                known[line.id] = line.state  # it is not news
        for line in reversed(await self._runs(_LIVE, LAST_ID, store.FIRST_ID, _FIRST_LIVE)):
            known[line.id] = line.state
            yield line
        while True:
            above = _earlier(mark)
            fresh = await self._newer(above)
            mark = max([mark, *(line.id for line in fresh)])
            listed = {line.id for line in fresh}
            alive = [
                i for i, state in known.items() if i not in listed and RunState(state) not in ENDED
            ]
            older = await self._lines(sorted(alive)[-MOST_RUNS:])
            for line in sorted([*older, *fresh], key=lambda line: line.id):
                if known.get(line.id) != line.state:
                    known[line.id] = line.state
                    yield line
            known = {i: s for i, s in known.items() if i > above or RunState(s) not in ENDED}
            await self._next()

    async def _newer(self, above: UUID) -> list[RunLine]:
        """The runs above an id; if there are very many, the newest of them."""
        found: list[RunLine] = []
        for _ in range(_MOST_PAGES):
            before = found[-1].id if found else LAST_ID
            page = await self._runs(RunFilter(), before, above, MOST_RUNS)
            found += page
            if len(page) < MOST_RUNS:
                return found
        log.warning("runs begin faster than they can be shown here; some are left out")
        return found

    async def _entries(self, run_id: UUID, since: datetime) -> list[JournalEntry]:
        return await self._read(lambda tx: store.entries(tx, self._schema, run_id, since=since))

    async def _lines(self, ids: list[UUID]) -> list[RunLine]:
        return await self._read(lambda tx: store.lines(tx, self._schema, ids)) if ids else []

    async def _runs(self, which: RunFilter, before: UUID, above: UUID, limit: int) -> list[RunLine]:
        return await self._read(
            lambda tx: runs(tx, self._schema, which, before=before, above=above, limit=limit)
        )

    async def _read(self, act: Callable[[Tx], Awaitable[T]]) -> T:
        """Read; for as long as the database cannot be reached, try again."""
        told = False
        while True:
            try:
                if self._connection is None:
                    self._connection = await connect_async(self._url)
                async with store.reading(self._connection, self._schema) as tx:
                    return await act(tx)
            except (DatabaseError, StoreError, OSError) as error:
                if not isinstance(error, StoreError) and failure_of(error) is not Failure.LOST:
                    raise
                if not told:
                    log.warning("the database cannot be reached; trying on: %s", error)
                told = True
                await self._disconnect()
                await asyncio.sleep(POLL_S)

    async def _next(self) -> None:
        """Wait for a hint, or for long enough."""
        await asyncio.sleep(_CLOSEST_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(POLL_S - _CLOSEST_S):
                await self._hint.wait()
        self._hint.clear()

    async def _listen(self) -> None:
        channels = [f"{self._schema}.{channel}" for channel in (READY, MAIL, DONE)]
        while True:
            with contextlib.suppress(DatabaseError, StoreError, OSError):
                connection = await connect_async(self._url)
                async with connection:
                    async for _ in listen(connection, channels, ready=self._hint.set):
                        self._hint.set()
            await asyncio.sleep(POLL_S)

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(DatabaseError, OSError):
                await connection.close()


def _earlier(mark: UUID) -> UUID:
    """The first id of a moment somewhat before the one in *mark*."""
    return UUID(int=max(0, (mark.int >> 80) - _LATE_MS) << 80)
