"""It fails closed: what the lab cannot follow is REFUSED with a reason, never passed over."""

from __future__ import annotations

import asyncio
import os
import socket
import sqlite3
import subprocess
import time
from datetime import timedelta
from functools import partial

import httpx
import pytest

from troth.lab import Lab, LabError

SEED = "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT)"
API = "https://api.stripe.com/v1"


def refused(lab: Lab, handler) -> str:
    """The reason for which the handler is refused."""
    lab.database("app.db", seed=SEED)
    lab.stripe()
    lab.user(handler)
    lab.always("nothing", lambda w: True)
    verdict = lab.explore(survived=0)
    assert verdict.word == "REFUSED", str(verdict)
    assert not verdict.closed
    assert verdict.exit_status == 3
    return verdict.reason


def swallowing(function):
    """A handler that hides every exception, as some do: the reason must come out all the same."""

    def handler():
        try:
            function()
        except BaseException:  # noqa: BLE001
            return 200
        return 200

    return handler


def test_concurrent_tasks(lab: Lab):
    async def handler():
        async with httpx.AsyncClient() as client:
            await asyncio.gather(client.post(f"{API}/charges"), client.post(f"{API}/customers"))

    assert "concurrent tasks" in refused(lab, handler)


def test_a_task_beside_its_parent(lab: Lab):
    async def handler():
        async with httpx.AsyncClient() as client:
            task = asyncio.create_task(client.post(f"{API}/charges"))
            sqlite3.connect("app.db").execute("SELECT 1")
            await task

    assert "concurrent tasks" in refused(lab, handler)


def test_a_task_that_is_not_awaited(lab: Lab):
    """It would run after the answer, when nobody is looking."""

    async def handler():
        handler.task = asyncio.create_task(asyncio.Event().wait())

    assert "outlives its attempt" in refused(lab, handler)


def test_sequential_tasks_are_followed(lab: Lab):
    """Delegation is no concurrency: a parent that waits for each child in turn is one strand."""

    async def charge():
        async with httpx.AsyncClient() as client:
            await client.post(f"{API}/charges", headers={"Idempotency-Key": "one"})

    async def handler():
        sqlite3.connect("app.db").execute("SELECT 1").fetchone()
        await asyncio.create_task(charge())
        await asyncio.to_thread(lambda: sqlite3.connect("app.db").execute("SELECT 2").fetchone())
        await asyncio.create_task(charge())
        return 200

    lab.database("app.db", seed=SEED)
    lab.stripe()
    lab.user(handler, within=timedelta(hours=1))
    lab.always("charged once", lambda w: len(w.stripe.charges) <= 1)
    verdict = lab.explore(survived=1)
    assert verdict.closed, str(verdict)


def test_a_socket(lab: Lab):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def handler():
            with socket.socket() as client:
                client.connect(server.getsockname())

        assert "socket.connect" in refused(lab, swallowing(handler))


def test_a_process(lab: Lab):
    assert "subprocess.Popen" in refused(
        lab, swallowing(lambda: subprocess.run(["true"], check=True))
    )


def test_a_file_that_is_written(lab: Lab, tmp_path):
    path = tmp_path / "flag"
    reason = refused(lab, swallowing(lambda: path.write_text("done")))
    assert str(path) in reason
    assert not path.exists(), "the write did not happen"


def test_a_file_that_does_not_matter(lab: Lab, tmp_path):
    path = tmp_path / "app.log"
    lab.ignore(path="*.log", because="nobody reads it")
    lab.database("app.db", seed=SEED)
    lab.user(lambda: path.write_text("done") and 200)
    lab.always("nothing", lambda w: True)
    verdict = lab.explore()
    assert verdict.closed, str(verdict)
    assert any("nobody reads it" in line for line in verdict.model)


def test_a_host_that_is_no_provider(lab: Lab):
    assert "no provider of this lab has the host" in refused(
        lab, swallowing(lambda: httpx.get("https://example.com/"))
    )


def test_a_call_that_the_model_does_not_have(lab: Lab):
    assert "add it to the model" in refused(lab, swallowing(lambda: httpx.post(f"{API}/payouts")))


def test_a_database_that_is_not_declared(lab: Lab):
    assert "lab.database()" in refused(lab, swallowing(lambda: sqlite3.connect("other.db")))


def test_mail_without_a_mailbox(lab: Lab):
    import smtplib

    assert "lab.mailbox()" in refused(lab, swallowing(lambda: smtplib.SMTP("mail.example.com")))


def test_a_schema_that_changes(lab: Lab):
    assert "changes the schema" in refused(
        lab, swallowing(lambda: sqlite3.connect("app.db").execute("CREATE TABLE more (id)"))
    )


def test_a_script_that_commits_in_the_middle(lab: Lab):
    script = "INSERT INTO t (name) VALUES ('a'); INSERT INTO t (name) VALUES ('b');"
    assert "executescript" in refused(
        lab, swallowing(lambda: sqlite3.connect("app.db").executescript(script))
    )


def test_two_transactions_at_once(lab: Lab):
    """With a write-ahead log, a reader keeps its snapshot while another connection commits."""

    def handler():
        first, second = sqlite3.connect("app.db"), sqlite3.connect("app.db")
        first.execute("PRAGMA journal_mode = WAL")
        first.execute("BEGIN")
        first.execute("SELECT * FROM t").fetchall()
        second.execute("INSERT INTO t (name) VALUES ('x')")
        second.commit()

    assert "two transactions" in refused(lab, swallowing(handler))


kept: list[sqlite3.Connection] = []


def test_a_connection_that_is_kept_between_attempts(lab: Lab):
    def handler():
        if not kept:
            kept.append(sqlite3.connect("app.db"))
        kept[0].execute("SELECT 1").fetchone()
        return 200

    try:
        reason = refused(lab, handler)
    finally:
        kept.clear()
    assert "kept" in reason


def test_a_connection_from_before(lab: Lab, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    early = sqlite3.connect("app.db")
    early.execute(SEED)
    try:
        reason = refused(lab, lambda: early.execute("SELECT 1").fetchone() and 200)
    finally:
        early.close()
    assert "before the lab was there" in reason


def test_a_process_id(lab: Lab):
    assert "process id" in refused(lab, swallowing(lambda: os.getpid() and None))


def test_what_is_different_every_time(lab: Lab):
    def handler():
        db = sqlite3.connect("app.db")
        db.execute("INSERT INTO t (name) VALUES (?)", (str(time.perf_counter_ns()),))
        db.commit()
        return 200

    reason = refused(lab, handler)
    assert "with other parameters" in reason
    assert "test_refusals.py" in reason, "the place is named"


def test_an_attempt_without_an_end(lab: Lab):
    def handler():
        db = sqlite3.connect("app.db")
        while True:
            db.execute("SELECT 1").fetchone()

    assert "does not end" in refused(lab, handler)


def test_an_unsupported_feature_of_sqlite(lab: Lab):
    assert "blobopen" in refused(
        lab, swallowing(lambda: sqlite3.connect("app.db").blobopen("t", "name", 1))
    )


def test_a_function_of_the_applications_own_is_refused_where_it_is_called(lab: Lab):
    def handler() -> int:
        db = sqlite3.connect("app.db")
        db.create_function("f", 0, lambda: 1)
        db.create_aggregate("g", 1, object)
        return int(db.execute("SELECT count(*) FROM t").fetchone()[0])

    def calling(name: str) -> object:
        db = sqlite3.connect("app.db")
        db.create_function("f", 0, lambda: 1)
        db.create_aggregate("g", 1, object)
        return db.execute(f"SELECT {name} FROM t").fetchall()

    for name in ("F()", "g (id)"):
        assert "functions of the application's own" in refused(
            Lab(name, closer=0), partial(calling, name)
        )
    lab.database("app.db", seed=SEED)
    lab.user(handler)
    lab.always("nothing", lambda w: True)
    assert lab.explore(budget=10).closed


@pytest.mark.parametrize("asked", [{"overlap": 0}, {"in_flight": -1}, {"survived": -1}])
def test_a_dimension_without_sense(lab: Lab, asked):
    lab.database("app.db", seed=SEED)
    lab.user(lambda: 200)
    lab.always("nothing", lambda w: True)
    with pytest.raises(LabError, match="at least"):
        lab.prove(**asked)


def test_a_user_without_an_attempt(lab: Lab):
    with pytest.raises(LabError, match="at least one attempt"):
        lab.user(lambda: 200, overlap=0)


def test_a_test_that_is_wrong(lab: Lab):
    with pytest.raises(LabError, match="nobody does anything"):
        lab.prove()
    lab.user(lambda: 200)
    with pytest.raises(LabError, match="nothing is promised"):
        lab.prove()
    lab.always("wrong", lambda w: w.nothing)
    with pytest.raises(LabError, match="the world has no 'nothing'"):
        lab.prove()
    with pytest.raises(LabError, match="nothing else yet"):
        lab.database("mysql://localhost/db")


def test_a_promise_that_fails_is_an_error_of_the_test(lab: Lab):
    lab.user(lambda: 200)
    lab.always("divides", lambda w: 1 / 0)
    with pytest.raises(LabError, match="'divides' raised ZeroDivisionError"):
        lab.prove()


async def test_an_async_test(lab: Lab):
    lab.user(lambda: 200)
    lab.always("nothing", lambda w: True)
    with pytest.raises(LabError, match="not `async def`"):
        lab.prove()


@pytest.mark.parametrize(
    "statement",
    [
        "ATTACH DATABASE 'other.db' AS other",
        "CREATE TEMP TABLE mine (id)",
        "INSERT INTO t (name) VALUES (hex(randomblob(16)))",
        "SELECT last_insert_rowid()",
    ],
)
def test_what_a_connection_alone_would_know(lab: Lab, statement):
    reason = refused(lab, swallowing(lambda: sqlite3.connect("app.db").execute(statement)))
    assert statement in reason


def test_a_schema_with_randomness_of_its_own(lab: Lab):
    lab.database("app.db", seed="CREATE TABLE t (id TEXT DEFAULT (hex(randomblob(8))))")
    lab.user(lambda: 200)
    lab.always("nothing", lambda w: True)
    verdict = lab.explore()
    assert verdict.word == "REFUSED"
    assert "randomness" in verdict.reason


def test_a_count_of_the_connection(lab: Lab):
    assert "rowcount" in refused(
        lab, swallowing(lambda: sqlite3.connect("app.db").total_changes and None)
    )
