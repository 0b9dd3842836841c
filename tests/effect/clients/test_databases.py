"""What another database says through psycopg: by a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import psycopg_pool
import pytest

from tests.effect.clients.drivers import BRIEF_S, TIMEOUT_S
from tests.effect.clients.misbehaving import hangs_before, refusing, serving
from tests.harness.proxy import Cut, Proxy
from troth.effect.client_codes import SQLSTATES, of_sqlstate
from troth.effect.clients import explain, judge
from troth.effect.model import Outcome

NOT_DONE, UNKNOWN, REFUSED = Outcome.NOT_DONE, Outcome.UNKNOWN, Outcome.REFUSED
SHOWN = {
    "psycopg.Error",
    "psycopg.ConnectionTimeout",
    "psycopg_pool.PoolTimeout",
    "psycopg.Connection.connect",
    "psycopg.AsyncConnection.connect",
}


@pytest.fixture(scope="module")
def connection(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE TEMPORARY TABLE charge (id int PRIMARY KEY)")
        yield connection


@pytest.mark.parametrize("sqlstate", SQLSTATES)
def test_every_sqlstate(connection: psycopg.Connection, sqlstate: str) -> None:
    whole = sqlstate.ljust(5, "0")
    with pytest.raises(psycopg.Error) as caught:
        connection.execute(f"DO $$ BEGIN RAISE 'no' USING ERRCODE = '{whole}'; END $$")
    ruling = explain(caught.value)

    assert ruling.row == "psycopg.Error"
    assert ruling.outcome is SQLSTATES[sqlstate].says is of_sqlstate(whole).says
    assert judge(caught.value).message == "no"


@pytest.mark.parametrize("sqlstate", ["XX000", "58030", "F0000", "99999"])
def test_what_is_not_listed_is_unknown(connection: psycopg.Connection, sqlstate: str) -> None:
    with pytest.raises(psycopg.Error) as caught:
        connection.execute(f"DO $$ BEGIN RAISE 'no' USING ERRCODE = '{sqlstate}'; END $$")
    assert explain(caught.value).outcome is UNKNOWN


def test_a_constraint_refuses_in_its_own_words(connection: psycopg.Connection) -> None:
    connection.execute("INSERT INTO charge VALUES (1)")
    with pytest.raises(psycopg.IntegrityError) as caught:
        connection.execute("INSERT INTO charge VALUES (1)")
    judgement = judge(caught.value)

    assert judgement.outcome is REFUSED
    assert judgement.message == (
        'duplicate key value violates unique constraint "charge_pkey". Key (id)=(1) already exists.'
    )


def test_a_session_that_was_ended_may_have_committed(database_url: str) -> None:
    with psycopg.connect(database_url) as connection, pytest.raises(psycopg.Error) as caught:
        connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    assert caught.value.sqlstate == "57P01"
    assert explain(caught.value).outcome is UNKNOWN


async def test_a_lost_commit_is_unknown(database_url: str) -> None:
    async with Proxy(database_url) as proxy:
        proxy.cut("COMMIT", Cut.ANSWER_LOST)
        async with await psycopg.AsyncConnection.connect(proxy.url) as connection:
            await connection.execute("SELECT 1")
            with pytest.raises(psycopg.OperationalError) as caught:
                await connection.commit()
    ruling = explain(caught.value)

    assert (ruling.outcome, caught.value.sqlstate) == (UNKNOWN, None)


# ── no connection ───────────────────────────────────────────────────────────────────────────────


def test_nobody_listens() -> None:
    with refusing() as port, pytest.raises(psycopg.OperationalError) as caught:
        psycopg.connect(host="127.0.0.1", port=port, connect_timeout=int(TIMEOUT_S))
    ruling = explain(caught.value)
    assert (ruling.row, ruling.outcome) == ("psycopg.Connection.connect", NOT_DONE)


async def test_nobody_listens_asynchronously() -> None:
    with refusing() as port, pytest.raises(psycopg.OperationalError) as caught:
        await psycopg.AsyncConnection.connect(host="127.0.0.1", port=port)
    ruling = explain(caught.value)
    assert (ruling.row, ruling.outcome) == ("psycopg.AsyncConnection.connect", NOT_DONE)


def test_our_credentials_are_not_accepted(database_url: str) -> None:
    with pytest.raises(psycopg.OperationalError) as caught:
        psycopg.connect(database_url, dbname="no_such_database")
    assert explain(caught.value).outcome is NOT_DONE


def test_no_connection_in_time() -> None:
    """psycopg waits for two seconds at least."""
    with serving(hangs_before) as server, pytest.raises(psycopg.OperationalError) as caught:
        psycopg.connect(host="127.0.0.1", port=server.port, connect_timeout=2)
    ruling = explain(caught.value)
    assert (ruling.row, ruling.outcome) == ("psycopg.ConnectionTimeout", NOT_DONE)


def test_no_free_connection(database_url: str) -> None:
    with (
        psycopg_pool.ConnectionPool(database_url, min_size=1, max_size=1) as pool,
        pool.connection(),
        pytest.raises(psycopg_pool.PoolTimeout) as caught,
        pool.connection(timeout=BRIEF_S),
    ):
        pass
    ruling = explain(caught.value)
    assert (ruling.row, ruling.outcome) == ("psycopg_pool.PoolTimeout", NOT_DONE)
