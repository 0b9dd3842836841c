"""A rate holds in any span, however many workers call at once, and costs turns, not calls."""

from __future__ import annotations

import asyncio
import random
import time
from datetime import timedelta

from tests.harness.cell import until
from tests.harness.traffic import most_in_any
from troth.effect.model import Provider, Rate
from troth.effect.traffic import Permit, Wait

STRIPE = Provider("stripe", rate=Rate(60, per=timedelta(seconds=1)))
PER_S = 1.0
CALLS = 50  # of each of three workers


async def test_no_span_has_too_many_and_little_is_wasted(join):
    """Each call is made at a random moment while its permit is good: the limit must hold whatever a sender does."""
    callers = [await join() for _ in range(3)]
    sent: list[float] = []

    async def call(caller):
        permit = await caller.permitted(STRIPE)
        sent.append(random.uniform(time.monotonic(), permit.expires))
        caller.back(permit)

    await asyncio.gather(*(call(caller) for caller in callers for _ in range(CALLS)))

    assert len(sent) == 3 * CALLS
    assert most_in_any(PER_S, sent) <= 60
    took_s = max(sent) - min(sent)
    assert (len(sent) - 1) / took_s >= 0.8 * 60


async def test_many_askers_are_one_turn(join, cell):
    caller = await join()
    told = [caller.ask(STRIPE) for _ in range(500)]
    last = await told[-1]

    assert isinstance(last, Wait)
    assert caller.turns(STRIPE) == 1
    next_at = await cell.value("SELECT next_at FROM {}.provider WHERE name = 'stripe'")
    assert next_at > last.slot > next_at - 0.1


async def test_a_turn_reserves_ten_seconds_at_most(join):
    """If its answer is lost, so are its slots."""
    caller = await join()
    told = [caller.ask(STRIPE) for _ in range(2000)]
    await told[-1]
    assert caller.turns(STRIPE) == 4
    waits = [said for said in await asyncio.gather(*told) if isinstance(said, Wait)]
    assert len({wait.slot for wait in waits}) == len(waits)


async def test_askers_of_later_ticks_share_turns(join):
    """While a turn is under way the next batch gathers."""
    caller = await join()
    told = []
    for _ in range(200):
        told.append(caller.ask(STRIPE))
        await asyncio.sleep(0)
    await asyncio.gather(*told)

    assert caller.turns(STRIPE) < 100


async def test_a_far_slot_is_a_wait_that_another_worker_can_use(join):
    first, second = await join(), await join()
    told = [first.ask(STRIPE) for _ in range(180)]
    waits = [said for said in await asyncio.gather(*told) if isinstance(said, Wait)]
    assert 110 <= len(waits) <= 130
    assert {wait.because for wait in waits} == {"rate of stripe: 60 per 1 s"}
    assert all(wait.slot - 1 < wait.until < wait.slot for wait in waits)

    again = await second.said(STRIPE, slot=waits[-1].slot)  # too early: somebody woke it
    assert again == waits[-1]

    wait = next(wait for wait in waits if wait.until > second.clock.now() - 0.3)
    permit = await second.said(STRIPE, slot=wait.slot)
    assert isinstance(permit, Permit)
    assert wait.slot <= second.clock.now() + 0.01
    assert permit.expires <= time.monotonic() + 0.1
    assert second.turns(STRIPE) == 1  # to get to know the row; no slot was reserved


async def test_a_slot_that_has_lapsed_is_replaced(join):
    caller = await join()
    lapsed = caller.clock.now() - 0.2
    permit = await caller.said(STRIPE, slot=lapsed)

    assert isinstance(permit, Permit)
    assert permit.expires > time.monotonic()


async def test_a_slot_that_lapses_while_the_worker_is_held_up_is_not_used(join):
    caller = await join()
    caller.back(await caller.said(STRIPE))
    told = [caller.ask(STRIPE) for _ in range(20)]  # a third of a second of slots

    async def timed():
        return caller.traffic._gates["stripe"]._timed

    await until(timed, "they have slots")
    # Who was permitted before is told so now; whether that is still good is for its sender to see.
    await asyncio.sleep(0)
    left_s = []
    late = [said for said in told if not said.done()]
    for said in late:
        said.add_done_callback(lambda done: left_s.append(done.result().expires - time.monotonic()))
    held_up_until = time.monotonic() + 0.6
    while time.monotonic() < held_up_until:
        pass
    await asyncio.gather(*late)

    assert len(left_s) == len(late) > 10
    assert min(left_s) > 0


async def test_idle_time_is_not_saved_up(join):
    caller = await join()
    strict = Provider("strict", rate=Rate(5, per=timedelta(seconds=1)))
    caller.back(await caller.permitted(strict))
    told = [caller.ask(strict) for _ in range(20)]
    permits = [s for s in await asyncio.gather(*told) if isinstance(s, Permit)]

    assert len(permits) <= 5


async def test_nothing_is_asked_of_the_database_while_nobody_asks(join):
    caller = await join()
    caller.back(await caller.permitted(STRIPE))
    gate = caller.traffic._gates["stripe"]

    assert gate._turn is None
    assert gate._timer is None
