"""Runs that wait for runs: start, end, release and continuation, against each other in every order."""

from __future__ import annotations

from uuid import UUID

import msgspec
import pytest

from tests.harness.cell import Cell, batch, end, rest, result, send, start
from troth.base import ids
from troth.journal import store
from troth.journal.model import Await, Batch, Continuation, Message, Reply, Start

WAITS = "!cancel,!ended"


def child_of(parent: UUID, path: str = "child", *, claim: bool = False) -> Start:
    return start(claim=claim)._replace(parent=parent, path=path)


def awaits(run: UUID, waiter: UUID, path: str = "child") -> Batch:
    made = batch()
    made.awaits.append(Await(run, waiter, path))
    return made


def continues(run: UUID, payload: bytes = b'{"n":2}') -> tuple[UUID, Batch]:
    made = batch(end(run))
    new = ids.new_id()
    made.continuations.append(Continuation(run, new, payload, 1.0, False, None))
    return new, made


def told(reply: Reply, run: UUID) -> list[dict[str, object]]:
    """What a run is told of ends."""
    mail: list[Message] = reply.mail.get(run, [])
    return [msgspec.json.decode(m.payload) for m in mail if m.topic == "!ended"]


async def family(cell: Cell, worker: int) -> tuple[UUID, UUID]:
    """A parent, and a child that it has started for the same worker; flushes 1 and 2."""
    parent = await cell.owned_run(worker)
    child = child_of(parent, claim=True)
    await cell.flush(worker, 2, batch(child, result(parent)))
    return parent, child.id


async def test_the_end_comes_with_the_flush_that_ends_it(cell: Cell) -> None:
    worker = await cell.member()
    parent, child = await family(cell, worker)
    reply = await cell.flush(worker, 3, batch(end(child)._replace(owes=True)))
    assert reply.kept == {parent}
    (said,) = told(reply, parent)
    assert said == {
        "path": "child", "run": str(child), "state": "succeeded", "owes": True, "outcome": 1,
    }  # fmt: skip
    assert await cell.value("SELECT owes FROM {}.run_history WHERE id = %s", child)
    assert await cell.value("SELECT count(*) FROM {}.run_waiter") == 0


async def test_a_refused_parent_takes_its_child_with_it(cell: Cell) -> None:
    """Halving never stores a child without the entry about it."""
    parents = [ids.new_id() for _ in range(2)]
    children = [child_of(parent) for parent in parents]
    whole = batch(*children, *(result(parent) for parent in parents))
    for half, parent in zip(whole.split(), parents, strict=True):
        assert half.runs() == [parent]
        assert [each.parent for each in half.starts] == [parent]
        assert [each.run_id for each in half.entries] == [parent]


async def test_a_parent_at_rest_is_woken(cell: Cell) -> None:
    one, two = await cell.member(), await cell.member()
    parent, child = await family(cell, one)
    await cell.flush(one, 3, batch(rest(parent, WAITS)))
    assert await cell.run(parent) == ("waiting", None)
    reply = await cell.flush(one, 4, batch(end(child)))
    assert not reply.kept
    assert await cell.run(parent) == ("ready", None)
    assert (await cell.flush(two, 1, batch(claim=9))).claimed == [parent]


async def test_a_release_that_comes_after_the_end_keeps_the_parent(cell: Cell) -> None:
    worker = await cell.member()
    parent, child = await family(cell, worker)
    await cell.flush(worker, 3, batch(end(child)))
    reply = await cell.flush(worker, 4, batch(rest(parent, WAITS)))
    assert reply.kept == {parent}
    assert len(told(reply, parent)) == 1


async def test_end_and_release_in_one_flush(cell: Cell) -> None:
    worker = await cell.member()
    parent, child = await family(cell, worker)
    reply = await cell.flush(worker, 3, batch(end(child), rest(parent, WAITS)))
    assert reply.kept == {parent}
    assert len(told(reply, parent)) == 1


async def test_an_end_waits_for_nobody_who_has_its_parent(cell: Cell) -> None:
    """The parent is being released by a flush that has not committed: the child ends later, and then it is woken."""
    one, two = await cell.member(), await cell.member()
    parent = await cell.owned_run(one)
    child = child_of(parent)
    await cell.flush(one, 2, batch(child))
    assert (await cell.flush(two, 1, batch(claim=1))).claimed == [child.id]
    releasing = await cell.session()
    async with releasing.transaction():
        await cell.flush(one, 3, batch(rest(parent, WAITS)), releasing)
        reply = await cell.flush(two, 2, batch(end(child.id)))
        assert reply.busy_runs == {child.id}
        assert await cell.ended(child.id) is None
    assert not (await cell.flush(two, 3, batch(end(child.id)))).busy_runs
    assert await cell.run(parent) == ("ready", None)


async def test_a_release_waits_for_nobody_who_ends_the_child(cell: Cell) -> None:
    """The other order: the end has locked the parent and has not committed. The release is put off, and sees the message."""
    one, two = await cell.member(), await cell.member()
    parent = await cell.owned_run(one)
    child = child_of(parent)
    await cell.flush(one, 2, batch(child))
    await cell.flush(two, 1, batch(claim=1))
    ending = await cell.session()
    async with ending.transaction():
        await cell.flush(two, 2, batch(end(child.id)), ending)
        reply = await cell.flush(one, 3, batch(rest(parent, WAITS)))
        assert reply.busy_runs == {parent}
    reply = await cell.flush(one, 4, batch(rest(parent, WAITS)))
    assert reply.kept == {parent}
    assert len(told(reply, parent)) == 1


async def test_a_parent_that_was_taken_over_finds_the_message(cell: Cell) -> None:
    one, two = await cell.member(), await cell.member()
    parent = await cell.owned_run(one)
    child = child_of(parent)
    await cell.flush(one, 2, batch(child))
    await cell.flush(two, 1, batch(claim=1))
    await store.takeover(await cell.session(), cell.q, one, await cell.beat_of(one))
    await cell.flush(two, 2, batch(end(child.id)))
    assert (await cell.flush(two, 3, batch(claim=1))).claimed == [parent]
    (claimed,) = await store.claimed_runs(await cell.session(), cell.q, two, [parent])
    assert [m.topic for m in claimed.mail] == ["!ended"]


async def test_a_parent_in_attention_stays_there(cell: Cell) -> None:
    worker = await cell.member()
    parent, child = await family(cell, worker)
    parked = rest(parent)._replace(state="attention", reason="bug", topics="!cancel")
    await cell.flush(worker, 3, batch(parked))
    await cell.flush(worker, 4, batch(end(child)))
    assert await cell.run(parent) == ("attention", None)
    assert await cell.value("SELECT count(*) FROM {}.message WHERE run_id = %s", parent) == 1


async def test_a_parent_that_is_gone_is_told_nothing(cell: Cell) -> None:
    worker = await cell.member()
    parent, child = await family(cell, worker)
    await cell.flush(worker, 3, batch(end(parent)))
    assert not (await cell.flush(worker, 4, batch(end(child)))).busy_runs
    both = await family(cell, other := await cell.member())
    await cell.flush(other, 3, batch(*map(end, both)))
    assert await cell.value("SELECT count(*) FROM {}.message") == 0
    assert await cell.value("SELECT count(*) FROM {}.run_waiter") == 0


async def test_who_asks_after_the_end_is_told_at_once(cell: Cell) -> None:
    worker = await cell.member()
    run, other = await cell.owned_run(worker), await cell.owned_run(worker, 2)
    await cell.flush(worker, 3, batch(end(other, "failed")))
    missing = ids.new_id()
    for n, (asked, state) in enumerate([(other, "failed"), (missing, "missing")], 4):
        reply = await cell.flush(worker, n, awaits(asked, run, str(n)))
        assert {each["path"]: each["state"] for each in told(reply, run)}[str(n)] == state


async def test_who_asks_while_it_ends_asks_again(cell: Cell) -> None:
    one, two = await cell.member(), await cell.member()
    waiter, run = await cell.owned_run(one), await cell.owned_run(two)
    ending = await cell.session()
    async with ending.transaction():
        await cell.flush(two, 2, batch(end(run)), ending)
        assert (await cell.flush(one, 2, awaits(run, waiter))).busy_waits == {(waiter, "child")}
    assert len(told(await cell.flush(one, 3, awaits(run, waiter)), waiter)) == 1


async def test_who_asks_before_it_ends_is_heard_by_the_end(cell: Cell) -> None:
    one, two = await cell.member(), await cell.member()
    waiter, run = await cell.owned_run(one), await cell.owned_run(two)
    asking = await cell.session()
    async with asking.transaction():
        assert not (await cell.flush(one, 2, awaits(run, waiter), asking)).busy_waits
        assert (await cell.flush(two, 2, batch(end(run)))).busy_runs == {run}
    await cell.flush(two, 3, batch(end(run)))
    reply = await cell.flush(one, 3, batch(looks=(waiter,)))
    assert len(told(reply, waiter)) == 1


# Continuations -------------------------------------------------------------------------------------------------------


async def test_a_continuation_takes_over_what_was_addressed_to_it(cell: Cell) -> None:
    worker = await cell.member()
    parent = await cell.owned_run(worker)
    child = child_of(parent, claim=True)._replace(key="k")
    await cell.flush(worker, 2, batch(child))
    await cell.flush(worker, 3, batch(send(child.id), send(None, key="k")))
    new, going = continues(child.id)
    await cell.flush(worker, 4, going)
    assert await cell.run(child.id) is None
    assert await cell.run(new) == ("ready", None)
    assert await cell.value("SELECT run_id FROM {}.start_key WHERE key = 'k'") == new
    assert await cell.value("SELECT run FROM {}.run_waiter WHERE waiter = %s", parent) == new
    assert await cell.value("SELECT parent FROM {}.run WHERE id = %s", new) == parent
    assert (await cell.flush(worker, 5, batch(claim=1))).claimed == [new]
    session = await cell.session()
    (claimed,) = await store.claimed_runs(session, cell.q, worker, [new])
    assert len(claimed.mail) == 2
    late = await store.send_message(session, cell.q, send(child.id))
    assert late == "sent"
    assert await cell.value("SELECT count(*) FROM {}.message WHERE run_id = %s", new) == 3
    (said,) = told(await cell.flush(worker, 6, batch(end(new))), parent)
    assert said["run"] == str(new)
    assert await cell.value("SELECT count(*) FROM {}.message WHERE run_id <> %s", parent) == 0


async def test_a_cancellation_keeps_a_run_from_going_on(cell: Cell) -> None:
    worker = await cell.member()
    run = await cell.owned_run(worker)
    await cell.flush(worker, 2, batch(send(run, "!cancel")))
    new, going = continues(run)
    assert (await cell.flush(worker, 3, going)).cancelled == {run}
    assert await cell.run(new) is None
    assert await cell.run(run) == ("running", worker)


async def test_a_message_that_waits_for_the_continuation_follows(cell: Cell) -> None:
    worker = await cell.member()
    run = await cell.owned_run(worker)
    ending, sender = await cell.session(), await cell.session()
    new, going = continues(run)
    async with ending.transaction():
        await cell.flush(worker, 2, going, ending)
        sent = await cell.blocked(store.send_message(sender, cell.q, send(run)), sender, by=ending)
    assert await sent == "sent"
    assert await cell.value("SELECT run_id FROM {}.message") == new


@pytest.mark.parametrize("when", ["before", "meanwhile", "after"])
async def test_who_waits_for_it_waits_for_what_it_goes_on_as(cell: Cell, when: str) -> None:
    one, two = await cell.member(), await cell.member()
    waiter, run = await cell.owned_run(one), await cell.owned_run(two)
    new, going = continues(run)
    n = 2
    if when == "before":
        await cell.flush(one, n, awaits(run, waiter))
        n += 1
    session = await cell.session()
    async with session.transaction():
        await cell.flush(two, 2, going, session)
        if when == "meanwhile":
            assert (await cell.flush(one, n, awaits(run, waiter))).busy_waits
            n += 1
    if when != "before":
        assert not (await cell.flush(one, n, awaits(run, waiter))).mail
        n += 1
    assert (await cell.flush(two, 3, batch(claim=1))).claimed == [new]
    await cell.flush(two, 4, batch(end(new)))
    (said,) = told(await cell.flush(one, n, batch(looks=(waiter,))), waiter)
    assert said["run"] == str(new)
