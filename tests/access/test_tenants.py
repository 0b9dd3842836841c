"""Tenants, isolated by row-level security: attempts to cross, by every statement and over reused connections."""

from __future__ import annotations

import uuid

import psycopg
import pytest

from troth.access import Principal, UnprotectedError
from troth.base.errors import UsageError


@pytest.fixture
def app(migrated, sql):
    """A table of two tenants in a schema of its own, and a role that owns nothing."""
    name = f"app_{uuid.uuid4().hex[:8]}"
    sql(f"CREATE SCHEMA {name}")
    sql(f"CREATE TABLE {name}.account (id integer PRIMARY KEY, tenant text NOT NULL, plan text)")
    sql(f"INSERT INTO {name}.account VALUES (1, 'acme', 'pro'), (2, 'other', 'free')")
    sql(f"CREATE ROLE {name} NOLOGIN")
    sql(f"GRANT USAGE ON SCHEMA {name} TO {name}")
    sql(f"GRANT ALL ON {name}.account TO {name}")
    sql(f"GRANT USAGE ON SCHEMA {{}} TO {name}")
    yield name
    sql(f"DROP SCHEMA {name} CASCADE")
    sql(f"REVOKE ALL ON SCHEMA {{}} FROM {name}")
    sql(f"DROP ROLE {name}")


@pytest.fixture
def protected(access, app, begin_blocking):
    with begin_blocking() as tx:
        access.tenants.protect_blocking(tx, f"{app}.account")
    return app


CROSSING = [
    ("SELECT id FROM {}.account WHERE tenant = 'other'", []),
    ("SELECT id FROM {}.account ORDER BY id", [(1,)]),
    ("UPDATE {}.account SET plan = 'stolen' WHERE id = 2 RETURNING id", []),
    ("UPDATE {}.account SET plan = 'mine' RETURNING id", [(1,)]),
    ("DELETE FROM {}.account RETURNING id", [(1,)]),
    ("SELECT count(*) FROM {}.account a JOIN {}.account b ON true", [(1,)]),
    ("SELECT id FROM {}.account WHERE id = 2 FOR UPDATE", []),
]
REFUSED = [
    "INSERT INTO {}.account VALUES (3, 'other', 'x')",
    "UPDATE {}.account SET tenant = 'other' WHERE id = 1",
    "INSERT INTO {}.account VALUES (2, 'acme', 'x') ON CONFLICT (id) DO UPDATE SET plan = 'stolen'",
]


@pytest.mark.parametrize("owner", [False, True])
@pytest.mark.parametrize(("query", "rows"), CROSSING)
async def test_no_statement_reaches_another_tenants_rows(
    access, begin, protected, sql, owner, query, rows
):
    if owner:
        sql(f"ALTER TABLE {protected}.account OWNER TO {protected}")
    async with begin() as tx:
        await access.tenants.act_as(tx, "acme", role=protected)
        assert await (await tx.execute(query.replace("{}", protected))).fetchall() == rows
    assert sql(f"SELECT plan FROM {protected}.account WHERE id = 2") == [("free",)]


@pytest.mark.parametrize("owner", [False, True])
@pytest.mark.parametrize("query", REFUSED)
async def test_no_row_is_written_for_another_tenant(access, begin, protected, sql, owner, query):
    if owner:
        sql(f"ALTER TABLE {protected}.account OWNER TO {protected}")
    async with begin() as tx:
        await access.tenants.act_as(tx, "acme", role=protected)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await tx.execute(query.replace("{}", protected))
        raise psycopg.Rollback


async def test_without_a_tenant_nothing_is_seen(access, begin, protected):
    async with begin() as tx:
        await tx.execute(f"SET LOCAL ROLE {protected}")
        assert await rows(tx, protected) == []
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await tx.execute(f"INSERT INTO {protected}.account VALUES (3, 'acme', 'x')")
    with pytest.raises(UsageError, match="empty tenant"):
        async with begin() as tx:
            await access.tenants.act_as(tx, "")
    with pytest.raises(UsageError, match="belongs to no tenant"):
        async with begin() as tx:
            await access.tenants.act_as(tx, Principal("Person", "ada"))


async def rows(tx, app):
    return await (await tx.execute(f"SELECT id FROM {app}.account")).fetchall()


@pytest.mark.parametrize("end", ["commit", "error", "savepoint"])
async def test_a_reused_connection_has_forgotten_the_tenant(access, migrated, protected, end):
    async with await psycopg.AsyncConnection.connect(migrated[0], autocommit=True) as connection:
        await connection.execute(f"SET ROLE {protected}")  # as a login role would be
        try:
            async with connection.transaction():
                await access.tenants.act_as(connection, Principal("Person", "a", tenant="acme"))
                assert await rows(connection, protected) == [(1,)]
                if end == "error":
                    await connection.execute("SELECT 1 / 0")
                if end == "savepoint":
                    async with connection.transaction():
                        await access.tenants.act_as(connection, "other")
                        raise psycopg.Rollback
        except psycopg.errors.DivisionByZero:
            pass
        assert await rows(connection, protected) == []
        async with connection.transaction():
            assert await rows(connection, protected) == []
            await access.tenants.act_as(connection, "other")
            assert await rows(connection, protected) == [(2,)]


async def test_outside_of_a_transaction_it_has_no_effect_and_nothing_is_seen(
    access, migrated, protected
):
    async with await psycopg.AsyncConnection.connect(migrated[0], autocommit=True) as connection:
        await connection.execute(f"SET ROLE {protected}")
        await access.tenants.act_as(connection, "acme")
        assert await rows(connection, protected) == []


async def test_another_permissive_policy_does_not_open_the_table(access, begin, protected, sql):
    sql(f"CREATE POLICY generous ON {protected}.account USING (true)")
    async with begin() as tx:
        await access.tenants.act_as(tx, "acme", role=protected)
        assert await rows(tx, protected) == [(1,)]


# Checking -------------------------------------------------------------------------------------------------------------


async def test_the_check_finds_what_is_not_protected(access, begin, app, sql):
    async def problems():
        async with begin() as tx:
            await access.tenants.check(tx, app, role=app)

    def said(why):
        return pytest.raises(UnprotectedError, match=rf"{app}\.account: {why}")

    with said("row-level security is not enabled"):
        await problems()
    async with begin() as tx:
        script = await access.tenants.protection(tx, f"{app}.account")
    with said("row-level security is not enabled"):  # it was only written
        await problems()
    for line in script.strip().split("\n"):
        sql(line)
    await problems()
    sql(f"ALTER TABLE {app}.account NO FORCE ROW LEVEL SECURITY")
    with said(r"row-level security does not hold for its owner"):
        await problems()
    async with begin() as tx:
        await access.tenants.protect(tx, f"{app}.account")
    await problems()
    sql(f"ALTER POLICY troth_tenant ON {app}.account USING (true)")
    with said("the policy troth_tenant is missing or weaker"):
        await problems()
    sql(f"DROP POLICY troth_tenant ON {app}.account")
    with said("the policy troth_tenant is missing or weaker"):
        await problems()


@pytest.mark.parametrize("power", ["SUPERUSER", "BYPASSRLS"])
async def test_the_check_fails_for_a_role_that_sees_through(access, begin, protected, sql, power):
    sql(f"ALTER ROLE {protected} {power}")
    with pytest.raises(UnprotectedError, match=f"the role {protected} "):
        async with begin() as tx:
            await access.tenants.check(tx, protected, role=protected)
    with pytest.raises(UnprotectedError, match="is a superuser"):  # that of the tests
        async with begin() as tx:
            await access.tenants.check(tx, protected)


async def test_a_column_of_another_type_keeps_its_index(access, begin, protected, sql):
    sql(f"CREATE TABLE {protected}.thing (tenant uuid, x integer)")
    async with begin() as tx:
        script = await access.tenants.protect(tx, f"{protected}.thing")
    assert "::uuid" in script
    with pytest.raises(psycopg.errors.UndefinedColumn, match="has no column"):
        async with begin() as tx:
            await access.tenants.protect(tx, f"{protected}.thing", column="nobody")
