"""The breaker of a provider, seen by several workers."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from tests.harness.cell import until
from tests.harness.proxy import Cut, Proxy
from troth.effect import store
from troth.effect.breaker import Tally
from troth.effect.model import Breaker, Provider, Rate
from troth.effect.traffic import Permit, Wait

PAUSE_S = 0.6
BROKEN = Provider("stripe", breaker=Breaker(failures=6, pause=timedelta(seconds=PAUSE_S)))
RATED = Provider(
    "rated",
    rate=Rate(50, per=timedelta(seconds=1)),
    breaker=Breaker(failures=6, pause=timedelta(seconds=2)),
)


async def fail(callers, provider, times):
    """Each of *callers* makes *times* calls that are not answered; return when the breaker has opened."""
    for caller in callers:
        for _ in range(times):
            caller.back(await caller.permitted(provider), answered=False)


async def opened(cell, name):
    query = "SELECT open_until > clock_timestamp() FROM {}.provider WHERE name = %s"
    await until(lambda: cell.value(query, name), "the breaker is open")


async def closed(cell, name):
    query = "SELECT open_until IS NULL FROM {}.provider WHERE name = %s"
    await until(lambda: cell.value(query, name), "the breaker is closed")


async def everybody_waits(callers, provider):
    async def waits():
        said = [await caller.said(provider) for caller in callers]
        for caller, one in zip(callers, said, strict=True):
            if isinstance(one, Permit):
                caller.back(one, answered=None)
        return all(isinstance(one, Wait) for one in said) and said

    return await until(waits, "everybody waits")


async def test_failures_of_several_workers_open_it_for_all(join, cell):
    callers = [await join() for _ in range(3)]
    await fail(callers[:2], BROKEN, 3)
    await opened(cell, "stripe")

    said = await everybody_waits(callers, BROKEN)

    assert all(
        wait.because.startswith("stripe is not answering: breaker open until ") for wait in said
    )
    now = callers[0].clock.now()
    assert all(now < wait.until <= now + 2 * PAUSE_S for wait in said)


async def test_an_answer_in_between_starts_the_count_anew(join, cell):
    one, other = await join(), await join()
    await fail([one], BROKEN, 5)
    await until(lambda: cell.value("SELECT failures = 5 FROM {}.provider"), "five are counted")
    other.back(await other.permitted(BROKEN), answered=True)
    await until(lambda: cell.value("SELECT failures = 0 FROM {}.provider"), "none is counted")
    await fail([one], BROKEN, 5)
    await until(lambda: cell.value("SELECT failures = 5 FROM {}.provider"), "five are counted")

    assert await cell.value("SELECT open_until IS NULL FROM {}.provider")


async def test_one_call_of_all_workers_is_the_trial_and_its_answer_closes(join, cell):
    callers = [await join() for _ in range(3)]
    await fail(callers, BROKEN, 2)
    await opened(cell, "stripe")
    await everybody_waits(callers, BROKEN)

    trial, taker = await first_permit(callers, BROKEN)
    assert trial.trial
    others = [await caller.said(BROKEN) for caller in callers for _ in range(10)]
    assert all(isinstance(said, Wait) for said in others)
    assert {wait.because for wait in others} == {
        "stripe was not answering: one call is trying it again"
    }

    taker.back(trial, answered=True)
    await closed(cell, "stripe")
    for caller in callers:
        caller.back(await caller.permitted(BROKEN))


async def first_permit(callers, provider, in_flight_s=10.0):
    """Everybody asks all the time, each with several runs; who gets the first permit, and that nobody else has one."""
    tasks = {
        asyncio.create_task(caller.permitted(provider, in_flight_s=in_flight_s)): caller
        for caller in callers
        for _ in range(5)
    }
    done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
    assert len(done) == 1
    [task] = done
    return task.result(), tasks[task]


async def test_a_trial_that_fails_opens_it_again(join, cell):
    callers = [await join() for _ in range(2)]
    await fail(callers, BROKEN, 3)
    await opened(cell, "stripe")
    await everybody_waits(callers, BROKEN)
    trial, taker = await first_permit(callers, BROKEN)
    taker.back(trial, answered=False)
    await opened(cell, "stripe")

    again, taker = await first_permit(callers, BROKEN)
    assert again.trial
    assert again.era > trial.era
    taker.back(again)
    await closed(cell, "stripe")


async def test_a_trial_that_is_not_sent_makes_room_for_another(join, cell):
    callers = [await join() for _ in range(2)]
    await fail(callers, BROKEN, 3)
    await opened(cell, "stripe")
    await everybody_waits(callers, BROKEN)
    trial, taker = await first_permit(callers, BROKEN)
    taker.back(trial, answered=None)

    again, taker = await first_permit(callers, BROKEN)
    assert again.trial
    taker.back(again)


async def test_a_trial_whose_worker_is_lost_is_replaced(join, cell):
    callers = [await join() for _ in range(2)]
    await fail(callers, BROKEN, 3)
    await opened(cell, "stripe")
    await everybody_waits(callers, BROKEN)
    lost, taker = await first_permit(callers, BROKEN, in_flight_s=0.5)
    [other] = [caller for caller in callers if caller is not taker]
    begun = await cell.value(
        "SELECT extract(epoch FROM trial_until)::float8 - 0.5 FROM {}.provider"
    )
    await taker.kill()

    trial, _ = await first_permit([other], BROKEN)

    assert trial.trial
    assert trial.era > lost.era
    assert other.clock.now() >= begun + 0.45
    other.back(trial)
    await closed(cell, "stripe")


async def test_calls_of_an_older_era_do_not_count(join, cell):
    caller = await join()
    old = [await caller.permitted(BROKEN) for _ in range(10)]
    await fail([caller], BROKEN, 6)
    await opened(cell, "stripe")
    trial, _ = await first_permit([caller], BROKEN)
    for permit in old[:5]:
        caller.back(permit, answered=True)  # sent before it opened: no news
    assert isinstance(await caller.said(BROKEN), Wait)
    caller.back(trial)
    await closed(cell, "stripe")
    for permit in old[5:]:
        caller.back(permit, answered=False)
    await fail([caller], BROKEN, 5)
    await until(lambda: cell.value("SELECT failures = 5 FROM {}.provider"), "five are counted")

    assert await cell.value("SELECT open_until IS NULL FROM {}.provider")


async def test_who_has_seen_it_fail_calls_no_more_although_that_is_not_told_yet(join, cell):
    """The report hangs, for somebody holds the provider's row; what the worker was told before is fresh still."""
    caller = await join()
    permits = [await caller.permitted(BROKEN) for _ in range(6)]
    session = await cell.session()
    async with session.transaction():
        await session.execute(f"SELECT FROM {cell.schema}.provider FOR UPDATE")
        for permit in permits:
            caller.back(permit, answered=False)
        asked = asyncio.create_task(caller.said(BROKEN))
        done, _ = await asyncio.wait({asked}, timeout=0.05)
        assert not done, "it was let through"
    assert isinstance(await asked, Wait)


async def test_a_late_report_of_another_worker_does_not_close_it(join, cell):
    caller = await join()
    await fail([caller], BROKEN, 6)
    await opened(cell, "stripe")
    session, late = await cell.session(), await cell.member()
    report = store.Turn("stripe", late, 1, 0, Tally(0, answered=True), False, 1.0, 0, 0)
    answer = await store.take_turn(session, store.queries(cell.schema), report)

    assert answer.terms.era == 1
    assert answer.terms.open_until is not None


async def test_a_report_that_is_lost_is_made_again(join, cell):
    async with Proxy(cell.url) as proxy:
        caller = await join(proxy.url)
        permits = [await caller.permitted(BROKEN) for _ in range(6)]
        fault = proxy.cut(f"{cell.schema}.take_turn", Cut.REQUEST_LOST)
        for permit in permits:
            caller.back(permit, answered=False)
        await fault.happened()
        await opened(cell, "stripe")
        await caller.close()


async def test_a_trial_that_nobody_wants_any_more_is_given_back(join, cell):
    """It was granted, and meanwhile its run was told to wait."""
    caller = await join()
    await fail([caller], BROKEN, 6)
    await everybody_waits([caller], BROKEN)
    half_open = "SELECT open_until <= clock_timestamp() FROM {}.provider"
    await until(lambda: cell.value(half_open), "it is half-open")
    gate, session = caller.traffic._gates["stripe"], await cell.session()
    asks = store.Turn("stripe", caller.worker, 99, 0, Tally(1), True, 10.0, 0, 0)
    answer = await store.take_turn(session, store.queries(cell.schema), asks)
    assert answer.trial
    gate._terms, gate._trial_ours = answer.terms, True
    gate._soon()

    given_back = "SELECT trial_until IS NULL FROM {}.provider"
    await until(lambda: cell.value(given_back), "the trial is given back")


async def test_with_a_rate_those_who_wait_get_slots_after_the_pause(join, cell):
    """Nobody has to come back to find out: each wakes once, at its slot, and the slots are spaced."""
    caller = await join()
    await fail([caller], RATED, 6)
    await opened(cell, "rated")
    await everybody_waits([caller], RATED)
    open_until = await cell.value("SELECT extract(epoch FROM open_until)::float8 FROM {}.provider")
    before = caller.turns(RATED)

    waits = await asyncio.gather(*(caller.ask(RATED) for _ in range(500)))

    slots = [wait.slot for wait in waits]
    assert min(slots) >= open_until
    assert slots == sorted(set(slots))
    assert slots[-1] - slots[0] >= 499 / 50
    assert all(wait.because.startswith("rated is not answering") for wait in waits)
    assert caller.turns(RATED) <= before + 2
