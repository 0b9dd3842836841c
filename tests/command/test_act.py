"""Acts of people, in transactions of their own."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from uuid import UUID

import psycopg
import pytest

from tests.cli import program
from tests.cli.conftest import states
from tests.harness.postgres import wait_until
from troth.base import ids
from troth.base.errors import RunEndedError, RunNotFoundError, UsageError
from troth.command import act
from troth.command.act import Author, DidNotHappen, Happened, NotInAttentionError
from troth.journal.model import Reason

ADA = Author("ada", "because")


@asynccontextmanager
async def transaction(cell):
    connection = await psycopg.AsyncConnection.connect(cell[0], autocommit=True)
    async with connection, connection.transaction():
        yield connection


async def journal(cell, run_id: str) -> int:
    async with transaction(cell) as tx:
        rows = await tx.execute(
            f"SELECT count(*) FROM {cell[1]}.journal WHERE run_id = %s", (run_id,)
        )
        return (await rows.fetchone())[0]


def test_a_finding_is_needed_exactly_in_doubt():
    run = ids.new_id()
    for finding in (Happened(b"1"), DidNotHappen()):
        act.check_finding(run, Reason.IN_DOUBT, finding)
        for reason in set(Reason) - {Reason.IN_DOUBT}:
            with pytest.raises(UsageError, match=f"not in doubt \\({reason}\\)"):
                act.check_finding(run, reason, finding)
    with pytest.raises(UsageError, match="Find out"):
        act.check_finding(run, Reason.IN_DOUBT, None)
    for reason in set(Reason) - {Reason.IN_DOUBT}:
        act.check_finding(run, reason, None)


def test_what_is_rolled_back_has_not_happened(cell, runs):
    class Rollback(Exception):
        pass

    async def act_and_regret() -> None:
        async with transaction(cell) as tx:
            await act.resume(tx, cell[1], UUID(runs["doubtful"]), ADA, Happened(b'"re_1"'))
            await act.cancel(tx, cell[1], UUID(runs["broken"]), ADA)
            raise Rollback

    async def check() -> None:
        before = await journal(cell, runs["doubtful"])
        with pytest.raises(Rollback):
            await act_and_regret()
        assert await journal(cell, runs["doubtful"]) == before

    asyncio.run(check())
    assert states(cell)[runs["doubtful"]] == "attention"


def test_two_people_at_the_same_time_make_one_decision(cell, runs):
    async def race() -> list[object]:
        async def resume(author: str) -> Reason:
            async with transaction(cell) as tx:
                finding = Happened(b'"re_1"')
                return await act.resume(
                    tx, cell[1], UUID(runs["doubtful"]), Author(author), finding
                )

        return await asyncio.gather(*map(resume, "abcd"), return_exceptions=True)

    outcomes = asyncio.run(race())
    assert outcomes.count(Reason.IN_DOUBT) == 1
    assert sum(isinstance(each, NotInAttentionError) for each in outcomes) == 3


def test_a_result_takes_the_next_place_in_the_order(cell, migrated):
    """The workflow is told of it after everything that it was told before."""

    async def play() -> list[tuple[str, int | None]]:
        async with program.troth.worker():
            run = await program.troth.start(program.greet_then_doubt)
            await asyncio.to_thread(
                wait_until, lambda: states(cell)[str(run.id)] == "attention", "it is in doubt"
            )
            async with transaction(cell) as tx:
                await act.resume(tx, cell[1], run.id, ADA, Happened(b'"re_1"'))
            assert await run.result(20) == "re_1"
        async with transaction(cell) as tx:
            rows = await tx.execute(
                f"SELECT path, seq FROM {cell[1]}.journal WHERE run_id = %s AND kind = 2 ORDER BY seq",
                (run.id,),
            )
            return await rows.fetchall()

    assert asyncio.run(play()) == [("hello", 1), ("refund", 2)]


def test_who_does_not_exist_or_has_ended(cell, runs):
    async def check() -> None:
        for deed in (act.cancel, act.resume):
            async with transaction(cell) as tx:
                with pytest.raises(RunNotFoundError):
                    await deed(tx, cell[1], ids.new_id(), ADA)
                with pytest.raises(RunEndedError, match="it is failed"):
                    await deed(tx, cell[1], UUID(runs["refuse"]), ADA)
                if deed is act.resume:
                    with pytest.raises(NotInAttentionError, match="waiting"):
                        await deed(tx, cell[1], UUID(runs["listener"]), ADA)

    asyncio.run(check())


async def test_retain_forgets_weeks_and_keeps_the_present(migrated):
    _, schema = migrated
    async with transaction(migrated) as tx:
        await tx.execute(
            f"SELECT {schema}.ensure_partitions(clock_timestamp() - interval '40 days', clock_timestamp())"
        )
    async with transaction(migrated) as tx:
        dropped = await act.retain(tx, schema, 21 * 86400.0)
    assert len(dropped) in (2, 3), dropped
    assert all(name.startswith("journal_") for name in dropped)
    async with transaction(migrated) as tx:
        assert await act.retain(tx, schema, 21 * 86400.0) == []


async def test_retain_does_not_wait_for_a_lock(migrated):
    _, schema = migrated
    async with transaction(migrated) as tx:
        await tx.execute(
            f"SELECT {schema}.ensure_partitions(clock_timestamp() - interval '40 days', clock_timestamp())"
        )
    async with transaction(migrated) as reader:
        await reader.execute(f"SELECT count(*) FROM {schema}.journal")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            async with transaction(migrated) as tx:
                await act.retain(tx, schema, 21 * 86400.0)
