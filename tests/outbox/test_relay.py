"""Relays: order within a key, leases, takeover, late answers, dead letters, and no more than is allowed at once."""

from __future__ import annotations

import asyncio
from collections import defaultdict

import pytest

from tests.harness.cell import until
from tests.outbox.destinations import Memory
from troth.outbox import Delivered, Refused, Unsettled, store
from troth.outbox.model import Next, State
from troth.store.connect import connect_async
from troth.store.plan import carry_out

SOON = (0.0, 0.02, 0.02, 0.02, 0.02, 0.02, 0.02, 0.02)


def by_key(seen):
    found = defaultdict(list)
    for each in seen:
        found[each.key].append(int(each.payload))
    return found


async def claim(desk, events, free=10, once=False):
    to = events.destinations[0]
    target = f"{events.name}/{to.name}"
    found, _ = await store.claim(desk.tx, events.queries, {target: free}, 60.0, once=once)
    return found


async def record(desk, events, claimed, outcome, state):
    then = Next(state, 0.0, works=False)
    return await store.record(desk.tx, events.queries, claimed, outcome, then, 0.1, 60.0)


async def test_a_failing_message_holds_up_its_key_and_nothing_else(desk):
    bad, mended = asyncio.Event(), asyncio.Event()

    def script(message):
        if message.payload == b"0" and not mended.is_set():
            bad.set()
            return Unsettled("503")
        return Delivered("ok")

    to = Memory(script, schedule=(0.0, *[0.05] * 500))
    events = desk.outbox(to)
    for number in range(6):
        await events.publish(desk.tx, "a", number, key="ab"[number % 2])
    async with desk.working(events):
        await desk.until_states(delivered=3, pending=3)
        assert by_key(to.seen)["b"] == [1, 3, 5]
        assert set(by_key(to.seen)["a"]) == {0}
        mended.set()
        await desk.until_states(delivered=6)
    assert list(dict.fromkeys(by_key(to.seen)["a"])) == [0, 2, 4]


async def test_who_waits_behind_another_is_not_looked_at_all_the_time(desk):
    """Ten thousand behind one that fails: a claim touches them once, and then none until that one's time has come."""
    events = desk.outbox(Memory())
    for number in range(20):
        await events.publish(desk.tx, "a", number, key="k")
    (first,) = await claim(desk, events)
    assert first.message.payload == b"0"
    held = await desk.rows("SELECT held, count(*) FROM {}.outbox_delivery GROUP BY 1 ORDER BY 1")
    assert held == [("behind", 19), ("leased", 1)]
    (standing,) = await store.standings(desk.tx, events.queries, "events", events.destinations[0])
    assert standing.wait_s > 50
    assert await record(desk, events, first, Delivered("ok"), State.DELIVERED)
    (second,) = await claim(desk, events)
    assert second.message.payload == b"1"


async def test_a_message_that_becomes_visible_late_is_not_passed(desk):
    to = Memory()
    events = desk.outbox(to)
    async with await connect_async(desk.url) as slow, desk.working(events):
        async with slow.transaction():
            await events.publish(slow, "a", 1, key="k")
            await events.publish(desk.tx, "a", 2, key="k")
            await desk.until_states(delivered=1)
        await desk.until_states(delivered=2)
    assert by_key(to.seen)["k"] == [2, 1]


async def test_what_one_claims_the_other_does_not_get(desk):
    events = desk.outbox(Memory())
    for number in range(4):
        await events.publish(desk.tx, "a", number)
    async with await connect_async(desk.url) as other, desk.tx.transaction():
        mine = await claim(desk, events, free=2)
        await other.execute("SET lock_timeout = '2s'")
        theirs, _ = await store.claim(other, events.queries, {"events/memory": 4}, 60, once=False)
        assert {each.delivery for each in mine}.isdisjoint(each.delivery for each in theirs)
    rest, _ = await store.claim(desk.tx, events.queries, {"events/memory": 4}, 60, once=False)
    assert len({each.delivery for each in (*mine, *theirs, *rest)}) == 4


async def test_a_late_record_of_a_lost_lease_changes_nothing(desk):
    events = desk.outbox(Memory())
    await events.publish(desk.tx, "a", 1)
    (frozen,) = await claim(desk, events)
    await desk.end_leases()
    (successor,) = await claim(desk, events)
    assert (frozen.claim, successor.claim) == (1, 2)
    assert not await record(desk, events, frozen, Refused("no"), State.DEAD)
    assert await desk.states() == {"pending": 1}
    assert await record(desk, events, successor, Delivered("200"), State.DELIVERED)
    assert await desk.attempts() == ["no (told late)", "200"]


async def test_a_lost_relay_leaves_at_most_once_in_doubt_and_a_late_answer_settles_it(desk):
    events = desk.outbox(Memory(delivery="at_most_once"))
    await events.publish(desk.tx, "a", 1)
    (frozen,) = await claim(desk, events, once=True)
    await desk.end_leases()
    assert await claim(desk, events, once=True) == []
    assert await desk.states() == {"in_doubt": 1}
    assert not await record(desk, events, frozen, Refused("no"), State.DEAD)
    assert await record(desk, events, frozen, Delivered("250"), State.DELIVERED)
    assert await desk.states() == {"delivered": 1}


async def test_no_try_left_is_a_dead_letter_and_the_next_of_its_key_goes_on(desk):
    to = Memory(lambda m: Unsettled("500") if m.payload == b"1" else Delivered("ok"), schedule=SOON)
    events = desk.outbox(to)
    await events.publish(desk.tx, "a", 1, key="k")
    await events.publish(desk.tx, "a", 2, key="k")
    async with desk.working(events):
        await desk.until_states(dead=1, delivered=1)
    assert by_key(to.seen)["k"] == [1] * len(SOON) + [2]
    assert [each.attempt for each in to.seen[:-1]] == list(range(1, len(SOON) + 1))


async def test_refused_is_a_dead_letter_at_once_and_a_person_sends_it_again(desk):
    answers = [Refused("no", b"x" * 5000), Delivered("ok")]
    to = Memory(lambda _: answers.pop(0))
    events = desk.outbox(to)
    message = await events.publish(desk.tx, "a", 1)
    async with desk.working(events) as running:
        await desk.until_states(dead=1)
        again = store.resend(events.queries, message=message)
        assert await carry_out(desk.tx, again) == [message]
        running[0].missed()
        await desk.until_states(delivered=1)
    assert len({each.id for each in to.seen}) == 1
    answer = await desk.rows("SELECT length(answer) FROM {}.outbox_attempt ORDER BY claim")
    assert answer == [(1024,), (0,)]


async def test_an_exception_or_a_timeout_of_a_destination_is_one_more_failed_try(desk):
    async def hang(_message):
        await asyncio.Event().wait()

    def script(message):
        if message.attempt == 1:
            raise KeyError("oops")
        return hang(message) if message.attempt == 2 else Delivered("ok")

    events = desk.outbox(Memory(script, schedule=SOON, timeout_s=0.1))
    await events.publish(desk.tx, "a", 1)
    async with desk.working(events):
        await desk.until_states(delivered=1)
    assert await desk.attempts() == ["KeyError: 'oops'", "no answer within 0.1 s", "ok"]


async def test_no_more_at_once_than_is_allowed_and_a_shutdown_waits_for_what_is_being_sent(desk):
    gate, running, most = asyncio.Event(), 0, 0

    async def script(_message):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await gate.wait()
        running -= 1
        return Delivered("ok")

    to = Memory(script, concurrency=3, order="none", delivery="at_most_once")
    events = desk.outbox(to)
    for number in range(7):
        await events.publish(desk.tx, "a", number)

    async def full() -> bool:
        return len(to.seen) == 3

    async with desk.working(events):
        await until(full, "three are being sent")
        opening = asyncio.get_running_loop().call_later(0.2, gate.set)
    assert most == 3
    assert not opening.cancelled()
    states = await desk.states()
    assert states == {"delivered": 3, "pending": 4}  # and nothing is in doubt


async def test_two_relays_send_each_message_once_when_nothing_fails(desk):
    to = Memory()
    events = desk.outbox(to)
    async with desk.tx.transaction():
        for number in range(200):
            await events.publish(desk.tx, "a", number, key=str(number % 20))
    async with desk.working(events, processes=2):
        await desk.until_states(delivered=200)
    assert len(to.seen) == 200
    assert all(numbers == sorted(numbers) for numbers in by_key(to.seen).values())


@pytest.mark.parametrize("names", [("one", "two")])
async def test_one_destination_that_hangs_does_not_hold_up_another(desk, names):
    hanging = asyncio.Event()

    async def hang(_message):
        hanging.set()
        await asyncio.Event().wait()

    stuck, fine = Memory(hang, name=names[0], concurrency=1), Memory(name=names[1])
    events = desk.outbox(stuck, fine)
    for number in range(5):
        await events.publish(desk.tx, "a", number)
    async with desk.working(events) as running:
        await desk.until_states(delivered=5, pending=5)
        assert hanging.is_set()
        for task in running[0]._tasks:  # do not wait for it at the end
            task.cancel()
