from __future__ import annotations

import socket

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from troth.store import connect
from troth.store.connect import (
    Database,
    connect_async,
    connect_blocking,
    conninfo,
    origin,
    place,
    pool_async,
    pool_blocking,
)
from troth.store.errors import DatabaseUnavailable

VARIABLES = ("PGHOST", "PGDATABASE", "PGSERVICE", "PGAPPNAME", "PGCONNECT_TIMEOUT", "PGPORT")


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    for name in ("TROTH_DATABASE_URL", *VARIABLES):
        monkeypatch.delenv(name, raising=False)


def test_who_decides():
    every = {"TROTH_DATABASE_URL": "postgresql://b", "PGHOST": "c"}
    assert origin("postgresql://a", every) == "argument"
    assert origin(None, every) == "TROTH_DATABASE_URL"
    assert origin(None, {"PGHOST": "c"}) == "PG*"
    assert origin(None, {"PGDATABASE": "c"}) == "PG*"
    assert origin(None, {"PGSERVICE": "c"}) == "PG*"
    assert origin(None, {"PGPORT": "5433", "PGUSER": "c", "TROTH_DATABASE_URL": ""}) == "embedded"


def test_finding_it(monkeypatch):
    monkeypatch.setenv("TROTH_DATABASE_URL", "postgresql://from-the-environment/x")
    with Database.find("postgresql://given/x") as database:
        assert (database.url, database.origin) == ("postgresql://given/x", "argument")
    with Database.find() as database:
        assert database.url == "postgresql://from-the-environment/x"
    assert "from-the-environment" not in repr(database)  # it may have a password


def test_the_embedded_server_is_claimed_and_given_up(monkeypatch, tmp_path):
    log = []

    class Claim:
        url = "postgresql://embedded/x"

        def release(self):
            log.append("released")

    def acquire(directory):
        log.append(directory)
        return Claim()

    monkeypatch.setattr(connect.Embedded, "acquire", acquire)
    with Database.find(directory=tmp_path) as database:
        assert (database.url, database.origin) == (Claim.url, "embedded")
        assert log == [tmp_path]
    database.close()
    assert log == [tmp_path, "released"]


def test_settings_are_added_where_the_user_made_none():
    given = conninfo_to_dict(conninfo("postgresql://h/d?connect_timeout=9", {"PGAPPNAME": "mine"}))
    assert given["connect_timeout"] == "9"
    assert "application_name" not in given
    assert given["tcp_user_timeout"] == "3000"
    assert given["target_session_attrs"] == "read-write"


def test_several_hosts_stay_several():
    given = conninfo_to_dict(conninfo("postgresql://a:1,b:2/d"))
    assert (given["host"], given["port"]) == ("a,b", "1,2")


def test_the_settings_reach_the_server(database_url):
    with connect_blocking(database_url) as connection:
        assert connection.autocommit
        assert connection.execute("SHOW application_name").fetchone() == ("troth",)


async def test_nobody_listening():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        url = f"postgresql://ada:geheim@127.0.0.1:{port}/books"
        message = rf"host 127\.0\.0\.1, port {port}, database books.*refused"
        with pytest.raises(DatabaseUnavailable, match=message) as caught:
            await connect_async(url)
        with pytest.raises(DatabaseUnavailable, match=message):
            connect_blocking(url)
    assert "geheim" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_no_such_database(database_url):
    with pytest.raises(DatabaseUnavailable, match='database "no_such" does not exist'):
        connect_blocking(make_conninfo(database_url, dbname="no_such"))


def test_no_such_role(database_url):
    with pytest.raises(DatabaseUnavailable, match='role "nobody_here" does not exist'):
        connect_blocking(make_conninfo(database_url, user="nobody_here"))


@pytest.mark.parametrize("url", ["postgres//ada:geheim@h/d", "postgresql://h/d?nonsense=geheim"])
def test_a_url_that_cannot_be_read_is_not_repeated(url):
    with pytest.raises(DatabaseUnavailable, match="should look like postgresql://") as caught:
        connect_blocking(url)
    assert "geheim" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_standby_is_refused(database_url):
    url = make_conninfo(database_url, options="-c default_transaction_read_only=on")
    with pytest.raises(DatabaseUnavailable, match="read-only"):
        connect_blocking(url)


def test_places_name_no_secrets(monkeypatch):
    assert place("postgresql://u:p@h:1/d") == "host h, port 1, database d"
    monkeypatch.setenv("PGHOST", "from-env")
    monkeypatch.setenv("PGSERVICE", "billing")
    assert place("") == "host from-env, port 5432, database the default one, service billing"


async def test_pools(database_url):
    async with pool_async(database_url, 1, 2) as pool, pool.connection() as connection:
        assert connection.autocommit
        assert await (await connection.execute("SELECT 1")).fetchone() == (1,)
    with pool_blocking(database_url, 1, 2) as blocking, blocking.connection() as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    with pytest.raises(psycopg.OperationalError):
        blocking.getconn()
