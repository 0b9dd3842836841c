"""Telling pages that something has changed: one stream of server-sent events for each page that is open and not paused.

An event has no content but its id, the pulse of what the page shows: the page reads itself again. So a stream needs no
rights of its own to what changed, and a page that missed events misses nothing: whoever connects says which pulse the page
has seen last, and is told at once if there is another one. One watcher feels the pulses of all topics that anybody watches, once a second, and
sooner when the database hints that something moved. It rests when nobody watches.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Sequence

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from troth.base.errors import TrothError, UsageError
from troth.console.database import Reach
from troth.console.site import Site
from troth.journal.bell import DONE, MAIL, READY
from troth.store.connect import connect_async, listen
from troth.store.errors import StoreError
from troth.store.failure import DatabaseError
from troth.store.tx import Tx
from troth.view.pulse import pulse, require_topic

log = logging.getLogger("troth.console")

POLL_S = 1.0
CLOSEST_S = 0.2  # hints may come by the thousand
HEARTBEAT_S = 15.0  # so that proxies, and we, notice a connection that is gone
LONGEST_S = 300.0  # then the browser asks anew, and it is asked anew who it is
MOST_STREAMS = 200
_MOST_TOPICS = 8
_UNKNOWN = "?"  # the pulse while the database cannot be reached


class Watcher:
    """Feels the pulses of all topics that are watched."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._watched: Counter[str] = Counter()
        self._pulses: dict[str, str] = {}
        self._felt = asyncio.Condition()
        self._hint = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._streams = 0

    async def close(self) -> None:
        """End all of it."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def full(self) -> bool:
        """Are there as many streams as one process should have?"""
        return self._streams >= MOST_STREAMS

    async def changes(self, topics: Sequence[str], known: str) -> AsyncGenerator[str]:
        """The common pulse of *topics* each time it is another one than *known*, which a page has seen last.

        An empty text now and then: nothing has changed.
        """
        self._streams += 1
        self._watched.update(topics)
        try:
            self._wake()
            while True:
                found = self._common(topics)
                if found is not None and found != known:
                    known = found
                    yield found
                async with self._felt:
                    try:
                        async with asyncio.timeout(HEARTBEAT_S):
                            await self._felt.wait()
                    except TimeoutError:
                        yield ""
        finally:
            self._streams -= 1
            self._watched.subtract(topics)
            self._watched += Counter()  # without those that nobody watches
            for topic in topics:
                if topic not in self._watched:
                    self._pulses.pop(topic, None)

    def _common(self, topics: Sequence[str]) -> str | None:
        """None as long as one of them was not felt."""
        if any(topic not in self._pulses for topic in topics):
            return None
        return _joined([self._pulses[topic] for topic in topics])

    def _wake(self) -> None:
        self._hint.set()
        if not self._tasks or any(task.done() for task in self._tasks):
            for task in self._tasks:
                task.cancel()
            self._tasks = [
                asyncio.create_task(self._feel(), name="troth console: pulses"),
                asyncio.create_task(self._listen(), name="troth console: hints"),
            ]

    async def _feel(self) -> None:
        while self._watched:
            self._hint.clear()
            topics = list(self._watched)
            try:
                async with self._reach.reading() as tx:
                    found = {topic: await pulse(tx, self._reach.schema, topic) for topic in topics}
            except (TrothError, DatabaseError, OSError) as error:
                log.debug("no pulse: %s", error)
                found = dict.fromkeys(topics, _UNKNOWN)
            self._pulses.update(found)
            async with self._felt:
                self._felt.notify_all()
            await asyncio.sleep(CLOSEST_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_S - CLOSEST_S):
                    await self._hint.wait()
        # Nobody watches: whoever comes next wakes both tasks again.
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()

    async def _listen(self) -> None:
        channels = [f"{self._reach.schema}.{channel}" for channel in (READY, MAIL, DONE)]
        while True:
            with contextlib.suppress(DatabaseError, StoreError, OSError, TrothError):
                await self._reach.open()
                connection = await connect_async(self._reach.url)
                async with connection:
                    async for _ in listen(connection, channels, ready=self._hint.set):
                        self._hint.set()
            await asyncio.sleep(POLL_S)


async def seen(tx: Tx, schema: str, topics: Sequence[str]) -> str:
    """The common pulse of *topics*: a page that is read after this carries it, so that what changes meanwhile is not missed."""
    return _joined([await pulse(tx, schema, topic) for topic in topics])


def _joined(pulses: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(pulses).encode()).hexdigest()[:16]


async def stream(site: Site, watcher: Watcher, request: Request) -> Response:
    """`/live?topic=…&seen=…`: an event `changed` whenever a topic is not as it was seen. Raises `NotSignedInError`."""
    await site.door.who(request, site.reach)
    topics = list(dict.fromkeys(request.query_params.getlist("topic")))
    try:
        for topic in topics:
            require_topic(topic)
        if not 1 <= len(topics) <= _MOST_TOPICS:
            raise UsageError(f"a stream has 1 to {_MOST_TOPICS} topics")
    except UsageError as error:
        return PlainTextResponse(str(error), 400)
    if watcher.full:
        return PlainTextResponse("too many pages are live: pause some of them", 503)
    known = request.query_params.get("seen", "")
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(
        _events(watcher, topics, known), media_type="text/event-stream", headers=headers
    )


async def _events(watcher: Watcher, topics: Sequence[str], known: str) -> AsyncIterator[str]:
    ends = time.monotonic() + LONGEST_S
    yield ": watching\n\n"
    async with contextlib.aclosing(watcher.changes(topics, known)) as changes:
        async for found in changes:
            if not found:
                yield ": still here\n\n"
            else:
                yield f"id: {found}\nevent: changed\ndata: \n\n"
            if time.monotonic() > ends:
                return
