"""Publishing: one commit with the user's rows, deliveries for those who want it, and no NOTIFY where none is needed."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from tests.outbox.destinations import Memory
from troth import PayloadError, Troth, UsageError
from troth.integrations.webhooks_out import Webhooks
from troth.outbox import Delivered, EndpointNotFoundError, Outbox
from troth.store.connect import connect_async, connect_blocking


async def test_a_rolled_back_transaction_publishes_nothing(desk):
    to = Memory()
    events = desk.outbox(to)
    async with desk.tx.transaction(force_rollback=True):
        await events.publish(desk.tx, "a", 1)
    async with desk.tx.transaction():
        message = await events.publish(desk.tx, "b", {"n": 1}, key="k", headers={"x": "y"})
    async with desk.working(events):
        await desk.until_states(delivered=1)
    assert [each.id for each in to.seen] == [message]
    assert (to.seen[0].payload, to.seen[0].key) == (b'{"n":1}', "k")
    assert to.seen[0].headers == {"x": "y"}
    assert await desk.rows("SELECT type FROM {}.outbox_message") == [("b",)]


async def test_a_thread_publishes_the_same(desk):
    to = Memory()
    events = desk.outbox(to)

    def publish() -> None:
        with connect_blocking(desk.url) as tx, tx.transaction():
            events.publish_blocking(tx, "a", [1], key="k")

    await asyncio.to_thread(publish)
    async with desk.working(events):
        await desk.until_states(delivered=1)
    assert to.seen[0].payload == b"[1]"


async def test_a_message_goes_to_those_who_want_its_type_and_were_there(desk):
    events = desk.outbox(Webhooks(), Memory())
    add = events.endpoints.add
    wanted = {
        (await add(desk.tx, "https://a.example/", types=types))[0]
        for types in (["*"], ["invoice.*"], ["x", "invoice.paid"], ["invoice.*", "*"])
    }
    for types in (["invoice"], ["invoice.paid.*"], ["Invoice.*"]):
        await add(desk.tx, "https://b.example/", types=types)
    gone, _ = await add(desk.tx, "https://c.example/")
    await events.endpoints.remove(desk.tx, gone, by="ada")
    await events.publish(desk.tx, "invoice.paid", 1)
    await add(desk.tx, "https://late.example/")
    found = [row[0] for row in await desk.rows("SELECT endpoint FROM {}.outbox_delivery")]
    assert len(found) == 5
    assert set(found) == {None, *wanted}


async def test_what_cannot_be_sent_is_refused_before_anything_is_written(desk):
    events = desk.outbox(Webhooks())
    for bad in ({"webhook-id": "1"}, {"Host": "x"}, {"x": "a\r\nb"}):
        with pytest.raises(UsageError):
            await events.publish(desk.tx, "a", 1, headers=bad)
    with pytest.raises(PayloadError):
        await events.publish(desk.tx, "a", object())
    with pytest.raises(UsageError, match="allowed"):
        await events.publish(desk.tx, "a", "x" * 300_000)
    assert await desk.rows("SELECT 1 FROM {}.outbox_message") == []


async def test_an_outbox_that_nobody_included_says_so(desk):
    with pytest.raises(UsageError, match="include"):
        await Outbox("lonely", destinations=[Memory()]).publish(desk.tx, "a", 1)
    with pytest.raises(UsageError, match="two destinations"):
        Outbox("twins", destinations=[Memory(), Memory()])


async def test_only_the_first_of_a_backlog_rings(desk):
    """NOTIFY makes commits wait for each other; and after it, an idle worker sends at once."""
    events = desk.outbox(Memory(order="none"))
    async with await connect_async(desk.url) as ear:
        await ear.execute(f'LISTEN "{desk.schema}.outbox"'.encode())
        for _ in range(3):
            await events.publish(desk.tx, "a", 1)
        heard = [each async for each in ear.notifies(timeout=0.2)]
        assert len(heard) == 1
        await desk.rows("UPDATE {}.outbox_delivery SET held = 'leased', next_at = now() + '1 h'")
        await events.publish(desk.tx, "a", 1)
        assert [each async for each in ear.notifies(timeout=0.2)] == []
        await desk.rows("UPDATE {}.outbox_delivery SET held = NULL, next_at = now() + '1 h'")
        await events.publish(desk.tx, "a", 1)
        assert len([each async for each in ear.notifies(timeout=0.2)]) == 1


async def test_an_idle_worker_sends_at_once(desk):
    troth = Troth(desk.url, schema=desk.schema)
    delivered = asyncio.Event()

    def script(_message):
        delivered.set()
        return Delivered("ok")

    events = troth.include(Outbox("events", destinations=[Memory(script)]))
    async with troth.worker():
        for number in range(1, 4):  # the relay has come to rest after the first
            delivered.clear()
            await events.publish(desk.tx, "a", 1)
            async with asyncio.timeout(5):
                await delivered.wait()
            await desk.until_states(delivered=number)


def test_two_publishers_do_not_wait_for_each_other(migrated):
    url, schema = migrated
    events = Outbox("events", destinations=[Memory()])
    events.bind(schema)
    with psycopg.connect(url) as first, connect_blocking(url) as second:
        events.publish_blocking(first, "a", 1, key="k")  # not committed yet
        second.execute("SET lock_timeout = '1s'")
        events.publish_blocking(second, "a", 2, key="k")
        first.commit()


def test_a_thread_does_with_endpoints_what_a_task_does(migrated):
    url, schema = migrated
    events = Outbox("events", destinations=[Webhooks()])
    events.bind(schema)
    ends = events.endpoints
    with connect_blocking(url) as tx:
        endpoint, first = ends.add_blocking(tx, "https://a.example/", types=["a"])
        assert ends.rotate_blocking(tx, endpoint) != first
        ends.disable_blocking(tx, endpoint, by="ada", note="they asked")
        (line,) = ends.list_blocking(tx)
        assert (line.id, line.disabled_because) == (endpoint, "disabled by ada")
        ends.enable_blocking(tx, endpoint, by="ada")
        assert ends.list_blocking(tx)[0].disabled_at is None
        ends.remove_blocking(tx, endpoint, by="bob")
        assert ends.list_blocking(tx) == []
        acts = tx.execute(f"SELECT act, by, note FROM {schema}.operator_act ORDER BY id").fetchall()
        assert acts == [
            ("outbox.endpoint.disable", "ada", "they asked"),
            ("outbox.endpoint.enable", "ada", None),
            ("outbox.endpoint.remove", "bob", None),
        ]
        with pytest.raises(EndpointNotFoundError):
            ends.rotate_blocking(tx, endpoint)
        with pytest.raises(EndpointNotFoundError):
            ends.enable_blocking(tx, endpoint, by="ada")
