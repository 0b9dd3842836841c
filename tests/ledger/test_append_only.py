"""What is in the books stays there: for an application by its rights, for everybody by triggers."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta

import pytest
from psycopg import errors, sql
from psycopg.conninfo import make_conninfo

from tests.ledger.conftest import eur
from troth.ledger import Clearing, Hold, PostHold, Reversal, Transfer
from troth.store.connect import connect_async
from troth.store.migrate import migrate


@pytest.fixture
async def books(books):
    await books.open("bank", side="debit")
    await books.open("sales")
    await books.open("customer", limit="debits_must_not_exceed_credits")
    await books.post(Transfer("t", "bank", "customer", eur(5)), Transfer("u", "customer", "sales", eur(6)))  # fmt: skip
    await books.fold()
    return books


@pytest.fixture
async def application(books):
    """A session of a role that was granted the ledger, and nothing else."""
    role = f"app_{uuid.uuid4().hex[:12]}"
    name = sql.Identifier(role)
    await books.tx.execute(sql.SQL("CREATE ROLE {} LOGIN").format(name))
    await books.tx.execute(f"SELECT {books.cell.schema}.ledger_grant(%s)", (role,))
    session = await connect_async(make_conninfo(books.cell.url, user=role))
    yield session
    await session.close()
    await books.tx.execute(sql.SQL("DROP OWNED BY {}").format(name))
    await books.tx.execute(sql.SQL("DROP ROLE {}").format(name))


async def test_not_even_the_owner_changes_what_is_in_the_books(books):
    for table in ("id", "transfer", "refusal", "entry", "period", "checkpoint"):
        where = f"{books.cell.schema}.ledger_{table}"
        (column,) = (await books.rows(
            "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum = 1", where
        ))[0]  # fmt: skip
        for statement in (
            f"UPDATE {where} SET {column} = DEFAULT", f"DELETE FROM {where}", f"TRUNCATE {where} CASCADE",
        ):  # fmt: skip
            with pytest.raises(errors.ObjectNotInPrerequisiteState, match="append-only"):
                await books.tx.execute(statement)
    await books.audit()


async def test_an_application_uses_the_ledger_by_its_functions(books, application):
    ledger = books.ledger
    await ledger.accounts.open(application, "shop", currency="EUR", side="credit")
    await ledger.post(application, Transfer("a", "customer", "shop", eur(2)))
    await ledger.post_all(application, [Hold("h", "bank", "shop", eur(2)), PostHold("p", "h")])
    await ledger.post(application, Reversal("r", "a"))
    assert (await ledger.try_post(application, Transfer("b", "customer", "shop", eur(99)))).outcome == "exceeds_credits"  # fmt: skip
    await ledger.fold(application)
    await ledger.expire(application)
    assert (await ledger.balance(application, "shop")).posted == eur(2)
    now = (await ledger.transfer(application, "a")).booked_at
    assert (await ledger.balance(application, "shop", at=now)).posted == eur(2)
    assert (await ledger.balance(application, "shop", effective_at=now)).posted == eur(2)
    assert len(await ledger.statement(application, "shop")) == 4
    clearing = Clearing("money", under="bank", within=timedelta(days=1))
    clearing.bind(books.cell.schema)
    assert await clearing.look(application) == 0
    await ledger.periods.close(application, now, by="app")
    await ledger.accounts.close(application, "shop")
    assert [total.is_balanced for total in await ledger.trial_balance(application)] == [True]
    await books.audit(folded=True)


async def test_who_could_look_at_clearing_accounts_before_can_after_the_migration(
    books, application
):
    """Migration 0022 puts another function in the place of the one that the role was granted."""
    name = f"{books.cell.schema}_before"
    (role,) = await (await application.execute("SELECT current_user")).fetchone()
    await asyncio.to_thread(migrate, books.cell.url, name, to=21)
    try:
        await books.tx.execute(f"SELECT {name}.ledger_grant(%s)", (role,))
        await asyncio.to_thread(migrate, books.cell.url, name)
        clearing = Clearing("money", under="bank", within=timedelta(days=1))
        clearing.bind(name)
        assert await clearing.look(application) == 0
        granted = await books.rows(
            "SELECT DISTINCT x.grantee::regrole::text FROM pg_proc p, LATERAL aclexplode(p.proacl) x"
            " WHERE p.oid = %s::regproc AND x.grantee <> p.proowner",
            f"{name}.ledger_watch_clearing",
        )
        assert granted == [(role,)]
    finally:
        await books.tx.execute(f"DROP SCHEMA {name} CASCADE")


async def test_an_application_cannot_write_to_any_table_of_the_ledger(books, application):
    schema = books.cell.schema
    tables = await books.rows(
        "SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = 1"
        " WHERE c.relnamespace = %s::regnamespace AND c.relkind = 'r' AND starts_with(c.relname, 'ledger_')",
        schema,
    )
    assert len(tables) >= 13
    for table, column in tables:
        where = f"{schema}.{table}"
        for statement in (
            f"INSERT INTO {where} OVERRIDING SYSTEM VALUE SELECT * FROM {where}", f"UPDATE {where} SET {column} = DEFAULT", f"DELETE FROM {where}",
            f"TRUNCATE {where} CASCADE", f"ALTER TABLE {where} DISABLE TRIGGER ALL", f"DROP TABLE {where} CASCADE",
        ):  # fmt: skip
            with pytest.raises(errors.InsufficientPrivilege):
                await application.execute(statement)
    await books.audit()


async def test_an_application_has_no_way_around(books, application):
    schema = books.cell.schema
    await application.execute("SET troth.unclaiming = 'on'")
    for statement in (
        f"DELETE FROM {schema}.ledger_id",
        f"SELECT {schema}.ledger_unclaim(ARRAY(SELECT id FROM {schema}.ledger_id))",
        f"SELECT nextval('{schema}.ledger_batch')",
        "SET session_replication_role = replica",
        f"CREATE FUNCTION {schema}.ledger_fold(integer) RETURNS void LANGUAGE sql AS ''",
    ):
        with pytest.raises(errors.InsufficientPrivilege):
            await application.execute(statement)


async def test_a_clock_of_ones_own_does_not_count(books, application):
    """What a caller puts into the search path is not what the functions of the ledger call."""
    await application.execute(
        "CREATE FUNCTION pg_temp.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS $$ SELECT timestamptz '1999-01-01' $$"
    )
    await application.execute("SET search_path = pg_temp, pg_catalog")
    posted = await books.ledger.post(application, Transfer("a", "bank", "sales", eur(1)))
    assert posted.booked_at.year > 2000


async def test_nobody_else_may_call_what_runs_with_the_owners_rights(books):
    rows = await books.rows(
        "SELECT p.proname FROM pg_proc p WHERE p.pronamespace = %s::regnamespace AND p.proname LIKE 'ledger\\_%%'"
        " AND p.prosecdef AND (p.proacl IS NULL OR EXISTS (SELECT 1 FROM aclexplode(p.proacl) a WHERE a.grantee = 0))",
        books.cell.schema,
    )
    assert rows == []
    rows = await books.rows(
        "SELECT p.proname FROM pg_proc p WHERE p.pronamespace = %s::regnamespace AND p.prosecdef"
        " AND NOT EXISTS (SELECT 1 FROM unnest(p.proconfig) c WHERE c = 'search_path=pg_catalog, pg_temp')",
        books.cell.schema,
    )
    assert rows == []
