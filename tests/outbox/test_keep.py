"""What has ended long ago is forgotten, and nothing that may still be wanted."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest

from tests.harness.cell import until
from tests.outbox.destinations import Memory
from troth import UsageError
from troth.outbox import Outbox, store
from troth.outbox.keep import Keeper
from troth.store.connect import connect_async
from troth.store.plan import carry_out

MONTH_S = 30 * 86400.0


async def message(desk, events: Outbox, *deliveries: tuple[str, str | None], age: str) -> UUID:
    """One of some age, with deliveries in these states that ended so long ago."""
    made = await events.publish(desk.tx, "a", 1)
    await desk.rows(
        "UPDATE {}.outbox_message SET published_at = now() - %s::interval, kept_from = now() - %s::interval WHERE id = %s",
        age, age, made,
    )  # fmt: skip
    ids = await desk.rows("SELECT id FROM {}.outbox_delivery WHERE message = %s ORDER BY id", made)
    for (delivery,), (state, ended) in zip(ids, deliveries, strict=True):
        await desk.rows(
            "UPDATE {}.outbox_delivery SET state = %s, ended_at = now() - %s::interval WHERE id = %s",
            state, ended, delivery,
        )  # fmt: skip
        await desk.rows(
            "INSERT INTO {}.outbox_attempt (delivery, claim, outcome) VALUES (%s, 1, 'so')",
            delivery,
        )
    return made


async def forget(desk, events: Outbox, keep_s: float = MONTH_S) -> int:
    return await Keeper(events.name, events.queries, keep_s).forget(desk.tx)


async def kept(desk) -> set[UUID]:
    return {row[0] for row in await desk.rows("SELECT id FROM {}.outbox_message")}


@pytest.mark.parametrize("batch", [1, 2, 100])
async def test_messages_that_ended_long_ago_are_forgotten_with_all_that_is_known_of_them(
    desk, monkeypatch, batch
):
    monkeypatch.setattr("troth.outbox.keep.BATCH", batch)
    events = desk.outbox(Memory(name="one"), Memory(name="two"))
    old, young = "31 days", "29 days"
    for state in ("delivered", "dead", "dropped"):
        await message(desk, events, (state, old), ("delivered", old), age="40 days")
    nobody = desk.outbox()
    await nobody.publish(desk.tx, "a", 1)  # nobody wanted it
    await desk.rows(
        "UPDATE {}.outbox_message SET kept_from = '2020-01-01' WHERE kept_from > now() - interval '1 h'"
    )
    stays = {
        await message(desk, events, ("delivered", old), ("pending", None), age="90 days"),
        await message(desk, events, ("in_doubt", old), ("delivered", old), age="90 days"),
        await message(desk, events, ("delivered", old), ("dead", young), age="90 days"),
        await message(desk, events, ("delivered", young), ("delivered", young), age=young),
    }
    other = desk.outbox(Memory(), name="other")
    stays.add(await message(desk, other, ("delivered", old), age="90 days"))
    assert await forget(desk, events) == 4
    assert await kept(desk) == stays
    for table, column in (("delivery", "message"), ("attempt", "delivery")):
        left = await desk.rows(f"SELECT count(DISTINCT {column}) FROM {{}}.outbox_{table}")
        assert left == [(5 if table == "delivery" else 9,)]


async def test_what_cannot_be_forgotten_is_not_looked_at_again_and_again(desk):
    """Else each hour would walk through all that has waited for months."""
    events = desk.outbox(Memory())
    waits = await message(desk, events, ("pending", None), age="90 days")
    ended = await message(desk, events, ("delivered", "10 days"), age="90 days")
    q = events.queries
    assert await store.forget(desk.tx, q, "events", MONTH_S, 10) == (2, 0)
    assert await store.forget(desk.tx, q, "events", MONTH_S, 10) == (0, 0)
    assert await store.forget(desk.tx, q, "events", 9 * 86400.0, 10) == (1, 1)
    assert await kept(desk) == {waits}
    assert ended


async def test_one_that_is_being_sent_again_is_neither_forgotten_nor_waited_for(desk):
    events = desk.outbox(Memory())
    mine = await message(desk, events, ("dead", "31 days"), age="31 days")
    await message(desk, events, ("dead", "31 days"), age="31 days")
    async with await connect_async(desk.url) as other:
        async with other.transaction():
            again = store.resend(events.queries, message=mine)
            assert await carry_out(other, again) == [mine]
            async with asyncio.timeout(5):
                assert await forget(desk, events) == 1
        assert await kept(desk) == {mine}
    assert await desk.states() == {"pending": 1}


async def test_a_worker_forgets_by_itself(desk):
    events = desk.outbox(Memory())
    await message(desk, events, ("delivered", "31 days"), age="31 days")

    async def forgotten() -> bool:
        return not await kept(desk)

    async with desk.working(events):
        await until(forgotten, "it is forgotten")


async def test_looking_costs_what_is_old_and_not_what_there_is(desk):
    events = desk.outbox(Memory())
    await desk.rows(
        "INSERT INTO {}.outbox_message (id, outbox, type, payload, headers)"
        " SELECT gen_random_uuid(), 'events', 'a', '1', '{{}}' FROM generate_series(1, 5000)"
    )
    await desk.rows("ANALYZE {}.outbox_message")
    plan = await desk.rows(
        "EXPLAIN SELECT m.id FROM {}.outbox_message m WHERE m.outbox = 'events' AND m.kept_from < now() - interval '30 d'"
        " ORDER BY m.kept_from LIMIT 1000"
    )
    assert any("outbox_message_kept" in row[0] for row in plan)
    assert await forget(desk, events) == 0


def test_a_time_that_cannot_be():
    with pytest.raises(UsageError, match="keep"):
        Outbox("events", destinations=[Memory()], keep=timedelta(0))
