"""What the verbs do, one session at a time."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest

from tests.machine.conftest import EVENTS, LEGAL, STATES, bring, reachable, subscription
from troth import Troth
from troth.base.errors import PayloadError, UsageError
from troth.machine import (
    CauseConflictError,
    EarlyEventError,
    GuardRefusedError,
    IllegalTransitionError,
    Machine,
    ObjectExistsError,
    Transition,
    UnknownObjectError,
)
from troth.store.connect import connect_blocking
from troth.store.failure import DatabaseError


@pytest.fixture
async def tx(cell):
    return await cell.session()


# Every pair -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", STATES)
async def test_every_event_in_every_state(machine, tx, state):
    for event in EVENTS:
        await bring(machine, tx, event, state)
        before = await machine.history(tx, event)
        if (state, event) in LEGAL:
            fired = await machine.fire(tx, event, event, cause="now")
            assert (fired.from_state, fired.state) == (state, LEGAL[state, event])
            assert await machine.state(tx, event) == LEGAL[state, event]
            continue
        can_come = any((other, event) in LEGAL for other in reachable(state))
        with pytest.raises(IllegalTransitionError) as caught:
            await machine.fire(tx, event, event, cause="now")
        assert isinstance(caught.value, EarlyEventError) == can_come
        legal = {each for one, each in LEGAL if one == state}
        assert (caught.value.state, caught.value.wanted) == (state, event)
        assert set(caught.value.legal) == legal
        assert all(word in str(caught.value) for word in {state, event, *legal})
        assert await machine.history(tx, event) == before
        assert await machine.state(tx, event) == state


@pytest.mark.parametrize("state", STATES)
async def test_every_state_is_observed_in_every_state(machine, tx, state):
    for seen in STATES:
        await bring(machine, tx, seen, state)
        if seen in reachable(state):
            found = await machine.observe(tx, seen, seen, version=7, cause="evt")
            assert (found.from_state, found.state, found.superseded) == (state, seen, False)
            here = state
            for event in found.path:  # the way it tells is a legal one
                here = LEGAL[here, event]
            assert here == seen
            (entry, *_) = await machine.history(tx, seen)
            assert (entry.observed, entry.event, entry.path) == (seen, None, found.path)
            continue
        with pytest.raises(IllegalTransitionError, match=seen):
            await machine.observe(tx, seen, seen, version=7, cause="evt")
        assert await machine.state(tx, seen) == state


# Causes ---------------------------------------------------------------------------------------------------------------


async def test_a_cause_counts_once_and_is_answered_as_at_first(machine, tx):
    made = await machine.create(tx, "x", cause="run:1")
    first = await machine.fire(tx, "x", "activate", cause="evt_1", version=3)
    await machine.fire(tx, "x", "fail", cause="evt_2", version=4)
    for verb, cause, answer in (
        (lambda: machine.create(tx, "x", cause="run:1"), "run:1", made),
        (lambda: machine.fire(tx, "x", "activate", cause="evt_1"), "evt_1", first),
    ):
        again = await verb()
        assert again.repeated, cause
        assert not answer.repeated
        assert (again.from_state, again.state, again.seq, again.at, again.version) == (
            answer.from_state,
            answer.state,
            answer.seq,
            answer.at,
            answer.version,
        )
    assert await machine.state(tx, "x") == "past_due"
    assert len(await machine.history(tx, "x")) == 3


async def test_one_cause_for_two_things_is_an_error(machine, tx):
    await machine.create(tx, "x", cause="c")
    await machine.fire(tx, "x", "try", cause="t")
    with pytest.raises(
        CauseConflictError, match=r"'c' created it \(entry 1\), and fired 'cancel' now"
    ):
        await machine.fire(tx, "x", "cancel", cause="c")
    with pytest.raises(CauseConflictError, match="fired 'try'"):
        await machine.observe(tx, "x", "trialing", version=1, cause="t")
    with pytest.raises(CauseConflictError):
        await machine.create(tx, "x", cause="t")
    with pytest.raises(CauseConflictError):
        await machine.fire(tx, "x", "activate", cause="t")
    await machine.observe(tx, "x", "active", version=1, cause="o")
    with pytest.raises(CauseConflictError, match="observed 'active'"):
        await machine.observe(tx, "x", "past_due", version=2, cause="o")
    assert await machine.state(tx, "x") == "active"
    await machine.create(tx, "y", cause="c")  # of another object it is another cause


async def test_who_is_there_and_who_is_not(machine, tx):
    await machine.create(tx, "x", cause="a")
    with pytest.raises(ObjectExistsError, match="incomplete"):
        await machine.create(tx, "x", cause="b")
    with pytest.raises(UnknownObjectError, match="'y'"):
        await machine.fire(tx, "y", "try", cause="c")
    with pytest.raises(UnknownObjectError):
        await machine.fire(tx, "y", "refund", cause="c")  # with a guard: another way to it
    with pytest.raises(UnknownObjectError):
        await machine.state(tx, "y")
    seen = await machine.observe(tx, "y", "past_due", version=1, cause="evt")
    assert (seen.from_state, seen.state, seen.seq, seen.path) == (None, "past_due", 1, ())
    assert (await machine.observe(tx, "y", "past_due", version=1, cause="evt")).repeated


# Versions -------------------------------------------------------------------------------------------------------------


async def test_what_is_not_newer_is_recorded_and_changes_nothing(machine, tx):
    await machine.create(tx, "x", cause="made")
    await machine.fire(tx, "x", "activate", cause="e5", version=5)
    for cause, late in (("e4", 4), ("e5b", 5)):
        fired = await machine.fire(tx, "x", "fail", cause=cause, version=late)
        assert (fired.superseded, fired.state, fired.version) == (True, "active", late)
    illegal = await machine.fire(
        tx, "x", "try", cause="e3", version=3
    )  # nobody asks if it was legal
    assert illegal.superseded
    seen = await machine.observe(tx, "x", "incomplete", version=1, cause="e1")
    assert (seen.superseded, seen.state) == (True, "active")
    assert (await machine.fire(tx, "x", "fail", cause="e4", version=4)).repeated
    standing = await machine.standing(tx, "x")
    assert (standing.state, standing.version, standing.seq) == ("active", 5, 6)
    await machine.fire(tx, "x", "fail", cause="own")  # without a version: ours, in our order
    standing = await machine.standing(tx, "x")
    assert (standing.state, standing.version) == ("past_due", 5)
    entries = await machine.history(tx, "x")
    assert [each.superseded for each in entries] == [False, True, True, True, True, False, False]


# Guards ---------------------------------------------------------------------------------------------------------------


async def test_a_guard_says_why_not(machine, tx):
    await bring(machine, tx, "x", "active")
    with pytest.raises(GuardRefusedError, match="500 is more than 100") as caught:
        await machine.fire(tx, "x", "refund", cause="r", data={"amount": 500})
    assert caught.value.reason == "500 is more than 100"
    assert not isinstance(caught.value, EarlyEventError)
    assert await machine.state(tx, "x") == "active"
    await machine.fire(tx, "x", "refund", cause="r", data={"amount": 50})
    again = await machine.fire(tx, "x", "refund", cause="r", data={"amount": 500})
    assert (again.repeated, again.state) == (True, "refunded")


async def test_a_guard_that_refuses_does_not_hide_a_repetition(migrated, tx):
    door = Machine(
        "door",
        initial="shut",
        transitions=[
            Transition("open", "shut", "open", guard=lambda f: None if f.data else "no key"),
            Transition("close", "open", "shut"),
        ],
    )
    door.bind(migrated[1])
    await door.create(tx, "x", cause="made")
    await door.fire(tx, "x", "open", cause="1", data="key", version=10)
    await door.fire(tx, "x", "close", cause="2", version=11)
    assert (await door.fire(tx, "x", "open", cause="1")).repeated  # legal again, and refused
    assert (await door.fire(tx, "x", "open", cause="0", version=9)).superseded
    with pytest.raises(GuardRefusedError):
        await door.fire(tx, "x", "open", cause="3")


async def test_a_guard_is_told_where_the_object_stands(migrated, tx):
    told = []
    clock = Machine(
        "clock",
        initial="on",
        final={"off"},
        transitions=[Transition("stop", "on", "off", guard=told.append)],
    )
    clock.bind(migrated[1])
    made = await clock.create(tx, "x", cause="made")
    await clock.fire(tx, "x", "stop", cause="c", version=9, by="ada", data=[1])
    (firing,) = told
    assert (firing.machine, firing.id, firing.event, firing.state, firing.to) == (
        "clock", "x", "stop", "on", "off",
    )  # fmt: skip
    assert (firing.version, firing.cause, firing.by, firing.data) == (9, "c", "ada", [1])
    assert firing.since == made.at
    assert timedelta(0) <= firing.now - firing.since < timedelta(minutes=1)


# History --------------------------------------------------------------------------------------------------------------


async def test_history_tells_everything_and_comes_in_pages(machine, tx):
    await machine.create(tx, "x", cause="run:1", by="ada", why="signed up", data={"plan": "pro"})
    await machine.fire(tx, "x", "activate", cause="evt", version=4, by="stripe", data=["\\u0000"])
    latest, first = await machine.history(tx, "x")
    assert (first.seq, first.event, first.observed, first.from_state, first.to_state) == (
        1, None, None, None, "incomplete",
    )  # fmt: skip
    assert (first.cause, first.by, first.why, first.data) == (
        "run:1", "ada", "signed up", {"plan": "pro"},
    )  # fmt: skip
    assert (latest.seq, latest.event, latest.from_state, latest.to_state, latest.version) == (
        2, "activate", "incomplete", "active", 4,
    )  # fmt: skip
    assert (latest.by, latest.why, latest.data) == ("stripe", None, ["\\u0000"])
    assert first.at <= latest.at
    assert await machine.history(tx, "x", limit=1) == [latest]
    assert await machine.history(tx, "x", before=2) == [first]
    assert await machine.history(tx, "nobody") == []


async def test_history_cannot_be_changed(machine, tx, migrated):
    await machine.create(tx, "x", cause="made")
    for change in ("UPDATE {} SET why = 'other'", "DELETE FROM {}", "TRUNCATE {}"):
        with pytest.raises(DatabaseError, match="append-only"):
            await tx.execute(change.format(f"{migrated[1]}.machine_history"))
    assert len(await machine.history(tx, "x")) == 1


async def test_only_old_history_is_forgotten_and_never_the_latest_entry(machine, tx, migrated):
    for object_id in ("x", "y"):
        await bring(machine, tx, object_id, "past_due")
    assert await machine.forget(tx, timedelta(hours=1)) == 0
    assert await machine.forget(tx, timedelta(0), limit=3) == 3
    assert await machine.forget(tx, timedelta(0)) == 1
    assert await machine.forget(tx, timedelta(0)) == 0
    for object_id in ("x", "y"):
        assert [each.seq for each in await machine.history(tx, object_id)] == [3]
        assert (await machine.fire(tx, object_id, "cancel", cause="c")).seq == 4
    with pytest.raises(
        DatabaseError, match="append-only"
    ):  # it was allowed inside the function alone
        await tx.execute(f"DELETE FROM {migrated[1]}.machine_history")


async def test_since_is_when_the_state_was_entered(machine, tx):
    await bring(machine, tx, "x", "active")
    entered = (await machine.standing(tx, "x")).since
    renewed = await machine.fire(tx, "x", "renew", cause="r")
    assert renewed.at > entered
    assert (await machine.standing(tx, "x")).since == entered


async def test_nothing_stays_of_what_is_rolled_back(machine, tx):
    await machine.create(tx, "x", cause="made")
    async with tx.transaction(force_rollback=True):
        await machine.fire(tx, "x", "try", cause="t")
        await machine.create(tx, "y", cause="made")
    assert await machine.state(tx, "x") == "incomplete"
    assert (await machine.fire(tx, "x", "activate", cause="t")).seq == 2
    with pytest.raises(UnknownObjectError):
        await machine.state(tx, "y")


# Lists ----------------------------------------------------------------------------------------------------------------


async def test_objects_of_a_state_come_in_pages(machine, tx):
    ids = sorted(str(uuid4()) for _ in range(5))
    for object_id in ids:
        await machine.create(tx, object_id, cause="made")
    await machine.fire(tx, ids[2], "try", cause="t")
    page = await machine.where(tx, "incomplete", limit=3)
    assert [each.id for each in page] == [ids[0], ids[1], ids[3]]
    rest = await machine.where(tx, "incomplete", after=page[-1].id)
    assert [each.id for each in rest] == [ids[4]]
    assert [each.id for each in await machine.where(tx, "trialing")] == [ids[2]]


# Arguments ------------------------------------------------------------------------------------------------------------


async def test_arguments_that_cannot_be_are_refused_before_the_database_is_asked(machine, tx):
    await machine.create(tx, "x", cause="made")
    wrong = [
        {"object_id": ""}, {"object_id": "a\0"}, {"object_id": "\ud800"}, {"object_id": "é" * 251},
        {"cause": ""}, {"cause": "c" * 1001}, {"version": 2**63}, {"version": True}, {"version": "1"},
        {"event": "explode"}, {"by": "a\0"}, {"why": "w" * 4001},
    ]  # fmt: skip
    for each in wrong:
        with pytest.raises(UsageError):
            await machine.fire(tx, **{"object_id": "x", "event": "try", "cause": "c"} | each)
    for data in ("\0", "d" * 20_000, object()):
        with pytest.raises(PayloadError):
            await machine.fire(tx, "x", "try", cause="c", data=data)
    with pytest.raises(UsageError, match="trialing"):
        await machine.observe(tx, "x", "paused", version=1, cause="c")
    with pytest.raises(UsageError, match="version"):
        await machine.observe(tx, "x", "active", version=None, cause="c")
    with pytest.raises(UsageError):
        await machine.where(tx, "active", limit=0)
    assert len(await machine.history(tx, "x")) == 1


async def test_the_longest_names_fit(machine, tx):
    object_id, cause = "é" * 250, "€" * 333
    await machine.create(tx, object_id, cause=cause)
    assert (await machine.create(tx, object_id, cause=cause)).repeated


async def test_a_machine_must_be_included(tx, migrated):
    lonely = subscription()
    with pytest.raises(UsageError, match="include"):
        await lonely.create(tx, "x", cause="c")
    troth = Troth(migrated[0], schema=migrated[1])
    assert troth.include(lonely) is lonely
    await lonely.create(tx, "x", cause="c")


async def test_a_state_that_was_taken_out_of_the_declaration(machine, tx, migrated):
    await bring(machine, tx, "x", "past_due")
    other = Machine(
        machine.name, initial="incomplete", final={"active"},
        transitions=[Transition("activate", "incomplete", "active")],
    )  # fmt: skip
    other.bind(migrated[1])
    with pytest.raises(IllegalTransitionError, match="does not have that state"):
        await other.fire(tx, "x", "activate", cause="c")


def test_threads_do_the_same(machine, migrated):
    with connect_blocking(migrated[0]) as tx:
        object_id = uuid4()
        machine.create_blocking(tx, object_id, cause="made")
        assert machine.fire_blocking(tx, object_id, "activate", cause="a").state == "active"
        assert machine.fire_blocking(tx, object_id, "activate", cause="a").repeated
        with pytest.raises(GuardRefusedError):
            machine.fire_blocking(tx, object_id, "refund", cause="r", data={"amount": 101})
        seen = machine.observe_blocking(tx, object_id, "past_due", version=3, cause="o")
        assert seen.path == ("fail",)
        assert machine.state_blocking(tx, object_id) == "past_due"
        assert machine.standing_blocking(tx, object_id, hold=True).version == 3
        assert [each.seq for each in machine.history_blocking(tx, object_id)] == [3, 2, 1]
        assert [each.id for each in machine.where_blocking(tx, "past_due")] == [str(object_id)]
        assert machine.forget_blocking(tx, timedelta(0)) == 2
