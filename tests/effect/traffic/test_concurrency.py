"""At most so many calls at once, of all workers together; in equal shares; whatever dies."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter

import pytest

from tests.harness.cell import until
from tests.harness.proxy import Cut, Proxy
from troth.effect import store
from troth.effect.breaker import Tally
from troth.effect.model import Provider
from troth.effect.traffic import Permit, Wait
from troth.store.failure import Failure, failure_of

FOUR = Provider("stripe", concurrency=4)
ONE = Provider("one", concurrency=1)


class Calls:
    """Calls that are under way, counted at the other side."""

    def __init__(self) -> None:
        self.now = 0
        self.most = 0
        self.by: Counter[int] = Counter()

    async def make(self, caller, provider, last_s):
        permit = await caller.permitted(provider)
        self.now += 1
        self.most = max(self.most, self.now)
        self.by[caller.worker] += 1
        await asyncio.sleep(last_s())
        self.now -= 1
        caller.back(permit)

    async def keep_calling(self, caller, provider, last_s, stop):
        while not stop.is_set():
            await self.make(caller, provider, last_s)


def a_while() -> float:
    return random.uniform(0.001, 0.02)


async def held(cell, worker):
    return await cell.value(
        "SELECT coalesce(sum(held), 0) FROM {}.provider_lease WHERE worker = %s", worker
    )


async def test_never_more_at_once_and_a_worker_that_is_busy_keeps_what_it_has(join):
    callers = [await join() for _ in range(3)]
    calls = Calls()
    await asyncio.gather(
        *(calls.make(caller, FOUR, a_while) for caller in callers for _ in range(100))
    )

    assert calls.most == 4
    assert sum(calls.by.values()) == 300
    assert sum(caller.turns(FOUR) for caller in callers) < 200


@pytest.mark.parametrize(("provider", "runs"), [(FOUR, 8), (ONE, 3)], ids=["four", "one"])
async def test_workers_get_equal_shares(join, provider, runs):
    """Two are always hungry, and the second comes when the first has everything."""
    first, second = await join(), await join()
    calls, stop = Calls(), asyncio.Event()

    def busy(caller):
        return [
            asyncio.create_task(calls.keep_calling(caller, provider, a_while, stop))
            for _ in range(runs)
        ]

    tasks = busy(first)
    await until(lambda: enough(calls.by[first.worker] > 20), "the first one is busy")
    calls.by.clear()
    tasks += busy(second)
    await until(lambda: enough(sum(calls.by.values()) > 400), "many calls are made")
    shares = {worker: n / sum(calls.by.values()) for worker, n in calls.by.items()}
    stop.set()
    await asyncio.gather(*tasks)

    assert calls.most == provider.concurrency
    assert shares[second.worker] > 0.25
    assert shares[first.worker] > 0.25


async def enough(condition):
    return condition


async def test_more_workers_than_calls_at_once_take_turns(join):
    callers = [await join() for _ in range(4)]
    calls, stop = Calls(), asyncio.Event()
    tasks = [
        asyncio.create_task(calls.keep_calling(caller, ONE, a_while, stop)) for caller in callers
    ]
    await until(
        lambda: enough(min(calls.by[caller.worker] for caller in callers) > 10), "all have called"
    )
    stop.set()
    await asyncio.gather(*tasks)

    assert calls.most == 1


async def test_what_is_not_used_goes_to_who_waits_at_once(join):
    first, second = await join(), await join()
    permits = [await first.permitted(FOUR) for _ in range(4)]
    waiting = asyncio.create_task(second.permitted(FOUR))
    await until(lambda: enough(second.turns(FOUR) >= 2), "the second one is hungry")
    assert not waiting.done()
    for permit in permits:
        first.back(permit)
    ended = time.monotonic()
    second.back(await waiting)

    assert time.monotonic() - ended < 0.5  # 0.2 s, and this machine's moods


async def test_what_is_not_used_goes_back_even_if_nobody_waits(join, cell):
    caller = await join()
    caller.back(await caller.permitted(FOUR))
    gave_back = "SELECT held = 0 AND demand = 0 FROM {}.provider_lease WHERE worker = %s"
    await until(lambda: cell.value(gave_back, caller.worker), "the lease is given back")
    gate = caller.traffic._gates["stripe"]
    await until(lambda: enough(gate._timer is None and gate._turn is None), "and it is silent")


async def test_those_who_would_wait_for_long_are_told_so(join):
    caller = await join()
    permits = [await caller.permitted(FOUR) for _ in range(4)]
    told = [caller.ask(FOUR) for _ in range(20)]
    said = await asyncio.gather(*told)

    assert all(isinstance(one, Wait) for one in said)
    assert {wait.because for wait in said} == {"concurrency of stripe: 4 calls at once"}
    untils = [wait.until for wait in said]
    assert len(set(untils)) == 20  # one after the other
    for permit in permits:
        caller.back(permit)


async def test_a_dead_workers_calls_count_for_as_long_as_they_can_be_under_way(join, cell):
    dead, other = await join(), await join()
    for _ in range(4):
        await dead.permitted(FOUR, in_flight_s=1.0)
    await dead.kill()
    waiting = asyncio.create_task(other.permitted(FOUR, in_flight_s=1.0))
    await until(lambda: enough(other.turns(FOUR) >= 3), "the other one is hungry")
    assert not waiting.done()
    assert await held(cell, dead.worker) == 4

    lost = time.monotonic()
    await cell.rows("SELECT {}.takeover(%s, NULL)", dead.worker)
    await waiting

    assert time.monotonic() - lost >= 1.0
    assert await held(cell, dead.worker) == 0


async def test_nobody_calls_for_longer_than_the_row_knows(join, cell):
    """A permit for a call that can be under way for ten seconds must not die with its worker after one."""
    caller = await join()
    known = "SELECT in_flight_s FROM {}.provider_lease"
    short = [await caller.permitted(FOUR, in_flight_s=1.0) for _ in range(2)]
    caller.back(short[0])  # a lease is free
    await caller.permitted(FOUR, in_flight_s=10.0)
    assert await cell.value(known) == 10.0
    await caller.permitted(FOUR, in_flight_s=1.0)
    assert await cell.value(known) == 10.0


async def test_a_worker_that_lives_keeps_its_calls_however_long_they_take(join, cell):
    slow, other = await join(), await join()
    permits = [await slow.permitted(FOUR, in_flight_s=0.1) for _ in range(4)]
    waiting = asyncio.create_task(other.permitted(FOUR, in_flight_s=0.1))
    await until(lambda: enough(other.turns(FOUR) >= 5), "the other one has asked often")

    assert not waiting.done()
    slow.back(permits[0])
    other.back(await waiting)


async def test_who_is_fenced_gets_nothing_and_begins_anew_under_another_id(join, cell):
    caller = await join()
    permit = await caller.permitted(FOUR)
    await cell.rows("SELECT {}.takeover(%s, NULL)", caller.worker)
    asked = [caller.ask(FOUR) for _ in range(9)]
    said = [one for one in await asyncio.gather(*asked) if isinstance(one, Wait)]
    assert said
    assert {wait.because for wait in said} <= {
        "its worker was declared dead",
        "concurrency of stripe: 4 calls at once",
    }

    caller.worker = await cell.member()
    again = [await caller.permitted(FOUR) for _ in range(3)]  # the fourth may still be under way
    assert isinstance(await caller.said(FOUR), Wait)
    caller.back(permit)  # of another life: nothing of ours
    for one in again:
        caller.back(one)


@pytest.mark.parametrize("cut", list(Cut))
async def test_a_lost_answer_neither_loses_nor_doubles_leases(join, cell, cut):
    other = await join()
    async with Proxy(cell.url) as proxy:
        cut_off = await join(proxy.url)
        cut_off.back(await cut_off.permitted(FOUR))
        fault = proxy.cut(f"{cell.schema}.take_turn", cut)
        calls = Calls()
        await asyncio.gather(
            *(calls.make(one, FOUR, a_while) for one in (cut_off, other) for _ in range(20))
        )
        assert fault.struck
        assert calls.most <= 4
        gone = "SELECT sum(held) = 0 FROM {}.provider_lease"
        await until(lambda: cell.value(gone), "all leases are given back")
        await cut_off.close()


async def test_leases_that_nobody_knows_of_are_given_back_even_if_nobody_asks_any_more(join, cell):
    async with Proxy(cell.url) as proxy:
        caller = await join(proxy.url)
        caller.back(await caller.permitted(FOUR))
        await until(lambda: no_lease(cell), "all are free")
        fault = proxy.cut(f"{cell.schema}.take_turn", Cut.ANSWER_LOST)
        caller.ask(FOUR)
        await fault.happened()
        assert await held(cell, caller.worker) == 1
        caller.traffic._gates["stripe"]._ready.clear()
        await until(lambda: no_lease(cell), "all are free again")
        await caller.close()


async def test_a_turn_that_was_overtaken_changes_nothing(join, cell):
    """Its answer was lost, another turn was taken, and then it commits after all."""
    caller = await join()
    caller.back(await caller.permitted(FOUR))
    session, worker = await cell.session(), await cell.member()
    q = store.queries(cell.schema)

    async def turn(number, kept, demand):
        taken = store.Turn("stripe", worker, number, 0, Tally(), False, 1.0, kept, demand)
        return await store.take_turn(session, q, taken)

    await until(lambda: no_lease(cell), "all are free")
    answer = await turn(2, 0, 3)
    assert answer.held == 3
    with pytest.raises(Exception, match=r"turn 1 of worker .* was overtaken") as raised:
        await turn(1, 0, 1)
    assert failure_of(raised.value) is Failure.CONFLICT
    assert await held(cell, worker) == 3


async def no_lease(cell):
    return not await cell.value("SELECT sum(held) FROM {}.provider_lease")


async def test_the_hungry_are_served_in_their_order_before_the_greedy(cell, join):
    """By hand: one has everything, two come, and what it gives back goes to them in the order in which they came."""
    caller = await join()
    caller.back(await caller.permitted(FOUR))
    await until(lambda: no_lease(cell), "all are free")
    session, q = await cell.session(), store.queries(cell.schema)
    numbers = itertools.count(1)
    rich, early, late = [await cell.member() for _ in range(3)]

    async def turn(worker, kept, demand):
        taken = store.Turn("stripe", worker, next(numbers), 0, Tally(), False, 1.0, kept, demand)
        answer = await store.take_turn(session, q, taken)
        return answer.held, answer.share, answer.lacking

    assert await turn(rich, 0, 9) == (4, 4, 0)
    assert await turn(early, 0, 9) == (0, 2, 0)
    assert await turn(late, 0, 9) == (0, 1, 1)  # one for early
    assert await turn(rich, 4, 9) == (4, 1, 2)
    assert await turn(rich, 3, 9) == (3, 1, 1)  # it may not take back what it gave
    assert await turn(late, 0, 9) == (0, 1, 0)  # early comes first
    assert await turn(early, 0, 9) == (1, 1, 1)
    assert await turn(rich, 2, 9) == (2, 1, 0)
    assert await turn(late, 0, 9) == (1, 1, 0)
    assert await turn(rich, 2, 9) == (2, 1, 0)


async def test_permits_say_when_they_expire(join):
    caller = await join()
    permit = await caller.said(FOUR)

    assert isinstance(permit, Permit)
    assert 1.0 < permit.expires - time.monotonic() <= 2.0
    caller.back(permit)
    caller.back(permit)  # twice is once
    assert caller.traffic._gates["stripe"]._leases.used == 0
