"""The doctor in front of what is really wrong: a server, a pooler, a schema and workers as they can be."""

from __future__ import annotations

import asyncio
import time

import psycopg
from psycopg.conninfo import make_conninfo

from tests.harness.cell import open_cell
from tests.harness.pgbouncer import pgbouncer
from tests.harness.postgres import PrivateServer, wait_until
from troth.base import ids
from troth.cli.main import run
from troth.journal.model import Batch, Start
from troth.store.connect import connect_async
from troth.store.migrate import migrate
from troth.store.road import Road, try_road
from troth.view import doctor, health, installation
from troth.view.doctor import Finding, examine
from troth.view.store import reading


async def findings(url: str, schema: str, **environ: str) -> dict[str, Finding]:
    """What the doctor finds, by code; of several of one code, the last."""
    found = examine(await installation.facts(url, schema, environ))
    return {each.code: each for each in found}


async def test_a_healthy_installation(migrated) -> None:
    assert await findings(*migrated) == {}


async def test_variables(migrated) -> None:
    found = await findings(*migrated, TROTH_LAESE="5", TROTH_DATABASE_URL="x")
    assert "TROTH_LAESE" in found["variables"].found
    found = await findings(*migrated, TROTH_CONNECTIONS="many")
    assert "TROTH_CONNECTIONS is 'many'" in found["variables"].found


async def test_connections_that_the_server_does_not_have(migrated) -> None:
    found = await findings(*migrated, TROTH_CONNECTIONS="5000")
    assert "5006 connections" in found["connections"].found


async def test_a_schema_that_is_missing_or_behind(database_url, schema) -> None:
    found = await findings(database_url, schema)
    assert list(found) == ["schema"]
    assert f"troth db migrate --schema {schema}" in found["schema"].found
    await asyncio.to_thread(migrate, database_url, schema, 5)
    found = await findings(database_url, schema)
    assert list(found) == ["schema"]
    assert "0006_machine" in found["schema"].found


async def test_a_pool_in_transaction_mode(migrated) -> None:
    url, schema = migrated
    with pgbouncer(url, "transaction") as pooled:
        assert await try_road(pooled) == Road(
            pooler=True, keeps_settings=False, keeps_locks=False, keeps_prepared=False, hears=False
        )
        found = await findings(pooled, schema)
    assert "settings, advisory locks, prepared statements, LISTEN" in found["pooler"].found


async def test_a_pool_in_session_mode_is_fine(migrated) -> None:
    url, schema = migrated
    with pgbouncer(url, "session") as pooled:
        assert await try_road(pooled) == Road(pooler=True)
        assert await findings(pooled, schema) == {}


async def test_settings_of_the_session(migrated) -> None:
    url, schema = migrated
    options = "-c synchronous_commit=off -c idle_session_timeout=60000 -c default_transaction_read_only=on"
    ill = make_conninfo(url, options=options, target_session_attrs="any")
    assert set(await findings(ill, schema)) == {"not-synchronous", "timeouts", "read-only"}


async def test_settings_of_the_server(server: PrivateServer) -> None:
    with psycopg.connect(server.url, autocommit=True) as connection:
        for setting in ("fsync", "full_page_writes", "autovacuum", "track_counts"):
            connection.execute(f"ALTER SYSTEM SET {setting} = off")
        connection.execute("SELECT pg_create_physical_replication_slot('left_behind')")
        connection.execute("SELECT pg_reload_conf()")
    await asyncio.to_thread(
        wait_until, lambda: shown(server.url, "track_counts") == "off", "the settings hold"
    )
    found = examine(await installation.facts(server.url, "troth", {}))
    assert {each.code: each.found for each in found if each.code != "old-snapshot"} == {
        "schema": next(each.found for each in found if each.code == "schema"),
        "not-durable": "full_page_writes is off",
        "autovacuum": "track_counts is off",
    }
    assert "left_behind" in next(each.found for each in found if each.code == "old-snapshot")


async def test_statements_that_take_time_where_they_are_counted(server: PrivateServer) -> None:
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'")
    await asyncio.to_thread(server.restart)
    await asyncio.to_thread(migrate, server.url, "troth")
    async with await connect_async(server.url) as opened:
        async with reading(opened, "troth") as tx:
            assert (
                await health.health(tx, "troth")
            ).statements is None  # the extension is not made
        await opened.execute("CREATE EXTENSION pg_stat_statements")
        # The migrations have been counted, too, and each of them took longer than this one.
        await opened.execute("SELECT pg_stat_statements_reset()")
        await opened.execute("SELECT count(*) FROM troth.run")
        async with reading(opened, "troth") as tx:
            found = (await health.health(tx, "troth")).statements
    assert found
    assert ("SELECT count(*) FROM troth.run", 1) in [(each.statement, each.calls) for each in found]


def shown(url: str, setting: str) -> str:
    with psycopg.connect(url) as connection:
        row = connection.execute(f"SHOW {setting}").fetchone()
    return str(row[0]) if row else ""


async def test_runs_that_nobody_can_execute_and_workers_of_two_programs(migrated) -> None:
    url, schema = migrated
    async with open_cell(url, schema) as cell:
        client = await cell.member(executes=False)
        batch = Batch()
        batch.starts += [start("old@1"), start("pay")]
        await cell.flush(client, 1, batch)
        assert "no worker can execute it" in (await findings(url, schema))["not-executable"].found
        await cell.rows(
            "INSERT INTO {}.worker (name, executes, workflows, lease_s) VALUES"
            " ('new', true, '{{pay}}', 5), ('older', true, '{{old@1,ship}}', 5)"
        )
        found = await findings(url, schema)
        assert set(found) == {"mixed-versions"}
        assert "1 of 2 workers can execute pay; older" in found["mixed-versions"].found


def start(workflow: str) -> Start:
    return Start(ids.new_id(), workflow, None, b"{}", b"", 0.0, False)


async def test_workers_that_are_dead(migrated) -> None:
    url, schema = migrated
    async with open_cell(url, schema) as cell:
        worker = await cell.member(lease_s=1.0)
        await cell.owned_run(worker)
        await cell.rows(
            "UPDATE {}.worker SET workflows = '{{test}}', beat_at = now() - interval '1 h'"
        )
        await cell.rows("INSERT INTO {}.worker_gone VALUES (77, 'lost', now() - interval '1 h')")
        found = await findings(url, schema)
        assert "has been silent for 1 h, has 1 run in hand" in found["silent-worker"].found
        assert "unreleased-runs" not in found
        await cell.rows("UPDATE {}.run SET owner = 77")
        assert "lost (77)" in (await findings(url, schema))["unreleased-runs"].found


async def test_a_clock_that_went_back(migrated) -> None:
    url, schema = migrated
    async with open_cell(url, schema) as cell:
        await cell.member()
        await cell.rows("UPDATE {}.worker SET beat_at = now() + interval '1 h'")
        assert list(await findings(url, schema)) == ["clock-backwards"]


async def test_the_clock_of_this_machine(migrated, monkeypatch) -> None:
    real = time.time
    monkeypatch.setattr(installation.time, "time", lambda: real() + 3601)
    found = (await findings(*migrated))["clock-skew"].found
    assert found == "the clock of this machine is 1 h ahead of the server's"


async def test_sessions_that_hold_what_others_need(migrated, monkeypatch) -> None:
    url, schema = migrated
    monkeypatch.setattr(health, "IDLE_IN_TRANSACTION_S", 0.0)
    monkeypatch.setattr(doctor, "OLD_SNAPSHOT_S", 0.0)
    with psycopg.connect(url, application_name="forgetful") as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.execute("SELECT 1")
        found = await findings(url, schema)
    assert "forgetful" in found["idle-in-transaction"].found
    assert "forgetful" in found["old-snapshot"].found


async def test_dead_rows_and_a_table_that_nobody_vacuums(migrated, monkeypatch) -> None:
    url, schema = migrated
    monkeypatch.setattr(doctor, "DEAD_ROWS", 50)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"ALTER TABLE {schema}.provider SET (autovacuum_enabled = false)")
        connection.execute(
            f"INSERT INTO {schema}.provider (name, declared_by) SELECT n::text, 1 FROM generate_series(1, 100) n"
        )
        connection.execute(f"DELETE FROM {schema}.provider")
        connection.execute("SELECT pg_stat_force_next_flush()")
    found = await findings(url, schema)
    assert "provider has 100 dead rows" in found["bloat"].found
    assert found["autovacuum"].found == "autovacuum is off for provider"


async def test_partitions(migrated) -> None:
    url, schema = migrated
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            f"SELECT {schema}.ensure_partitions(now() - interval '190 days', now() - interval '180 days')"
        )
        assert "history-grows" in await findings(url, schema)
        connection.execute(
            f"INSERT INTO {schema}.operator_act (by, role, via, act, about, outcome)"
            " VALUES ('ada', 'admin', 'cli', 'db.retain', 'troth', 'done')"
        )
        assert await findings(url, schema) == {}
        for (name,) in connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = %s::regnamespace AND relispartition AND relkind = 'r'"
            " AND relname ~ '^(journal|run_history)_' AND to_date(right(relname, 7), 'IYYY\"w\"IW') > now()",
            (schema,),
        ).fetchall():
            connection.execute(f"DROP TABLE {schema}.{name}")
        found = await findings(url, schema)
    assert found["no-room"].found.startswith("there are partitions for")


def test_the_command(migrated, monkeypatch, capsys) -> None:
    url, schema = migrated
    where = ["--database-url", url, "--schema", schema]
    for name in ("TROTH_CELLS", "TROTH_SCHEMA"):
        monkeypatch.delenv(name, raising=False)
    assert run(["doctor", *where]) == 0
    assert "nothing found" in capsys.readouterr().out
    monkeypatch.setenv("TROTH_CELLS", "3")
    assert run(["doctor", *where]) == 1
    page = capsys.readouterr().out
    assert "warning: the environment has TROTH_CELLS" in page
    assert "Do: " in page
    assert run(["doctor", *where, "-o", "json"]) == 1
    assert '"code": "variables"' in capsys.readouterr().out
    assert run(["doctor", "--database-url", "postgresql://nobody@127.0.0.1:1/x"]) == 1
    assert "No connection" in capsys.readouterr().err
