"""Forgetting, and acts of people on events."""

from __future__ import annotations

from datetime import timedelta

import psycopg
import pytest

from tests.inbox.site import Site, stripe_event
from troth.inbox import EventNotFoundError, ReplayError, State, store
from troth.inbox.keep import Keeper
from troth.inbox.model import Which
from troth.inbox.replay import replay, replay_all


def settle_all(site: Site, state: str, age: str) -> None:
    site.rows(
        "UPDATE {s}.inbox_event SET state = %s, received_at = now() - %s::interval, last_seen = now() - %s::interval WHERE state = 'received'",
        state, age, age,
    )  # fmt: skip


async def forget(site: Site, **keep: float) -> int:
    keeper = Keeper("stripe", site.schema, keep["ids"], keep.get("bodies", keep["ids"]))
    async with await psycopg.AsyncConnection.connect(site.url, autocommit=True) as connection:
        return await keeper.forget(connection)


async def test_old_settled_events_are_forgotten_and_open_ones_never(
    site: Site, monkeypatch
) -> None:
    monkeypatch.setattr("troth.inbox.keep.BATCH", 2)
    inbox = site.inbox()
    for first, state, age in (
        (0, "applied", "36 days"),
        (10, "ignored", "36 days"),
        (20, "quarantined", "90 days"),
        (30, "applied", "34 days"),
    ):
        await site.deliver(inbox, *(stripe_event(first + n) for n in range(5)))
        settle_all(site, state, age)
    await site.deliver(inbox, stripe_event(0, about="another"))
    assert site.value("SELECT count(*) FROM {s}.inbox_conflict") == 1
    site.rows("UPDATE {s}.inbox_event SET last_seen = now() WHERE event_id = 'evt_1'")
    assert await forget(site, ids=35 * 86400.0) == 9
    assert set(site.states()) == {"evt_1"} | {f"evt_{n}" for n in (*range(20, 25), *range(30, 35))}
    assert site.value("SELECT count(*) FROM {s}.inbox_conflict") == 0


async def test_bodies_may_be_forgotten_earlier_and_the_id_is_still_known(site: Site) -> None:
    inbox = site.inbox(keep_bodies=timedelta(days=7))
    await site.deliver(inbox, stripe_event(1), stripe_event(2))
    settle_all(site, "applied", "8 days")
    await site.deliver(inbox, stripe_event(3))
    await forget(site, ids=35 * 86400.0, bodies=7 * 86400.0)
    bodies = "SELECT event_id FROM {s}.inbox_event WHERE body IS NOT NULL"
    assert site.rows(bodies) == [("evt_3",)]
    (told,) = await site.deliver(inbox, stripe_event(1))
    assert (told.outcome, told.state) == ("duplicate", State.APPLIED)


async def test_a_worker_forgets_by_itself(site: Site) -> None:
    inbox = site.inbox()
    await site.deliver(inbox, stripe_event(1))
    settle_all(site, "applied", "36 days")
    async with site.working():
        await site.wait(lambda: not site.states(), "it is forgotten")


@pytest.mark.parametrize(
    ("state", "legal"), [(state, state in {"parked", "ignored", "quarantined"}) for state in State]
)
async def test_what_may_be_put_back(site: Site, state: State, legal: bool) -> None:
    inbox = site.inbox()
    await site.deliver(inbox, stripe_event(1))
    site.rows("UPDATE {s}.inbox_event SET state = %s, failures = 5", state)
    site.rows("DELETE FROM {s}.inbox_object")
    async with await psycopg.AsyncConnection.connect(site.url) as tx:
        if not legal:
            with pytest.raises(ReplayError, match=f"is {state}"):
                await replay(tx, site.schema, "stripe", "evt_1", by="ada", note=None)
            return
        assert await replay(tx, site.schema, "stripe", "evt_1", by="ada", note="why") is state
    assert site.rows("SELECT state, failures FROM {s}.inbox_event") == [("received", 0)]
    assert site.rows("SELECT by, note, was FROM {s}.inbox_replay") == [("ada", "why", state)]
    assert site.rows("SELECT object_key FROM {s}.inbox_object") == [("one",)]


async def test_all_of_a_state_are_put_back(site: Site) -> None:
    inbox = site.inbox()
    await site.deliver(inbox, *(stripe_event(n, about=f"o{n}") for n in range(3)))
    settle_all(site, "quarantined", "1 hour")
    await site.deliver(inbox, stripe_event(7))
    async with await psycopg.AsyncConnection.connect(site.url) as tx:
        done = await replay_all(
            tx, site.schema, State.QUARANTINED, Which(), limit=2, by="ada", note=None
        )
        done += await replay_all(
            tx, site.schema, State.QUARANTINED, Which("stripe"), limit=9, by="ada", note=None
        )
    assert sorted(done) == ["evt_0", "evt_1", "evt_2"]
    assert set(site.states().values()) == {"received"}


async def test_events_that_nobody_knows(site: Site) -> None:
    async with await psycopg.AsyncConnection.connect(site.url) as tx:
        with pytest.raises(EventNotFoundError, match="evt_9"):
            await replay(tx, site.schema, "stripe", "evt_9", by="ada", note=None)
        with pytest.raises(EventNotFoundError, match="anywhere"):
            await store.show(tx, site.schema, "evt_9", None)
