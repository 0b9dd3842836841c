"""Reading a cell: bounded, and without writing."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from uuid import UUID

import psycopg
import pytest

from tests.cli import program
from troth.base import ids
from troth.base.errors import RunNotFoundError
from troth.store.connect import connect_async
from troth.view import store
from troth.view.follow import Follower
from troth.view.model import Moment, RunHeader
from troth.view.runs import RunFilter, runs


@pytest.fixture
async def connection(migrated):
    async with await connect_async(migrated[0]) as opened:
        yield opened


async def test_reading_cannot_write(connection, migrated):
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        async with store.reading(connection, migrated[1]) as tx:
            await tx.execute("CREATE TABLE written ()")


async def test_reading_ends_by_itself_and_leaves_no_limit_behind(connection, migrated):
    with pytest.raises(psycopg.errors.QueryCanceled):
        async with store.reading(connection, migrated[1], limit_s=0.05) as tx:
            await tx.execute("SELECT pg_sleep(30)")
    row = await (await connection.execute("SHOW statement_timeout")).fetchone()
    assert row == ("0",)


async def test_an_empty_cell(connection, migrated):
    _, schema = migrated
    async with store.reading(connection, schema) as tx:
        assert await runs(tx, schema, RunFilter()) == []
        assert await store.live_workflows(tx, schema) == []
        assert await store.latest_id(tx, schema) == store.FIRST_ID
        with pytest.raises(RunNotFoundError):
            await store.header(tx, schema, ids.new_id())


async def test_the_latest_entries_of_a_long_journal(cell, connection):
    _, schema = cell
    async with program.troth.worker():
        run = await program.troth.start(program.many, 7)
        await run.result(20)
    async with store.reading(connection, schema) as tx:
        picture = await store.picture(tx, schema, run.id, limit=3)
        whole = await store.picture(tx, schema, run.id, limit=7)
    assert [moment.entry.path for moment in picture.timeline] == ["hello#5", "hello#6", "hello#7"]
    assert (picture.cut, whole.cut) == (True, False)


async def test_a_run_is_followed_to_its_end(cell):
    url, schema = cell
    async with program.troth.worker(), Follower(url, schema) as follower:
        run = await program.troth.start(program.listener)
        story: list[str] = []
        async with asyncio.timeout(20), aclosing(follower.run(run.id)) as steps:
            async for step in steps:
                if isinstance(step, Moment):
                    story.append(f"{step.entry.path} {step.what}")
                elif isinstance(step, RunHeader):
                    story.append(step.line.state)
                if step_is_waiting(step):
                    await program.troth.send(run, "go", "now")
    assert "receive.go waits" in story
    assert story[-2:] == ["receive.go done", "succeeded"]


def step_is_waiting(step: Moment | RunHeader) -> bool:
    return isinstance(step, Moment) and step.what == "waits"


async def test_all_runs_are_followed(cell):
    url, schema = cell
    async with program.troth.worker(), Follower(url, schema) as follower:
        waiting = await program.troth.start(program.listener)
        seen: dict[UUID, list[str]] = {}
        quick = None
        async with asyncio.timeout(20), aclosing(follower.all()) as lines:
            async for line in lines:
                seen.setdefault(line.id, []).append(line.state)
                if quick is None:
                    quick = await program.troth.start(program.greet, "ada")
                    await program.troth.send(waiting, "go", "now")
                if all(seen.get(each.id, [""])[-1] == "succeeded" for each in (waiting, quick)):
                    break
    assert set(seen) == {waiting.id, quick.id}
    assert seen[quick.id].count("succeeded") == 1
    assert seen[waiting.id][0] in {"ready", "running", "waiting"}


async def test_following_outlives_the_loss_of_its_connections(cell, caplog):
    url, schema = cell
    async with program.troth.worker(), Follower(url, schema) as follower:
        run = await program.troth.start(program.listener)
        async with asyncio.timeout(30), aclosing(follower.run(run.id)) as steps:
            states = [step.line.state async for step in cut_then_go(steps, url, run)]
    assert states[-1] == "succeeded"
    assert "the database cannot be reached" in caplog.text


async def cut_then_go(steps, url, run):
    """The states of a run; after the first one all sessions are ended, and then the run is let go on."""
    first = True
    async for step in steps:
        if isinstance(step, RunHeader):
            yield step
            if first:
                first = False
                async with await psycopg.AsyncConnection.connect(url, autocommit=True) as other:
                    await other.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                    )
                await program.troth.send(run, "go", "now")
