"""Schedules that are users' data: stored in a transaction, changed, deleted, fired by every program with their workflow."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest

from tests.harness.cell import until
from troth import PayloadError, UsageError
from troth.schedule import (
    CronError,
    DeclaredScheduleError,
    ScheduleExistsError,
    ScheduleNotFoundError,
)
from troth.store.connect import connect_blocking
from troth.workflow.queue import Queue


@pytest.fixture
def reports(desk):
    """A program with the workflow `report`."""
    troth, schedules = desk.program()

    @troth.workflow(queue=Queue("reports"))
    async def report(customer: str, at: datetime) -> None: ...

    return troth, schedules, report


async def test_stored_if_and_only_if_its_transaction_commits(desk, reports):
    _, schedules, report = reports
    made = {"args": {"customer": "c1"}, "time_in": "at", "partition": "c1", "priority": 5}
    async with desk.tx.transaction(force_rollback=True):
        await schedules.create(desk.tx, "r", report, "0 9 * * *", **made)
    assert await desk.rows("SELECT 1 FROM {}.schedule") == []
    await schedules.create(desk.tx, "r", report, "0 9 * * *", tz="Europe/Berlin", **made)
    with pytest.raises(ScheduleExistsError):
        await schedules.create(desk.tx, "r", report, "0 9 * * *", **made)
    await desk.due("r", timedelta(minutes=5))
    await desk.look(schedules)
    ((given, queue, partition, priority),) = await desk.rows(
        "SELECT input, queue, partition, priority FROM {}.run"
    )
    assert bytes(given).startswith(b'{"at":"20')
    assert bytes(given).endswith(b'"customer":"c1"}')
    assert (queue, partition, priority) == ("reports", "c1", 5)


async def test_a_program_without_the_workflow_leaves_it_alone(desk, reports):
    _, schedules, report = reports
    await schedules.create(desk.tx, "r", report, "0 9 * * *", args={"customer": "c"}, time_in="at")
    await desk.due("r")
    _, other = desk.program()
    await desk.look(other)
    assert await desk.results("r") == []
    await desk.look(schedules)
    assert await desk.results("r") == ["started"]


async def test_change_keeps_the_next_time_unless_the_times_change(desk, reports):
    _, schedules, report = reports
    await schedules.create(desk.tx, "r", report, "0 9 * * *", args={"customer": "c"}, time_in="at")
    at = await desk.due("r")
    await schedules.change(desk.tx, "r", args={"customer": "d"}, overlap="allow")
    assert await desk.next_at("r") == at
    await schedules.change(desk.tx, "r", cron="30 10 * * *")
    next_at = await desk.next_at("r")
    assert (next_at.hour, next_at.minute) == (10, 30)
    assert next_at > await desk.now()
    assert await desk.rows("SELECT overlap, input FROM {}.schedule") == [
        ("allow", b'{"customer":"d"}')
    ]
    with pytest.raises(CronError):
        await schedules.change(desk.tx, "r", tz="Nowhere")
    with pytest.raises(PayloadError):
        await schedules.change(desk.tx, "r", args={"customer": 5})
    with pytest.raises(UsageError):
        await schedules.change(desk.tx, "r", args={})


async def test_delete_forgets_it(desk, reports):
    _, schedules, report = reports
    await schedules.create(desk.tx, "r", report, "0 9 * * *", args={"customer": "c"}, time_in="at")
    await schedules.run(desk.tx, "r", by="ada")
    await desk.look(schedules)
    await schedules.run(desk.tx, "r", by="ada")
    await schedules.delete(desk.tx, "r")
    for table in ("schedule", "schedule_firing", "schedule_wish"):
        assert await desk.rows("SELECT 1 FROM {}." + table) == []
    for act in (
        schedules.delete(desk.tx, "r"),
        schedules.change(desk.tx, "r", cron="* * * * *"),
        schedules.pause(desk.tx, "r", by="a"),
        schedules.resume(desk.tx, "r", by="a"),
        schedules.run(desk.tx, "r", by="a"),
    ):
        with pytest.raises(ScheduleNotFoundError):
            await act


async def test_a_declared_one_is_not_changed_as_data_nor_the_other_way_round(desk, ticking, caplog):
    declared = ticking()
    await desk.look(declared)
    with pytest.raises(DeclaredScheduleError):
        await declared.change(desk.tx, "tick", cron="* * * * *")
    with pytest.raises(DeclaredScheduleError):
        await declared.delete(desk.tx, "tick")
    await desk.rows("DELETE FROM {}.schedule")
    await declared.create(desk.tx, "tick", declared._program.workflows["tick"], "0 9 1 1 *")
    await desk.look(declared)
    assert "stored schedule of this name" in caplog.text
    assert await desk.rows("SELECT cron FROM {}.schedule") == [("0 9 1 1 *",)]


async def test_arguments_are_checked_when_it_is_stored(desk, reports):
    _, schedules, report = reports
    with pytest.raises(UsageError):
        await schedules.create(desk.tx, "r", report, "0 9 * * *", args={"customer": "c"})
    with pytest.raises(PayloadError):
        await schedules.create(
            desk.tx, "r", report, "0 9 * * *", args={"customer": 1}, time_in="at"
        )
    with pytest.raises(UsageError, match="time_in"):
        await schedules.create(
            desk.tx, "r", report, "0 9 * * *", args={"customer": "c", "at": "x"}, time_in="at"
        )


def test_from_a_thread(migrated):
    from troth import Troth
    from troth.schedule import Schedules

    url, schema = migrated
    troth = Troth(url, schema=schema)
    schedules = troth.include(Schedules(troth))

    @troth.workflow
    async def tick() -> None: ...

    with connect_blocking(url) as tx:
        schedules.create_blocking(tx, "t", tick, "0 9 * * *")
        schedules.change_blocking(tx, "t", cron="0 10 * * *")
        row = tx.execute(f"SELECT cron FROM {schema}.schedule").fetchone()
        assert row == ("0 10 * * *",)
        schedules.delete_blocking(tx, "t")
        assert tx.execute(f"SELECT 1 FROM {schema}.schedule").fetchall() == []


async def test_a_worker_fires_what_is_asked_for_and_runs_it(desk):
    troth, schedules = desk.program()
    ran = asyncio.Event()

    @troth.step
    async def note() -> None:
        ran.set()

    @schedules.every("0 0 1 1 *")
    @troth.workflow
    async def tick() -> None:
        await note()

    async with troth.worker():
        await troth.node.bell.listening.wait()
        await until(lambda: desk.rows("SELECT 1 FROM {}.schedule"), "it is declared")
        async with asyncio.timeout(30):
            await schedules.run(desk.tx, "tick", by="ada")
            await ran.wait()
    assert await desk.results("tick") == ["started"]
