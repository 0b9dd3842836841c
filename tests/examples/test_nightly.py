"""The nightly job, whose worker is killed in the middle: every account has its interest once."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from examples.nightly import interest as program
from tests.examples.mapping_processes import OPTIONS, worker
from tests.harness.postgres import create_database, wait_until
from troth import Failure
from troth.store.migrate import migrate

OVERDRAWN = 7


@pytest.mark.parametrize(
    "accounts", [250, pytest.param(5_000, marks=[pytest.mark.slow, pytest.mark.timeout(600)])]
)
async def test_every_account_has_its_interest_once(
    database_url: str, monkeypatch: pytest.MonkeyPatch, accounts: int
) -> None:
    url = create_database(database_url, f"nightly_{accounts}")
    migrate(url, "troth")
    monkeypatch.setattr(program.troth, "url", url)
    with psycopg.connect(url, autocommit=True) as database, psycopg.connect(url) as other:

        def count() -> int:
            row = database.execute("SELECT count(*) FROM interest").fetchone()
            assert row is not None
            return int(row[0])

        database.execute(program.TABLES)
        database.execute(
            "INSERT INTO account SELECT n, CASE n WHEN %s THEN -1 ELSE 1000 END FROM generate_series(1, %s) n",
            (OVERDRAWN, accounts),
        )
        # Somebody else holds every fifth account: soon all transactions of the worker wait for it, and it is killed at it.
        other.execute("SELECT FROM account WHERE id % 5 = 0 FOR UPDATE")
        async with program.troth.client():
            with worker("examples.nightly.interest", url) as victim:
                tx = await psycopg.AsyncConnection.connect(url, autocommit=True)
                async with tx:
                    await asyncio.to_thread(wait_until, lambda: declared(database), "it is there")
                    await program.schedules.run(tx, "nightly", by="ada", note="now")
                await asyncio.to_thread(
                    wait_until,
                    lambda: held(database) == OPTIONS.connections,
                    "all transactions wait",
                )
                victim.kill()
            assert 0 < count() < accounts - 1
            other.rollback()
            with worker("examples.nightly.interest", url):
                row = database.execute(
                    "SELECT id FROM troth.run WHERE workflow = 'nightly'"
                ).fetchone()
                assert row is not None
                mapped = await program.troth.run(row[0]).result(timeout=300)
        assert (mapped.total, mapped.done, mapped.failed) == (accounts, accounts - 1, 1)
        failure: Failure = mapped.failures[0]
        assert (failure.number, failure.message) == (6, f"account {OVERDRAWN} is overdrawn")
        paid = database.execute(
            "SELECT account, count(*) FROM interest GROUP BY account"
        ).fetchall()
        assert sorted(paid) == [(n, 1) for n in range(1, accounts + 1) if n != OVERDRAWN]
        off = database.execute("SELECT count(*) FROM account WHERE balance NOT IN (1010, -1)")
        assert off.fetchone() == (0,)


def declared(database: psycopg.Connection) -> bool:
    """Has a worker told the database of the schedule?"""
    return database.execute("SELECT 1 FROM troth.schedule").fetchone() is not None


def held(database: psycopg.Connection) -> int:
    """How many sessions wait for a lock."""
    row = database.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        " AND datname = current_database()"
    ).fetchone()
    assert row is not None
    return int(row[0])
