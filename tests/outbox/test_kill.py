"""A relay is killed between the answer and its record: the message comes twice with one id, and is not lost."""

from __future__ import annotations

import asyncio
import sys

from tests.harness.cell import until
from tests.outbox.receiver import Answer, Receiver
from troth.integrations.webhooks_out import Webhooks


async def test_kill_9_between_sending_and_recording(desk):
    events = desk.outbox(Webhooks(allow_http=True, schedule=(0.0, 0.05, 0.05)))
    taken, hold = asyncio.Event(), True

    async def take(_request):
        if hold:
            taken.set()
            await asyncio.Event().wait()  # it has the message; its answer never comes
        return Answer()

    async with Receiver(take) as receiver:
        await events.endpoints.add(desk.tx, receiver.url, allow_private=True)
        first = await events.publish(desk.tx, "a", 1, key="k")
        second = await events.publish(desk.tx, "a", 2, key="k")
        command = [sys.executable, "-m", "tests.outbox.program", desk.url, desk.schema]
        process = await asyncio.create_subprocess_exec(*command)
        try:
            async with asyncio.timeout(30):
                await taken.wait()
        finally:
            process.kill()
            await process.wait()
        hold = False
        held = await desk.rows("SELECT held FROM {}.outbox_delivery ORDER BY id")
        assert held[0] == ("leased",)
        async with desk.working(events) as running:

            async def nothing_else() -> bool:
                return len(receiver.requests) == 1

            await until(nothing_else, "the lease is respected")
            await desk.rows("UPDATE {}.outbox_delivery SET next_at = now()")
            running[0].missed()
            await desk.until_states(delivered=2)
    assert [each.id for each in receiver.requests] == [str(first), str(first), str(second)]
    assert (await desk.attempts())[0] == "nothing was recorded: the relay stopped"
