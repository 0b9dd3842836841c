"""Declared schedules: fired once, by the newest deployment, with what becomes of those that come at a bad time."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest

from tests.schedule.conftest import Desk
from troth import UsageError
from troth.schedule import CronError, DeclaredScheduleError, Schedules, store
from troth.store.connect import connect_async
from troth.store.plan import carry_out

DAY = timedelta(days=1)


async def test_a_firing_is_a_run_with_the_arguments_of_its_time(desk: Desk):
    troth, schedules = desk.program()

    @schedules.every("0 9 * * *", tz="Asia/Tokyo", args=lambda at: (at.date(), at))
    @troth.workflow
    async def nightly(day: date, at: datetime) -> None: ...

    assert await desk.look(schedules) > 0
    assert await desk.inputs() == []
    await desk.rows(
        "UPDATE {}.schedule SET next_at = date_trunc('minute', now()), look_at = now() - interval '1 s'"
    )
    at = await desk.next_at("nightly")
    assert at is not None
    await desk.look(schedules)
    await desk.look(schedules)
    local = at.astimezone(schedules_zone("Asia/Tokyo"))
    assert await desk.inputs() == [
        b'{"at":"%s","day":"%s"}' % (local.isoformat().encode(), local.date().isoformat().encode())
    ]
    ((result, run),) = await desk.history("nightly")
    assert result == "started"
    ((key, of),) = await desk.rows("SELECT key, run_id FROM {}.start_key")
    assert of == run
    assert key.startswith("schedule:nightly:20")
    following = await desk.next_at("nightly")
    assert following is not None
    assert (following.astimezone(schedules_zone("UTC")).hour, following > at) == (0, True)


def schedules_zone(name: str):
    from troth.schedule import rules

    return rules.zone(name)


async def test_a_time_is_fired_once_even_if_the_clock_or_the_row_goes_back(desk, ticking):
    schedules = ticking(overlap="allow")
    await desk.look(schedules)
    at = await desk.due("tick")
    await desk.look(schedules)
    await desk.rows("UPDATE {}.schedule SET next_at = %s, look_at = %s", at, at)
    await desk.look(schedules)
    first, second = await desk.history("tick")
    assert first == second
    assert len(await desk.inputs()) == 1


@pytest.mark.parametrize(
    ("overlap", "results", "runs"),
    [
        ("skip", ["started", "overlapped"], 1),
        ("allow", ["started", "started"], 2),
        ("queue", ["started"], 1),
        ("cancel_previous", ["started", "started"], 2),
    ],
)
async def test_overlap(desk, ticking, overlap, results, runs):
    schedules = ticking(overlap=overlap)
    await desk.look(schedules)
    await desk.due("tick")
    await desk.look(schedules)
    await desk.due("tick")
    await desk.look(schedules)
    assert await desk.results("tick") == results
    assert len(await desk.inputs()) == runs
    cancelled = await desk.rows("SELECT run_id FROM {}.message WHERE topic = '!cancel'")
    first = (await desk.history("tick"))[0][1]
    assert cancelled == ([(first,)] if overlap == "cancel_previous" else [])


async def test_what_is_queued_follows_when_the_run_before_has_ended(desk, ticking):
    schedules = ticking(overlap="queue", catch_up=timedelta(0))
    await desk.look(schedules)
    await desk.due("tick")
    await desk.look(schedules)
    at = await desk.due("tick")
    await desk.look(schedules)
    assert await desk.next_at("tick") == at
    await desk.ends((await desk.history("tick"))[0][1])
    await desk.rows("UPDATE {}.schedule SET look_at = now()")
    await desk.look(schedules)
    assert await desk.results("tick") == ["started", "started"]


async def test_a_run_that_goes_on_as_another_has_not_ended(desk, ticking):
    schedules = ticking(overlap="skip")
    await desk.look(schedules)
    await desk.due("tick")
    await desk.look(schedules)
    first = (await desk.history("tick"))[0][1]
    await desk.goes_on(first)
    await desk.due("tick")
    await desk.look(schedules)
    assert await desk.results("tick") == ["started", "overlapped"]
    _, entries = await carry_out(desk.tx, store.show(store.queries(desk.schema), "tick", 10))
    assert [entry.run_state for entry in entries] == [None, "ready"]


async def test_a_cancellation_that_would_have_to_wait_is_asked_for_later(desk, ticking):
    schedules = ticking(overlap="cancel_previous")
    await desk.look(schedules)
    await desk.due("tick")
    await desk.look(schedules)
    at = await desk.due("tick")
    async with await connect_async(desk.url) as other, other.transaction():
        await other.execute(f"SELECT 1 FROM {desk.schema}.run FOR UPDATE")
        await desk.look(schedules)
        assert await desk.next_at("tick") == at
    await desk.rows("UPDATE {}.schedule SET look_at = now()")
    await desk.look(schedules)
    assert await desk.results("tick") == ["started", "started"]


async def test_workers_that_were_down_make_up_for_what_is_not_too_late(desk, ticking):
    schedules = ticking(
        "*/10 * * * *", catch_up=timedelta(minutes=35), missed="all", overlap="allow"
    )
    await desk.look(schedules)
    await desk.rows(
        "UPDATE {}.schedule SET next_at = date_bin('10 min', now() - interval '3 h', 'epoch'), look_at = now()"
    )
    await desk.look(schedules)
    results = await desk.results("tick")
    assert results[0] == "missed"
    assert results[1:] in (["started"] * 3, ["started"] * 4)


async def test_a_pause_is_slept_through_and_recorded(desk, ticking):
    schedules = ticking("* * * * *")
    await desk.look(schedules)
    await schedules.pause(desk.tx, "tick", by="ada", note="migration")
    await schedules.pause(desk.tx, "tick", by="bob")
    await desk.due("tick", timedelta(minutes=10))
    await desk.look(schedules)
    assert await desk.results("tick") == []
    assert await desk.rows("SELECT paused_by, paused_note FROM {}.schedule") == [
        ("ada", "migration")
    ]
    await schedules.resume(desk.tx, "tick", by="bob")
    assert await desk.results("tick") == ["paused"]
    next_at = await desk.next_at("tick")
    assert next_at is not None
    assert next_at > await desk.now()
    await schedules.resume(desk.tx, "tick", by="bob")  # nothing more happens
    assert await desk.results("tick") == ["paused"]


async def test_what_is_paused_or_of_another_version_is_passed_by_when_others_fire(desk):
    def program(cron: str):
        troth, schedules = desk.program()

        @schedules.every("0 0 1 1 *", name="mine")
        @schedules.every("0 0 1 1 *", name="paused")
        @schedules.every(cron, name="newer")
        @troth.workflow
        async def tick() -> None: ...

        return schedules

    old, new = program("0 1 1 1 *"), program("0 2 1 1 *")
    await desk.look(old)
    await desk.look(new)
    await old.pause(desk.tx, "paused", by="ada")
    for name in ("mine", "paused", "newer"):
        await desk.due(name)
    await desk.look(old)
    assert [await desk.results(name) for name in ("mine", "paused", "newer")] == [
        ["started"],
        [],
        [],
    ]
    await old.run(desk.tx, "newer", by="ada")
    await desk.look(old)
    assert await desk.results("newer") == []


async def test_run_now_is_recorded_with_who_and_ignores_pause_and_overlap(desk, ticking):
    schedules = ticking()
    await desk.look(schedules)
    next_at = await desk.next_at("tick")
    await schedules.pause(desk.tx, "tick", by="ada")
    await schedules.run(desk.tx, "tick", by="ada", note="try it")
    await schedules.run(desk.tx, "tick", by="bob")
    await desk.look(schedules)
    found = await desk.rows("SELECT result, by, note FROM {}.schedule_firing ORDER BY n")
    assert found == [("started", "ada", "try it"), ("started", "bob", None)]
    assert len(await desk.inputs()) == 2
    assert await desk.next_at("tick") == next_at
    assert await desk.rows("SELECT 1 FROM {}.schedule_wish") == []


async def test_backfill_fires_each_time_once_and_not_what_was_fired(desk, ticking):
    schedules = ticking("0 * * * *")
    await desk.look(schedules)
    at = (await desk.now()).replace(minute=0, second=0, microsecond=0)
    await desk.rows("UPDATE {}.schedule SET next_at = %s, look_at = now()", at)
    await desk.look(schedules)
    assert len(await desk.inputs()) == 1
    day = (at - timedelta(hours=9), at)
    assert await schedules.backfill(desk.tx, "tick", *day, by="ada") == 10
    await desk.look(schedules)
    assert len(await desk.inputs()) == 10
    assert await schedules.backfill(desk.tx, "tick", *day, by="ada") == 10
    await desk.look(schedules)
    assert len(await desk.inputs()) == 10
    with pytest.raises(UsageError, match="more than 1000"):
        await schedules.backfill(desk.tx, "tick", at - 90 * DAY, at, by="ada")
    with pytest.raises(UsageError, match="has not come"):
        await schedules.backfill(desk.tx, "tick", at, at + DAY, by="ada")


async def test_arguments_that_cannot_be_made_are_recorded_and_others_fire(desk, caplog):
    troth, schedules = desk.program()

    def broken(at: datetime) -> tuple[int]:
        raise RuntimeError("no")

    @schedules.every("0 0 1 1 *", args=broken)
    @schedules.every("0 0 1 1 *", args=lambda at: ("x",), name="wrong")
    @schedules.every("0 0 1 1 *", args=lambda at: (1,), name="right")
    @troth.workflow
    async def tick(n: int) -> None: ...

    await desk.look(schedules)
    for name in ("tick", "right", "wrong"):
        await desk.due(name)
    await desk.look(schedules)
    assert await desk.results("tick") == ["failed"]
    assert await desk.results("wrong") == ["failed"]
    assert await desk.results("right") == ["started"]
    ((note,),) = await desk.rows("SELECT note FROM {}.schedule_firing WHERE schedule = 'tick'")
    assert note == "RuntimeError: no"


async def test_history_is_bounded(desk, ticking):
    schedules = ticking(overlap="allow")
    await desk.look(schedules)
    for _ in range(6):
        for _ in range(20):
            await schedules.run(desk.tx, "tick", by="ada")
        await desk.look(schedules)
    assert len(await desk.results("tick")) == 100
    assert len(await desk.inputs()) == 120


# Declarations ---------------------------------------------------------------------------------------------------------


async def test_the_newest_deployment_wins_and_the_old_one_does_not_come_back(desk, ticking):
    old, new = ticking("0 1 1 1 *"), ticking("0 2 1 1 *")
    for each in (
        old,
        new,
        old,
        ticking("0 1 1 1 *"),
        new,
    ):  # the fourth: an old process is restarted
        await desk.look(each)
    assert (await desk.next_at("tick")).hour == 2
    await desk.due("tick")
    await desk.look(old)
    assert await desk.results("tick") == []
    await desk.look(new)
    assert await desk.results("tick") == ["started"]


async def test_a_rollback_wins_once_the_new_version_is_gone(desk, ticking):
    old, new = ticking("0 1 1 1 *"), ticking("0 2 1 1 *")
    for each in (old, new):
        await desk.look(each)
    await desk.rows("UPDATE {}.schedule SET seen_at = now() - interval '61 s'")
    await desk.look(old)
    assert (await desk.next_at("tick")).hour == 1
    await desk.look(new)  # which has lost now
    assert (await desk.next_at("tick")).hour == 1


async def test_other_options_leave_the_next_time_as_it_is(desk, ticking):
    await desk.look(ticking())
    at = await desk.due("tick", timedelta(minutes=3))
    new = ticking(overlap="allow")
    await desk.look(new)
    assert await desk.results("tick") == ["started"]
    ((key,),) = await desk.rows("SELECT key FROM {}.start_key")
    assert key == f"schedule:tick:{at:%Y-%m-%dT%H:%M:%S}Z"


async def test_a_schedule_that_nobody_declares_rests(desk, ticking):
    await desk.look(ticking())
    await desk.due("tick")
    troth, without = desk.program()

    @troth.workflow
    async def tick() -> None: ...

    await desk.look(without)
    assert await desk.results("tick") == []
    with pytest.raises(DeclaredScheduleError):
        await without.delete(desk.tx, "tick")  # somebody was there just now
    await desk.rows("UPDATE {}.schedule SET seen_at = now() - interval '61 s'")
    with pytest.raises(DeclaredScheduleError, match="nobody could fire it"):
        await without.run(desk.tx, "tick", by="ada")
    await without.delete(desk.tx, "tick")
    assert await desk.rows("SELECT 1 FROM {}.schedule") == []


async def test_what_is_declared_is_confirmed_rarely(desk, ticking):
    schedules = ticking()
    await desk.look(schedules)
    ((seen,),) = await desk.rows("SELECT seen_at FROM {}.schedule")
    await desk.look(schedules)
    assert await desk.rows("SELECT seen_at FROM {}.schedule") == [(seen,)]
    await desk.rows("UPDATE {}.schedule SET seen_at = now() - interval '21 s'")
    await desk.look(schedules)
    ((again,),) = await desk.rows("SELECT seen_at FROM {}.schedule")
    assert again > seen


def test_declarations_that_cannot_be(desk):
    troth, schedules = desk.program()

    @troth.workflow
    async def takes(n: int) -> None: ...

    @troth.workflow
    async def takes_nothing() -> None: ...

    with pytest.raises(UsageError):
        schedules.every("0 9 * * *")(takes)  # and nothing makes its argument
    with pytest.raises(CronError):
        schedules.every("0 25 * * *")(takes_nothing)
    with pytest.raises(UsageError, match="no option"):
        schedules.every("0 9 * * *", overlaps="skip")(takes_nothing)
    with pytest.raises(UsageError, match="no queue"):
        schedules.every("0 9 * * *", partition="a")(takes_nothing)
    with pytest.raises(UsageError, match="not a workflow"):
        schedules.every("0 9 * * *")(test_declarations_that_cannot_be)
    schedules.every("0 9 * * *")(takes_nothing)
    with pytest.raises(UsageError, match="two schedules"):
        schedules.every("0 10 * * *")(takes_nothing)
    with pytest.raises(UsageError, match="belong to no program"):
        _ = Schedules(troth).relays
