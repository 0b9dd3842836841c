"""NATS JetStream, a real server: acknowledged, deduplicated by our id, and away for a while."""

from __future__ import annotations

import nats

from tests.harness.cell import until
from troth.integrations.nats_out import NatsJetStream

SOON = (0.0, 0.05)


async def stream_of(url: str, name: str = "EVENTS"):
    client = await nats.connect(url)
    await client.jetstream().add_stream(name=name, subjects=["shop.>"])
    return client


def destination(url: str, **options) -> NatsJetStream:
    return NatsJetStream(
        url, stream="EVENTS", prefix="shop.", **{"schedule": SOON, "timeout": 3.0, **options}
    )


async def stored(client) -> list:
    jetstream = client.jetstream()
    count = (await jetstream.stream_info("EVENTS")).state.messages
    return [await jetstream.get_msg("EVENTS", number) for number in range(1, count + 1)]


async def test_a_message_is_in_the_stream_once_although_it_was_sent_twice(desk, nats_js):
    client = await stream_of(nats_js.url)
    events = desk.outbox(destination(nats_js.url))
    message = await events.publish(desk.tx, "paid", {"n": 1}, key="k", headers={"x-a": "b"})
    async with desk.working(events) as running:
        await desk.until_states(delivered=1)
        await desk.rows(
            "UPDATE {}.outbox_delivery SET state = 'pending', held = 'leased', next_at = now()"
        )  # as if the relay had died between the acknowledgement and its record
        running[0].missed()
        await desk.until_states(delivered=1)
    (got,) = await stored(client)
    await client.close()
    assert (got.subject, got.data) == ("shop.paid", b'{"n":1}')
    assert got.headers["Nats-Msg-Id"] == str(message)
    assert got.headers["x-a"] == "b"
    assert (await desk.attempts())[-1].endswith("seen before")


async def test_messages_wait_while_the_server_is_away_and_keep_their_order(desk, nats_js):
    await (await stream_of(nats_js.url)).close()
    events = desk.outbox(destination(nats_js.url))
    async with desk.working(events) as running:
        await events.publish(desk.tx, "paid", 0, key="k")
        running[0].missed()
        await desk.until_states(delivered=1)
        nats_js.stop()
        for number in range(1, 6):
            await events.publish(desk.tx, "paid", number, key="k")
        running[0].missed()

        async def tried() -> bool:
            return len(await desk.attempts()) > 3

        await until(tried, "it was tried in vain")
        nats_js.start()
        await desk.until_states(delivered=6)
    client = await nats.connect(nats_js.url)
    assert [int(each.data) for each in await stored(client)] == [0, 1, 2, 3, 4, 5]
    await client.close()


async def test_a_stream_that_is_not_there_is_waited_for(desk, nats_js):
    events = desk.outbox(destination(nats_js.url))
    await events.publish(desk.tx, "paid", 1)
    async with desk.working(events):

        async def tried() -> bool:
            return any("no stream" in each for each in await desk.attempts())

        await until(tried, "there is no stream")
        client = await stream_of(nats_js.url)
        await desk.until_states(delivered=1)
    await client.close()
