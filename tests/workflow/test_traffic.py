"""Effects at providers that are limited: they wait before their intent, as rows that say why, and none is sent too soon."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any

import pytest

from tests.workflow.place import QUICK, Place, soon
from tests.workflow.test_effects import AT_ONCE
from troth import Breaker, Call, Provider, Rate, RunCancelledError, Troth
from troth.base import codec
from troth.journal.model import Kind


def waits(place: Place, run: Any) -> list[dict[str, Any]]:
    return [
        codec.decode(entry[5] or b"{}") for entry in place.journal(run.id) if entry[1] == Kind.WAIT
    ]


def intents(place: Place, run: Any) -> int:
    return sum(1 for entry in place.journal(run.id) if entry[1] == Kind.INTENT)


SLOW = Provider("slow", key_lifetime=timedelta(hours=1), rate=Rate(1, timedelta(seconds=3)))


async def test_a_run_that_waits_for_a_slot_is_a_row_and_not_in_doubt(
    place: Place, troth: Troth
) -> None:
    sent: list[float] = []

    @troth.effect(provider=SLOW, timeout=60)
    async def charge(call: Call) -> str:
        sent.append(time.monotonic())
        return "done"

    @troth.workflow
    async def work() -> str:
        return await charge()

    async with troth.worker(QUICK) as opened:
        first = await troth.start(work)
        assert await soon(first.result()) == "done"
        second = await troth.start(work)
        await place.until_state(second, "waiting")
        runs = opened.node.engine.runs
        await place.until(lambda: second.id not in runs, "it has left memory")
        assert intents(place, second) == 0
        assert await soon(second.result()) == "done"
    [wait] = waits(place, second)
    assert wait["because"] == "rate of slow: 1 per 3 s"
    assert sent[1] - sent[0] >= 3.0


async def test_a_run_that_is_cancelled_while_it_waits_for_a_slot_sends_nothing(
    place: Place, troth: Troth
) -> None:
    sent: list[str] = []

    @troth.effect(provider=SLOW, timeout=60)
    async def charge(call: Call) -> str:
        sent.append(call.key)
        return "done"

    @troth.workflow
    async def work() -> str:
        return await charge()

    async with troth.worker(QUICK):
        await soon((await troth.start(work)).result())
        second = await troth.start(work)
        await place.until_state(second, "waiting")
        await second.cancel()
        with pytest.raises(RunCancelledError):
            await soon(second.result())
    assert len(sent) == 1


async def test_a_provider_that_does_not_answer_is_left_alone_and_uses_up_no_attempts(
    place: Place, troth: Troth
) -> None:
    away = [True]
    called: list[float] = []
    broken = Provider(
        "broken",
        key_lifetime=timedelta(hours=1),
        breaker=Breaker(failures=2, pause=timedelta(seconds=3)),
    )

    @troth.effect(provider=broken, timeout=60, retry=AT_ONCE)
    async def charge(call: Call) -> str:
        called.append(time.monotonic())
        if away[0]:
            raise ConnectionRefusedError
        return "done"

    @troth.workflow
    async def work() -> str:
        return await charge()

    async with troth.worker(QUICK) as opened:
        run = await troth.start(work)
        await place.until_state(run, "waiting")
        runs = opened.node.engine.runs
        await place.until(lambda: run.id not in runs, "it costs no place in a worker")
        assert len(called) in {2, 3}, "what was told before the pause began may still go out"
        away[0] = False
        assert await soon(run.result()) == "done"
    assert {wait["because"].partition(":")[0] for wait in waits(place, run)} == {
        "broken is not answering"
    }
    assert called[-1] - called[-2] > 2.0, "nothing was sent in the pause"


async def test_no_more_calls_at_once_than_the_provider_takes(place: Place, troth: Troth) -> None:
    now, most = [0], [0]
    narrow = Provider("narrow", key_lifetime=timedelta(hours=1), concurrency=2)

    @troth.effect(provider=narrow, timeout=60)
    async def charge(call: Call) -> None:
        now[0] += 1
        most[0] = max(most[0], now[0])
        for _ in range(20):
            await asyncio.sleep(0)
        now[0] -= 1

    @troth.workflow
    async def work() -> None:
        await asyncio.gather(*(charge() for _ in range(10)))

    async with troth.worker(QUICK):
        await soon((await troth.start(work)).result())
    assert most[0] == 2
