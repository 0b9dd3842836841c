"""What becomes of events that were taken in, with a real worker."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import psycopg
import pytest

from tests.harness.cell import open_cell
from tests.inbox.site import QUICK, Site, stripe_event
from troth.base.errors import UsageError
from troth.inbox import Superseded, store
from troth.inbox.model import Claimed
from troth.inbox.replay import replay


class EarlyError(Exception):
    pass


async def test_an_event_is_applied_once_in_the_order_of_its_object(site: Site) -> None:
    inbox = site.inbox()
    inbox.on("thing.*")(site.note)
    events = [stripe_event(n) for n in (3, 1, 2)]
    await site.deliver(inbox, *events, *events)
    async with site.working():
        await site.wait_states(evt_1="applied", evt_2="applied", evt_3="applied")
        assert site.did() == ["evt_1", "evt_2", "evt_3"]
        await site.deliver(inbox, stripe_event(2), stripe_event(4))
        await site.wait_states(evt_4="applied")
    assert site.did() == ["evt_1", "evt_2", "evt_3", "evt_4"]
    assert site.rows("SELECT * FROM {s}.inbox_object") == []
    assert site.value("SELECT delivered FROM {s}.inbox_event WHERE event_id = 'evt_2'") == 3


async def test_a_slow_handler_holds_up_its_object_and_no_other(site: Site) -> None:
    inbox = site.inbox(concurrency=2)
    go, begun = asyncio.Event(), asyncio.Event()

    @inbox.on("thing.changed")
    async def handle(tx, event) -> None:
        if event.id == "evt_1":
            begun.set()
            await go.wait()
        await site.note(tx, event)

    await site.deliver(inbox, stripe_event(1), stripe_event(2))
    async with site.working():
        await begun.wait()
        others = [stripe_event(n, about=f"other {n}") for n in range(3, 9)]
        # Taking in waits for no handler, not even for the one of the same object.
        await asyncio.wait_for(site.deliver(inbox, stripe_event(9), *others), 5)
        await site.wait(lambda: len(site.did()) == 6, "the others are applied")
        assert site.states()["evt_2"] == "received"
        go.set()
        await site.wait(lambda: len(site.did()) == 9, "all are applied")
    assert [each for each in site.did() if each in {"evt_1", "evt_2", "evt_9"}] == [
        "evt_1",
        "evt_2",
        "evt_9",
    ]


async def test_early_events_are_parked_until_what_they_wait_for_came(site: Site) -> None:
    inbox = site.inbox(
        parking=QUICK.__class__(first=timedelta(hours=1), longest=timedelta(hours=1))
    )
    created = asyncio.Event()

    @inbox.on("thing.*", parks_on=(EarlyError,))
    async def handle(tx, event) -> None:
        if event.type == "thing.created":
            created.set()
        elif not created.is_set():
            raise EarlyError("not created yet")
        await site.note(tx, event)

    async with site.working():
        await site.deliver(inbox, stripe_event(1), stripe_event(2))
        await site.wait_states(evt_1="parked", evt_2="parked")
        assert (
            site.value("SELECT reason FROM {s}.inbox_event WHERE event_id = 'evt_1'")
            == "EarlyError: not created yet"
        )
        await site.deliver(inbox, stripe_event(3, "thing.created"))
        await site.wait_states(evt_1="applied", evt_2="applied", evt_3="applied")
    assert site.did() == ["evt_3", "evt_1", "evt_2"]


async def test_what_is_early_for_too_long_is_quarantined_and_blocks_nothing(site: Site) -> None:
    inbox = site.inbox(park_limit=timedelta(milliseconds=100))

    @inbox.on("thing.*", parks_on=(EarlyError,))
    async def handle(tx, event) -> None:
        if event.id == "evt_1":
            raise EarlyError
        await site.note(tx, event)

    async with site.working():
        await site.deliver(inbox, stripe_event(1))
        await site.wait_states(evt_1="quarantined")
        await site.deliver(inbox, stripe_event(2))
        await site.wait_states(evt_2="applied")


async def test_poison_is_quarantined_blocks_its_object_and_is_replayed(site: Site) -> None:
    inbox = site.inbox()
    tries: list[int] = []
    mended = asyncio.Event()

    @inbox.on("thing.changed")
    async def handle(tx, event) -> None:
        await site.note(tx, event)
        if event.id == "evt_1" and not mended.is_set():
            tries.append(event.attempt)
            raise ZeroDivisionError("poison")

    async with site.working():
        await site.deliver(inbox, stripe_event(1), stripe_event(2), stripe_event(3, about="other"))
        await site.wait_states(evt_1="quarantined", evt_3="applied")
        assert tries == [1, 2, 3]
        assert site.states()["evt_2"] == "received"
        await site.deliver(inbox, stripe_event(4))
        reason = site.value("SELECT reason FROM {s}.inbox_event WHERE event_id = 'evt_1'")
        assert reason.startswith("Traceback")
        assert "ZeroDivisionError: poison" in reason
        assert site.did() == ["evt_3"]
        mended.set()
        async with await psycopg.AsyncConnection.connect(site.url) as tx:
            await replay(tx, site.schema, "stripe", "evt_1", by="ada", note="mended")
        await site.wait_states(evt_1="applied", evt_2="applied", evt_4="applied")
    assert site.did() == ["evt_3", "evt_1", "evt_2", "evt_4"]
    assert site.rows("SELECT by, note, was FROM {s}.inbox_replay") == [
        ("ada", "mended", "quarantined")
    ]


async def test_poison_that_blocks_nothing(site: Site) -> None:
    inbox = site.inbox()

    @inbox.on("thing.changed", blocks=False)
    async def handle(tx, event) -> None:
        if event.id == "evt_1":
            raise ZeroDivisionError
        await site.note(tx, event)

    await site.deliver(inbox, stripe_event(1), stripe_event(2))
    async with site.working():
        await site.wait_states(evt_1="quarantined", evt_2="applied")


async def test_a_database_error_of_the_handler_is_its_failure(site: Site) -> None:
    inbox = site.inbox()

    @inbox.on("thing.changed")
    async def handle(tx, event) -> None:
        await site.note(tx, event)
        await tx.execute("SELECT 1/0")

    await site.deliver(inbox, stripe_event(1))
    async with site.working():
        await site.wait_states(evt_1="quarantined")
    assert site.did() == []


async def test_a_conflict_in_the_database_is_no_failure_of_the_handler(site: Site) -> None:
    inbox = site.inbox()
    conflicts = iter(range(2))

    @inbox.on("thing.changed")
    async def handle(tx, event) -> None:
        await site.note(tx, event)
        if next(conflicts, None) is not None:
            await tx.execute("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '40001'; END $$")

    await site.deliver(inbox, stripe_event(1))
    async with site.working():
        await site.wait_states(evt_1="applied")
    assert site.did() == ["evt_1"]
    assert next(conflicts, None) is None
    assert site.value("SELECT failures FROM {s}.inbox_event") == 0


async def test_a_handler_that_takes_too_long_fails(site: Site) -> None:
    inbox = site.inbox(handler_timeout=timedelta(milliseconds=50))

    @inbox.on("thing.changed")
    async def handle(tx, event) -> None:
        await asyncio.Event().wait()

    await site.deliver(inbox, stripe_event(1))
    async with site.working():
        await site.wait_states(evt_1="quarantined")
    assert "TimeoutError" in site.value("SELECT reason FROM {s}.inbox_event")


async def test_unknown_types_are_kept_and_replayed_once_somebody_handles_them(site: Site) -> None:
    inbox = site.inbox()
    await site.deliver(inbox, stripe_event(1, "strange.thing"), stripe_event(2))
    inbox.on("thing.changed")(site.note)
    async with site.working():
        await site.wait_states(evt_1="ignored", evt_2="applied")
    again = Site.__new__(Site)
    again.__dict__ = site.__dict__ | {"troth": type(site.troth)(site.url, schema=site.schema)}
    later = again.inbox()
    later.on("strange.*")(site.note)
    async with again.working(), await psycopg.AsyncConnection.connect(site.url) as tx:
        await replay(tx, site.schema, "stripe", "evt_1", by="ada", note=None)
        await tx.commit()
        await site.wait_states(evt_1="applied")


async def test_the_newest_wins_where_it_was_asked_for(site: Site) -> None:
    inbox = site.inbox(newest_wins=True)
    inbox.on("thing.changed")(site.note)
    async with site.working():
        await site.deliver(inbox, stripe_event(5))
        await site.wait_states(evt_5="applied")
        await site.deliver(inbox, stripe_event(4), stripe_event(3, about="other"), stripe_event(6))
        await site.wait_states(evt_4="superseded", evt_3="applied", evt_6="applied")


async def test_a_claim_sees_what_was_committed_before_it_had_the_object(site: Site) -> None:
    """The hazard: its statement began while another process applied a newer event, and had the object after that."""
    inbox = site.inbox(newest_wins=True)
    await site.deliver(inbox, stripe_event(4), stripe_event(5))
    async with open_cell(site.url, site.schema) as cell:
        first, second = await cell.session(), await cell.session()
        async with first.transaction():
            await first.execute(f"LOCK TABLE {site.schema}.inbox_object")
            claiming = await cell.blocked(
                store.claim(second, site.schema, "stripe", 60.0), second, first
            )
            for change in (
                "state = 'applied' WHERE event_id = 'evt_5'",
                "failures = 2 WHERE event_id = 'evt_4'",
            ):
                await first.execute(f"UPDATE {site.schema}.inbox_event SET {change}")
        claimed = await claiming
    assert isinstance(claimed, Claimed)
    assert (claimed.event.id, claimed.failures, claimed.overtaken) == ("evt_4", 2, True)


async def test_the_next_event_of_an_object_does_not_wait_for_the_clock(
    site: Site, monkeypatch
) -> None:
    """Nor does a retry: who has ended a turn looks again at once."""
    monkeypatch.setattr("troth.inbox.process._BUSY_AGAIN_S", 3600.0)
    monkeypatch.setattr("troth.inbox.process._IDLE_AGAIN_S", 3600.0)
    inbox = site.inbox()

    @inbox.on("thing.*")
    async def handle(tx, event) -> None:
        await site.note(tx, event)
        if event.attempt == 1:
            raise ZeroDivisionError

    await site.deliver(inbox, *(stripe_event(n) for n in range(1, 6)))
    async with site.working():
        await site.wait(lambda: len(site.did()) == 5, "all are applied")
    assert site.did() == [f"evt_{n}" for n in range(1, 6)]


async def test_a_handler_finds_an_event_superseded(site: Site) -> None:
    inbox = site.inbox()

    @inbox.on("thing.changed")
    async def handle(tx, event) -> Superseded | None:
        return Superseded("seen newer")

    await site.deliver(inbox, stripe_event(1))
    async with site.working():
        await site.wait_states(evt_1="superseded")
    assert site.value("SELECT reason FROM {s}.inbox_event") == "seen newer"


async def test_an_event_that_is_taken_in_while_its_object_is_put_to_rest_is_not_stranded(
    site: Site,
) -> None:
    """The hazard: the worker sees nothing more of the object, and deletes its row; the event commits after that."""
    inbox = site.inbox()
    go, begun = asyncio.Event(), asyncio.Event()

    @inbox.on("thing.*")
    async def handle(tx, event) -> None:
        if event.id == "evt_1":
            begun.set()
            await go.wait()
        await site.note(tx, event)

    await site.deliver(inbox, stripe_event(1))
    async with site.working():
        await begun.wait()
        async with await psycopg.AsyncConnection.connect(site.url) as tx:
            from tests.inbox.site import signed

            await asyncio.wait_for(inbox.accept(tx, *signed(stripe_event(2))), 5)
            go.set()
            await site.wait_states(evt_1="applied")  # while the other one is not committed yet
            await tx.commit()
        await site.wait_states(evt_2="applied")
    assert site.rows("SELECT * FROM {s}.inbox_object") == []


async def test_a_process_that_stands_still_loses_its_object(site: Site) -> None:
    inbox = site.inbox()
    inbox.on("thing.*")(site.note)
    await site.deliver(inbox, stripe_event(1))
    frozen = await psycopg.AsyncConnection.connect(site.url)
    claim = f"SELECT head FROM {site.schema}.inbox_claim('stripe', NULL, 0.3)"
    assert await (await frozen.execute(claim)).fetchone() == ("evt_1",)
    pid = frozen.info.backend_pid
    async with site.working():
        gone = "SELECT NOT EXISTS (SELECT 1 FROM pg_stat_activity WHERE pid = %s)"
        await site.wait(lambda: site.value(gone, pid), "the server ends its session")
        site.rows("SELECT pg_notify(%s, '')", f"{site.schema}.inbox")  # not to wait 15 s
        await site.wait_states(evt_1="applied")
    with pytest.raises(psycopg.Error, match="terminat"):
        await frozen.execute("SELECT 1")
    await frozen.close()


def test_definitions_that_cannot_be(site: Site) -> None:
    inbox = site.inbox()
    inbox.on("a")(site.note)
    with pytest.raises(UsageError, match="a has a handler"):
        inbox.on("a")(site.note)
    with pytest.raises(UsageError, match="async def"):
        inbox.on("b")(lambda tx, event: None)  # type: ignore[arg-type,return-value]
    with pytest.raises(UsageError, match="types"):
        inbox.on()(site.note)
    with pytest.raises(UsageError, match="30 days"):
        site.inbox(keep=timedelta(days=29))


async def test_a_run_that_a_handler_starts_exists_if_and_only_if_the_event_is_applied(
    site: Site,
) -> None:
    inbox = site.inbox()

    @site.troth.workflow
    async def follow_up(event: str) -> str:
        return event

    @inbox.on("thing.*")
    async def handle(tx, event) -> None:
        await site.troth.start(follow_up, event.id, key=event.id, tx=tx)
        if event.attempt == 1:
            raise ZeroDivisionError

    await site.deliver(inbox, stripe_event(1))
    async with site.working():
        await site.wait_states(evt_1="applied")
        ended = "SELECT count(*) FROM {s}.run_history"
        await site.wait(lambda: site.value(ended) == 1, "the run ends")
    assert site.value("SELECT failures FROM {s}.inbox_event") == 1
