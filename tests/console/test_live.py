"""Streams: an event after a change and none without, nothing missed over a lost connection, an end to everything."""

from __future__ import annotations

import asyncio
import re
from contextlib import aclosing, asynccontextmanager

import pytest
import pytest_asyncio

from tests.cli import program
from tests.cli.parked import Journal, park
from tests.console.conftest import by_header, rows
from troth.console import Console, live
from troth.console.database import Reach
from troth.console.live import Watcher
from troth.store.connect import connect_async
from troth.view import store
from troth.view.pulse import TOPICS, pulse

BUG = {"at": "x", "message": "it broke"}
PATIENCE_S = 20


@pytest_asyncio.fixture
async def reach(cell):
    opened = Reach(program.troth, 5.0)
    await opened.open()
    yield opened
    await opened.close()


@pytest_asyncio.fixture
async def watcher(reach):
    watching = Watcher(reach)
    yield watching
    await watching.close()


@asynccontextmanager
async def changes(watcher: Watcher, *topics: str, known: str = ""):
    """`next()` waits for the next pulse; heartbeats are passed over."""
    async with aclosing(watcher.changes(topics, known)) as stream:

        async def following() -> str:
            async with asyncio.timeout(PATIENCE_S):
                async for found in stream:
                    if found:
                        return found
            raise AssertionError("the stream has ended")

        yield following


async def test_a_change_is_told_and_quiet_is_not(cell, watcher):
    run = park(cell, Journal(), "bug", BUG)
    async with changes(watcher, f"run:{run}") as following:
        first = await following()
        waiting = asyncio.create_task(following())
        for _ in range(3):  # three looks without a change
            await felt(watcher)
        assert not waiting.done(), "nothing has changed"
        rows(cell, "UPDATE {}.run SET claim = claim + 1 WHERE id = %s RETURNING 1", run)
        assert await waiting != first


async def felt(watcher: Watcher) -> None:
    """Wait until the pulses were felt once more."""
    async with asyncio.timeout(PATIENCE_S), watcher._felt:
        await watcher._felt.wait()


@pytest.mark.parametrize("topic", ["runs", "attention"])
async def test_a_new_run_and_a_run_that_ends_change_the_lists(topic, cell, watcher):
    async with changes(watcher, topic) as following:
        seen = [await following()]
        run = park(cell, Journal(), "bug", BUG)
        seen.append(await following())
        rows(cell, "DELETE FROM {}.run WHERE id = %s RETURNING 1", run)
        seen.append(await following())
        assert len(set(seen)) == 3


async def test_what_was_seen_last_decides_what_is_new_after_a_lost_connection(cell, watcher):
    run = park(cell, Journal(), "bug", BUG)
    topic = f"run:{run}"
    async with changes(watcher, topic) as following:
        last = await following()
    rows(cell, "UPDATE {}.run SET claim = claim + 1 WHERE id = %s RETURNING 1", run)
    async with changes(watcher, topic, known=last) as following:
        now = await following()
        assert now != last, "it changed while nobody listened"
    async with aclosing(watcher.changes([topic], now)) as stream:
        waiting = asyncio.ensure_future(anext(stream))
        await felt(watcher)
        await felt(watcher)
        assert not waiting.done(), "there is nothing new"
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


async def test_what_changes_between_a_page_and_its_stream_is_told(cell, watcher, meet):
    run = park(cell, Journal(), "bug", BUG)
    page = await meet().text(f"/runs/{run}")
    seen = re.search(r"seen=([0-9a-f]{16})", page)
    assert seen
    rows(cell, "UPDATE {}.run SET claim = claim + 1 WHERE id = %s RETURNING 1", run)
    async with changes(watcher, f"run:{run}", known=seen[1]) as following:
        assert await following() != seen[1]


async def test_nobody_watches_and_the_watcher_rests(cell, watcher):
    run = park(cell, Journal(), "bug", BUG)
    async with changes(watcher, f"run:{run}") as following:
        await following()
        tasks = list(watcher._tasks)
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*tasks, return_exceptions=True)
    assert watcher._pulses == {}
    async with changes(watcher, f"run:{run}") as following:
        assert await following(), "and it wakes again"


async def test_many_pages_share_one_look(cell, watcher, reach, monkeypatch):
    asked: list[str] = []

    async def counted(tx, schema, topic):
        asked.append(topic)
        return await pulse(tx, schema, topic)

    monkeypatch.setattr(live, "pulse", counted)
    run = park(cell, Journal(), "bug", BUG)
    streams = [watcher.changes([f"run:{run}"], "") for _ in range(20)]
    async with asyncio.timeout(PATIENCE_S):
        firsts = await asyncio.gather(*(anext(each) for each in streams))
    assert len(set(firsts)) == 1
    assert len(asked) <= 5
    for each in streams:
        await each.aclose()


async def test_a_heartbeat_comes_when_nothing_changes(cell, watcher, monkeypatch):
    monkeypatch.setattr(live, "HEARTBEAT_S", 0.01)
    run = park(cell, Journal(), "bug", BUG)
    async with aclosing(watcher.changes([f"run:{run}"], "")) as stream, asyncio.timeout(PATIENCE_S):
        async for found in stream:
            if not found:
                break


async def test_a_stream_over_http_carries_ids_and_ends_after_a_while(cell, monkeypatch):
    run = park(cell, Journal(), "bug", BUG)
    console = Console(program.troth, identify=by_header)
    monkeypatch.setattr(live, "LONGEST_S", 0.0)
    sent: list[bytes] = []
    status: list[int] = []

    async def send(message):
        if message["type"] == "http.response.start":
            status.append(message["status"])
        sent.append(message.get("body", b""))

    async def receive():
        await asyncio.Event().wait()

    scope = {
        "type": "http", "method": "GET", "path": "/live", "root_path": "", "scheme": "http",
        "query_string": f"topic=run:{run}".encode(), "server": ("console.test", 80), "http_version": "1.1",
        "headers": [(b"x-test-name", b"ada"), (b"x-test-role", b"VIEWER"), (b"last-event-id", b"old")],
    }  # fmt: skip
    try:
        async with asyncio.timeout(PATIENCE_S):
            await console(scope, receive, send)
    finally:
        await console._watcher.close()
        await console._site.reach.close()
    text = b"".join(sent).decode()
    assert status == [200]
    assert text.startswith(": watching\n\nid: ")
    assert "\nevent: changed\ndata: \n\n" in text


@pytest.mark.parametrize(
    "query",
    [
        "",
        "topic=nonsense",
        "topic=run:x",
        "&".join(["topic=run:" + "0" * 32] * 1 + [f"topic={each}" for each in TOPICS]),
    ],
)
async def test_a_stream_of_what_there_is_not_is_refused(query, cell, meet):
    assert (await meet().get(f"/live?{query}")).status_code == 400


async def test_there_is_an_end_to_how_many_pages_are_live(cell, meet, monkeypatch):
    monkeypatch.setattr(live, "MOST_STREAMS", 0)
    answer = await meet().get("/live?topic=runs")
    assert answer.status_code == 503


async def test_every_topic_has_a_pulse(cell):
    url, schema = cell
    async with await connect_async(url) as connection, store.reading(connection, schema) as tx:
        for topic, tables in TOPICS.items():
            assert await pulse(tx, schema, topic) != ""
            for table in tables:
                row = await (
                    await tx.execute("SELECT to_regclass(%s)", (f"{schema}.{table}",))
                ).fetchone()
                assert row is not None
                assert row[0] is not None, f"{topic} is about {table}, which there is not"


@pytest.mark.parametrize(
    ("topic", "paths"),
    {
        "requests": ("/requests", "/requests/" + "01" * 32),
        "inbox": ("/inbox", "/inbox/event?source=stripe&event=evt_1"),
        "outbox": ("/outbox", "/outbox/endpoints"),
        "ledger": ("/ledger", "/ledger/account?code=a"),
        "machines": ("/machines", "/machines/machine?machine=m", "/machines/object?machine=m&id=o"),
    }.items(),
)
async def test_a_page_follows_what_it_shows(topic, paths, cell, meet):
    for path in paths:
        page = (await meet().get(path)).text
        assert f'data-connect="/live?topic={topic}&amp;seen=' in page, path
