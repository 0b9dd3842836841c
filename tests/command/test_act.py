"""Acts of people, in transactions of their own."""

from __future__ import annotations

import asyncio
from uuid import UUID

import psycopg
import pytest

from tests.cli.conftest import states
from tests.cli.parked import Journal, in_doubt, park, recorded
from tests.command.conftest import transaction
from troth.base import ids
from troth.base.errors import RunEndedError, RunNotFoundError, UsageError
from troth.command import act
from troth.command.model import Author, Happened, NotInAttentionError
from troth.command.settle import settle
from troth.journal.model import Kind, Reason

ADA = Author("ada", "because")


async def journal(cell, run_id: str) -> int:
    async with transaction(cell) as tx:
        rows = await tx.execute(
            f"SELECT count(*) FROM {cell[1]}.journal WHERE run_id = %s", (run_id,)
        )
        return (await rows.fetchone())[0]


async def test_a_run_in_doubt_is_not_just_resumed(migrated):
    """What made it stop must not be tried again before somebody knows whether it happened."""
    run = park(migrated, Journal().sent("refund").lost("refund"), "in_doubt", in_doubt())
    async with transaction(migrated) as tx:
        with pytest.raises(UsageError, match=f"Find out.* troth effect settle {run}"):
            await act.resume(tx, migrated[1], run, ADA)
    assert recorded(migrated, run, Kind.DECISION) == []


@pytest.mark.parametrize("reason", sorted(set(Reason) - {Reason.IN_DOUBT}))
async def test_for_every_other_reason_what_made_it_stop_is_tried_again(migrated, reason):
    run = park(migrated, Journal().done("hello", 1), reason, {"at": "hello", "message": "no"})
    async with transaction(migrated) as tx:
        assert await act.resume(tx, migrated[1], run, ADA) is reason
    assert states(migrated)[str(run)] == "ready"
    decision = {"by": "ada", "note": "because", "reason": reason}
    assert recorded(migrated, run, Kind.DECISION) == [("!resume", 5, 1, None, None, None, decision)]


def test_what_is_rolled_back_has_not_happened(cell, runs):
    class Rollback(Exception):
        pass

    async def act_and_regret() -> None:
        async with transaction(cell) as tx:
            await settle(tx, cell[1], UUID(runs["doubtful"]), None, ADA, Happened(b'"re_1"'))
            await act.cancel(tx, cell[1], UUID(runs["broken"]), ADA)
            raise Rollback

    async def check() -> None:
        before = await journal(cell, runs["doubtful"])
        with pytest.raises(Rollback):
            await act_and_regret()
        assert await journal(cell, runs["doubtful"]) == before

    asyncio.run(check())
    assert states(cell)[runs["doubtful"]] == "attention"


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
