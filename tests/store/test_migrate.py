from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from tests.harness.postgres import wait_until
from troth.store.connect import connect_async
from troth.store.errors import (
    MigrationFailed,
    SchemaAhead,
    SchemaBehind,
    SchemaChanged,
    SchemaError,
    SchemaMissing,
    SchemaNameInvalid,
)
from troth.store.migrate import (
    load,
    migrate,
    render_sql,
    require_schema,
    require_schema_blocking,
    status,
)

FIRST = "CREATE TABLE troth_schema.thing (id int);\nCREATE INDEX ON troth_schema.thing (id);"
SECOND = "ALTER TABLE troth_schema.thing ADD name text DEFAULT '100 %';"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return write(tmp_path / "migrations", FIRST, SECOND)


def write(directory: Path, *texts: str) -> Path:
    directory.mkdir()
    for number, text in enumerate(texts, 1):
        (directory / f"{number:04}_step_{number}.sql").write_text(text)
    return directory


def columns(url: str, schema: str) -> list[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT column_name FROM information_schema.columns "
            "WHERE table_schema = %s AND table_name = 'thing' ORDER BY ordinal_position",
            [schema],
        ).fetchall()
    return [name for (name,) in rows]


def test_one_after_the_other(database_url, schema, directory):
    assert status(database_url, schema, directory=directory).state == "missing"
    assert [str(m) for m in migrate(database_url, schema, 1, directory=directory)] == [
        "0001_step_1"
    ]
    behind = status(database_url, schema, directory=directory)
    assert (behind.state, [m.number for m in behind.pending]) == ("behind", [2])
    assert columns(database_url, schema) == ["id"]
    assert [m.number for m in migrate(database_url, schema, directory=directory)] == [2]
    assert columns(database_url, schema) == ["id", "name"]
    assert migrate(database_url, schema, directory=directory) == []
    done = status(database_url, schema, directory=directory)
    assert done.state == "ok"
    assert [(row.number, row.name) for row in done.applied] == [(1, "step_1"), (2, "step_2")]
    assert all(row.by_version for row in done.applied)


def test_looking_writes_nothing(database_url, schema, directory):
    status(database_url, schema, directory=directory)
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT to_regnamespace(%s)", [schema]).fetchone() == (None,)


def test_two_schemas_in_one_database_are_strangers(database_url, schema, directory):
    other = f"{schema}_b"
    migrate(database_url, schema, directory=directory)
    assert status(database_url, other, directory=directory).state == "missing"


def test_a_failing_migration_leaves_no_trace(database_url, schema, tmp_path):
    directory = write(tmp_path / "m", FIRST, SECOND + "SELECT 1 / 0;")
    with pytest.raises(MigrationFailed, match=r"0002_step_2 failed.*division by zero"):
        migrate(database_url, schema, directory=directory)
    assert columns(database_url, schema) == ["id"]
    assert [m.number for m in status(database_url, schema, directory=directory).pending] == [2]


def test_a_migration_whose_connection_is_cut_leaves_no_trace(database_url, schema, tmp_path):
    slow = f"SELECT pg_sleep(60) /* {schema} */;"
    directory = write(tmp_path / "m", FIRST + slow)
    with ThreadPoolExecutor() as threads, psycopg.connect(database_url, autocommit=True) as other:
        attempt = threads.submit(migrate, database_url, schema, directory=directory)
        cut = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE wait_event = 'PgSleep' AND strpos(query, %s) > 0"
        )
        wait_until(lambda: other.execute(cut, [schema]).fetchone(), "the migration is under way")
        with pytest.raises(MigrationFailed, match="0001_step_1 failed"):
            attempt.result(timeout=30)
    assert status(database_url, schema, directory=directory).state == "missing"
    assert columns(database_url, schema) == []


def test_many_at_once_apply_each_migration_once(database_url, schema, directory):
    start = threading.Barrier(4)

    def attempt() -> list[int]:
        start.wait(timeout=30)
        return [m.number for m in migrate(database_url, schema, directory=directory)]

    with ThreadPoolExecutor(4) as threads:
        attempts = [threads.submit(attempt) for _ in range(4)]
        applied = sorted(number for each in attempts for number in each.result(timeout=60))
    assert applied == [1, 2]


def test_a_newer_schema_is_left_alone(database_url, schema, directory, tmp_path):
    migrate(database_url, schema, directory=directory)
    older = write(tmp_path / "older", FIRST)
    with pytest.raises(SchemaAhead, match="0002_step_2, which this version"):
        migrate(database_url, schema, directory=older)
    assert status(database_url, schema, directory=older).state == "ahead"


def test_a_migration_that_was_edited_afterwards_is_noticed(database_url, schema, directory):
    migrate(database_url, schema, 1, directory=directory)
    (directory / "0001_step_1.sql").write_text(FIRST + "-- edited")
    load.cache_clear()
    assert status(database_url, schema, directory=directory).state == "changed"
    with pytest.raises(SchemaChanged, match="0001_step_1 was applied with another text"):
        migrate(database_url, schema, directory=directory)
    assert columns(database_url, schema) == ["id"]


def test_what_is_printed_is_what_is_executed(database_url, schema, directory):
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(render_sql(schema, to=1, directory=directory))
        assert columns(database_url, schema) == ["id"]
        connection.execute(render_sql(schema, after=1, directory=directory))
    assert status(database_url, schema, directory=directory).state == "ok"
    assert migrate(database_url, schema, directory=directory) == []


def test_a_role_that_may_not_create_schemas_can_migrate_one_that_it_owns(
    database_url, schema, directory
):
    role = f"role_{schema}"
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN")
        connection.execute(f"CREATE SCHEMA {schema} AUTHORIZATION {role}")
    url = psycopg.conninfo.make_conninfo(database_url, user=role)
    assert [m.number for m in migrate(url, schema, directory=directory)] == [1, 2]
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"DROP OWNED BY {role}")
        connection.execute(f"DROP ROLE {role}")


@pytest.mark.parametrize("numbers", [(2,), (1, 3), (1, 1)])
def test_numbers_have_no_gaps(tmp_path, numbers):
    for index, number in enumerate(numbers):
        (tmp_path / f"{number:04}_n{index}.sql").touch()
    with pytest.raises(SchemaError, match="not numbered 1, 2, 3"):
        load(tmp_path)


def test_the_schemas_name_is_checked_before_anything_else(directory):
    with pytest.raises(SchemaNameInvalid):
        render_sql("no such; name", directory=directory)


async def test_a_process_starts_only_on_a_schema_that_fits(database_url, schema):
    async with await connect_async(database_url) as connection:
        with pytest.raises(SchemaMissing, match=f"troth db migrate --schema {schema}"):
            await require_schema(connection, schema)
        migrate(database_url, schema)
        await require_schema(connection, schema)
        with psycopg.connect(database_url) as blocking:
            require_schema_blocking(blocking, schema)
        await connection.execute(
            f"INSERT INTO {schema}.migration (number, name, sha256, by_version) "
            "VALUES (9999, 'from_the_future', '', '99.0')"
        )
        with pytest.raises(SchemaAhead, match=r"9999_from_the_future.*version 99\.0 does"):
            await require_schema(connection, schema)
        await connection.execute(f"DELETE FROM {schema}.migration WHERE number = 9999")
        await connection.execute(
            f"DELETE FROM {schema}.migration WHERE number = (SELECT max(number) "
            f"FROM {schema}.migration)"
        )
        expected = SchemaBehind if len(load()) > 1 else SchemaMissing
        with pytest.raises(expected, match="troth db migrate"):
            await require_schema(connection, schema)
