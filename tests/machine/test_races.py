"""Sessions that race for one object, in a forced order, at every isolation level."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from itertools import pairwise

import psycopg
import pytest
from psycopg import IsolationLevel, errors

from tests.machine.conftest import LEGAL, STATES, bring, reachable, subscription
from troth import Troth, Tx
from troth.machine import (
    EarlyEventError,
    Fired,
    Firing,
    IllegalTransitionError,
    Machine,
    ObjectExistsError,
    Transition,
    UnknownObjectError,
)
from troth.store.connect import connect_async

COMMITTED = IsolationLevel.READ_COMMITTED
HIGHER = [IsolationLevel.REPEATABLE_READ, IsolationLevel.SERIALIZABLE]


def check_history(entries) -> None:
    """Entries, the latest first, make one chain of legal moves, numbered without a gap."""
    chain = entries[::-1]
    assert [each.seq for each in chain] == list(range(1, len(chain) + 1))
    for before, each in pairwise(chain):
        assert before.to_state == each.from_state
        assert before.at <= each.at
        if each.superseded:
            assert each.to_state == each.from_state
        elif each.event is not None:
            assert LEGAL[each.from_state, each.event] == each.to_state
        else:
            assert each.observed == each.to_state
            assert each.to_state in reachable(each.from_state)


# Two sessions ---------------------------------------------------------------------------------------------------------


async def test_the_second_waits_and_sees_what_the_first_did(machine, cell):
    one, two = await cell.session(), await cell.session()
    await bring(machine, one, "x", "active")
    async with one.transaction():
        await machine.fire(one, "x", "cancel", cause="a")
        waiting = await cell.blocked(machine.fire(two, "x", "fail", cause="b"), two, one)
    with pytest.raises(IllegalTransitionError, match="'canceled'"):
        await waiting
    assert len(await machine.history(one, "x")) == 3


async def test_the_second_goes_on_if_the_first_is_rolled_back(machine, cell):
    one, two = await cell.session(), await cell.session()
    await bring(machine, one, "x", "active")
    async with one.transaction(force_rollback=True):
        await machine.fire(one, "x", "cancel", cause="a")
        waiting = await cell.blocked(machine.fire(two, "x", "fail", cause="b"), two, one)
    assert (await waiting).state == "past_due"
    check_history(await machine.history(one, "x"))


@pytest.mark.parametrize("event", ["fail", "refund"])  # without a guard, and with one
async def test_one_cause_in_two_sessions_is_applied_once(machine, cell, event):
    one, two = await cell.session(), await cell.session()
    await bring(machine, one, "x", "active")
    async with one.transaction():
        first = await machine.fire(one, "x", event, cause="evt")
        waiting = await cell.blocked(machine.fire(two, "x", event, cause="evt"), two, one)
    second = await waiting
    assert (first.repeated, second.repeated) == (False, True)
    assert (second.seq, second.state, second.at) == (first.seq, first.state, first.at)


@pytest.mark.parametrize("commits", [True, False])
async def test_two_sessions_create_one_object(machine, cell, commits):
    one, two = await cell.session(), await cell.session()
    async with one.transaction(force_rollback=not commits):
        await machine.create(one, "x", cause="a")
        with pytest.raises(UnknownObjectError):  # it is not there yet for anybody else
            await machine.fire(two, "x", "try", cause="b")
        waiting = await cell.blocked(machine.create(two, "x", cause="b"), two, one)
    if commits:
        with pytest.raises(ObjectExistsError):
            await waiting
    else:
        assert not (await waiting).repeated
    check_history(await machine.history(one, "x"))


async def test_an_observation_meets_the_creation(machine, cell):
    one, two = await cell.session(), await cell.session()
    async with one.transaction():
        await machine.create(one, "x", cause="run")
        seen = machine.observe(two, "x", "active", version=1, cause="evt")
        waiting = await cell.blocked(seen, two, one)
    found = await waiting
    assert (found.from_state, found.state, found.path, found.seq) == (
        "incomplete", "active", ("activate",), 2,
    )  # fmt: skip


async def test_a_guard_decides_on_what_stays(migrated, cell):
    """While a guard thinks, nobody moves the object to where another guard would have to be asked."""
    one = await cell.session()
    refused = []

    def slow(firing: Firing) -> None:
        with psycopg.connect(migrated[0], autocommit=True) as other:
            other.execute("SET lock_timeout = '30ms'")
            try:
                made.fire_blocking(other, firing.id, "block", cause="theirs")
            except errors.LockNotAvailable:
                refused.append(firing.state)

    made = Machine(
        "guarded",
        initial="open",
        final={"paid"},
        transitions=[
            Transition("pay", "open", "paid", guard=slow),
            Transition("block", "open", "blocked"),
            Transition("pay", "blocked", "paid", guard=lambda _: "it is blocked"),
        ],
    )
    made.bind(migrated[1])
    await made.create(one, "x", cause="made")
    async with one.transaction():
        fired = await made.fire(one, "x", "pay", cause="mine")
    assert (fired.from_state, fired.state, refused) == ("open", "paid", ["open"])
    with pytest.raises(IllegalTransitionError):
        await made.fire(one, "x", "block", cause="theirs")


async def test_who_holds_an_object_decides_on_what_stays(machine, cell):
    one, two = await cell.session(), await cell.session()
    await bring(machine, one, "x", "active")
    async with one.transaction():
        assert (await machine.standing(one, "x", hold=True)).state == "active"
        waiting = await cell.blocked(machine.fire(two, "x", "fail", cause="b"), two, one)
        assert await machine.state(one, "x") == "active"
    assert (await waiting).state == "past_due"


# Isolation ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", HIGHER)
async def test_higher_levels_get_a_serialization_failure(machine, cell, level):
    one, two = await cell.session(level), await cell.session()
    await bring(machine, two, "x", "active")
    acts = {
        "fire": lambda: machine.fire(one, "x", "fail", cause="mine"),
        "the same cause": lambda: machine.fire(one, "x", "renew", cause="theirs"),
        "guarded": lambda: machine.fire(one, "x", "refund", cause="mine"),
        "observe": lambda: machine.observe(one, "x", "canceled", version=9, cause="mine"),
    }
    for name, act in acts.items():
        with pytest.raises(errors.SerializationFailure):  # noqa: PT012
            async with one.transaction():
                await one.execute("SELECT 1")  # the snapshot is taken here
                cause = "theirs" if name == "the same cause" else name
                await machine.fire(two, "x", "renew", cause=cause)
                await act()
    with pytest.raises(errors.SerializationFailure):  # noqa: PT012
        async with one.transaction():
            await one.execute("SELECT 1")
            await machine.create(two, "y", cause="theirs")
            await machine.create(one, "y", cause="mine")
    assert (await machine.fire(one, "x", "renew", cause="theirs")).repeated
    check_history(await machine.history(one, "x"))


@pytest.mark.parametrize(
    ("level", "attempts"), [("read committed", 1), ("repeatable read", 2), ("serializable", 2)]
)
async def test_transaction_steps_try_again(migrated, level, attempts):
    url, schema = migrated
    troth = Troth(url, schema=schema)
    machine = troth.include(subscription())
    begun: list[str] = []

    async with await connect_async(url) as other:
        await bring(machine, other, "x", "active")

        @troth.transaction(isolation=level)
        async def renew(tx: Tx) -> str:
            await tx.execute("SELECT 1")
            begun.append(level)
            if len(begun) == 1:
                await asyncio.wrap_future(
                    asyncio.run_coroutine_threadsafe(
                        machine.fire(other, "x", "fail", cause="theirs"), home
                    )
                )
            return (await machine.fire(tx, "x", "activate", cause="mine")).state

        @troth.workflow
        async def flow() -> str:
            return await renew()

        home = asyncio.get_running_loop()
        async with troth.worker():
            run = await troth.start(flow)
            assert await run.result(timeout=30) == "active"
        assert len(begun) == attempts
        entries = await machine.history(other, "x")
        assert [each.cause for each in entries[:2]] == ["mine", "theirs"]
        check_history(entries)


# Many sessions --------------------------------------------------------------------------------------------------------


async def all_at_once(cell, acts, sessions=20):
    """Run *acts* (each takes a session) on several sessions that all begin together; the answers or errors."""
    opened = [await cell.session() for _ in range(sessions)]
    together = asyncio.Barrier(sessions)

    async def work(session, mine):
        await together.wait()
        return [await answer(act(session)) for act in mine]

    async def answer(doing):
        try:
            return await doing
        except IllegalTransitionError as error:
            return error

    told = await asyncio.gather(
        *(work(session, acts[n::sessions]) for n, session in enumerate(opened))
    )
    return [each for group in told for each in group]


async def test_a_hundred_times_the_same_cause_is_once(machine, cell):
    tx = await cell.session()
    await bring(machine, tx, "x", "active")

    def fail(session):
        return machine.fire(session, "x", "fail", cause="evt")

    told = await all_at_once(cell, [fail] * 100)
    assert Counter(each.repeated for each in told) == {True: 99, False: 1}
    assert {(each.seq, each.state) for each in told} == {(3, "past_due")}
    assert len(await machine.history(tx, "x")) == 3


async def test_of_a_hundred_events_exactly_the_legal_ones_are_applied(machine, cell):
    tx = await cell.session()
    await machine.create(tx, "x", cause="made")
    dice = random.Random(5)
    events = [dice.choice(["activate", "renew", "fail", "try", "cancel"]) for _ in range(95)]
    events += ["refund"] * 5

    def firing(number, event):
        return lambda session: machine.fire(session, "x", event, cause=f"evt_{number}")

    told = await all_at_once(cell, [firing(*each) for each in enumerate(events)])
    entries = await machine.history(tx, "x")
    check_history(entries)
    applied = [each for each in told if isinstance(each, Fired)]
    assert {(each.seq, each.from_state, each.state) for each in applied} == {
        (each.seq, each.from_state, each.to_state) for each in entries[:-1]
    }
    for refused in (each for each in told if isinstance(each, IllegalTransitionError)):
        assert (refused.state, refused.wanted) not in LEGAL
        may_come = any((one, refused.wanted) in LEGAL for one in reachable(refused.state))
        assert isinstance(refused, EarlyEventError) == may_come
    assert len(told) == 100


async def test_versions_in_any_order_end_at_the_greatest(machine, cell):
    tx = await cell.session()
    dice = random.Random(11)
    truth = {}
    acts = []

    def seeing(name, version, state):
        return lambda session: machine.observe(
            session, name, state, version=version, cause=f"evt_{version}"
        )

    for name in (f"sub_{n}" for n in range(12)):
        state, walk = "incomplete", []
        while (legal := [to for (one, _), to in LEGAL.items() if one == state]) and len(walk) < 8:
            state = dice.choice(legal)
            walk.append(state)
        truth[name] = (walk[-1], len(walk))
        acts += [seeing(name, *each) for each in enumerate(walk, 1)] * 2
    dice.shuffle(acts)
    told = await all_at_once(cell, acts, sessions=6)
    assert all(isinstance(each, Fired) for each in told)
    for name, (state, version) in truth.items():
        standing = await machine.standing(tx, name)
        assert (standing.state, standing.version) == (state, version)
        entries = await machine.history(tx, name)
        assert len(entries) == version  # each once
        check_history(entries)
    assert set(STATES) >= {state for state, _ in truth.values()}
