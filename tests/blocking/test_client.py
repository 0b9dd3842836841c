"""The client for threads: shared by threads, opened anew by a forked child, refused in an event loop."""

import asyncio
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import psycopg
import pytest
from flask import Flask
from psycopg.conninfo import make_conninfo

from tests.workflow.place import QUICK
from troth import (
    ForeignTransactionError,
    KeyConflictError,
    PayloadError,
    RunCancelledError,
    RunEndedError,
    RunFailedError,
    RunNotFoundError,
    Topic,
    Troth,
    UsageError,
    blocking,
)


class Sorry(Exception):
    pass


def program(url: str, schema: str) -> Troth:
    troth = Troth(url, schema=schema)

    @troth.workflow
    async def double(n: int) -> int:
        return 2 * n

    @troth.workflow
    async def listen() -> str:
        return await troth.receive("said", str)

    @troth.workflow
    async def twice() -> str:
        troth.progress("listens")
        return f"{await troth.receive('said', str)}, {await troth.receive('said', str)}"

    @troth.workflow(fails_on=Sorry)
    async def fail() -> None:
        raise Sorry

    return troth


@pytest.fixture
def troth(migrated: tuple[str, str]) -> Iterator[Troth]:
    """A worker of this program runs in a thread meanwhile."""
    leave = threading.Event()
    ready = threading.Event()

    async def work() -> None:
        async with program(*migrated).worker(QUICK):
            ready.set()
            await asyncio.to_thread(leave.wait)

    thread = threading.Thread(target=lambda: asyncio.run(work()))
    thread.start()
    assert ready.wait(20)
    yield program(*migrated)
    leave.set()
    thread.join()


def test_runs_are_started_sent_to_cancelled_and_waited_for(troth: Troth) -> None:
    double, listen, fail = (troth.workflows[name] for name in ("double", "listen", "fail"))
    with blocking.client(troth) as client:
        run = client.start(double, 21, key="k")
        assert run.result(timeout=20) == 42
        assert client.start(double, 21, key="k").id == run.id
        with pytest.raises(KeyConflictError):
            client.start(double, 22, key="k")
        heard = client.start(listen)
        with pytest.raises(TimeoutError):
            heard.result(timeout=0.01)
        client.send(heard, "said", "hello")
        assert client.run(heard.id).result(timeout=20) == "hello"
        with pytest.raises(RunEndedError):
            client.send(heard.id, "said", "too late")
        with pytest.raises(RunFailedError):
            client.start(fail).result(timeout=20)
        stopped = client.start(listen)
        client.cancel(stopped)
        with pytest.raises(RunCancelledError):
            stopped.result(timeout=20)
    with pytest.raises(UsageError, match="closed"):
        client.start(double, 1)


def test_threads_share_one_client_and_its_first_use_opens_it_once(troth: Troth) -> None:
    client = blocking.Client(troth)
    double = troth.workflows["double"]
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(lambda n: client.start(double, n).result(20), range(40)))
    assert results == [2 * n for n in range(40)]
    assert len([t for t in threading.enumerate() if t.name == "troth client"]) == 1
    client.close()
    assert not [t for t in threading.enumerate() if t.name == "troth client"]


def test_a_client_of_flask_opens_with_the_first_request(troth: Troth) -> None:
    app = Flask("shop")
    client = blocking.Client(troth)
    client.init_app(app)

    @app.get("/double/<int:n>")
    def double(n: int) -> str:
        return str(app.extensions["troth"].start(troth.workflows["double"], n).result(20))

    assert not [t for t in threading.enumerate() if t.name == "troth client"]
    assert app.test_client().get("/double/4").text == "8"
    client.close()


async def test_an_event_loop_is_not_blocked(troth: Troth) -> None:
    client = blocking.Client(troth)
    with pytest.raises(UsageError, match=r"async with troth\.client"):
        client.start(troth.workflows["double"], 1)


def test_a_database_that_is_not_there_is_told_and_asked_again(database_url: str) -> None:
    troth = program(database_url, "no_such_schema")
    client = blocking.Client(troth)
    for _ in range(2):
        with pytest.raises(Exception, match="no_such_schema"):
            client.start(troth.workflows["double"], 1)
    client.close()


def test_a_factory_gives_all_applications_the_same_client(troth: Troth) -> None:
    one, other = blocking.Client(troth), blocking.Client(troth)
    first, second = Flask("shop"), Flask("shop")
    for app in (first, second, second):
        one.init_app(app)
    assert first.extensions["troth"] is second.extensions["troth"] is one
    with pytest.raises(UsageError, match="has a client of troth already"):
        other.init_app(first)


FLASK = """
    import sys
    from flask import Flask
    from tests.blocking.test_client import program
    from troth import blocking

    def create_app():
        app = Flask("shop")
        blocking.Client(program(*sys.orig_argv[-2:])).init_app(app)
        return app

    sys.argv[1:] = ["troth", "worker"]
    from flask.cli import FlaskGroup
    FlaskGroup(create_app=create_app).main()
"""


def test_flask_troth_worker_executes_runs_until_it_is_told_to_stop(
    migrated: tuple[str, str],
) -> None:
    here = program(*migrated)
    with (
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", textwrap.dedent(FLASK), *migrated],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        ) as worker,
        blocking.client(here) as client,
    ):
        try:
            assert client.start(here.workflows["double"], 4).result(30) == 8
            worker.terminate()
            assert worker.wait(20) == 0
        finally:
            worker.kill()


FORKS = """
    import os, sys
    from tests.blocking.test_client import program
    from troth import blocking

    troth = program(*sys.argv[1:])
    double = troth.workflows["double"]
    with blocking.client(troth) as client:
        assert client.start(double, 1).result(20) == 2
        child = os.fork()
        if child == 0:
            assert client.start(double, 2).result(20) == 4
            client.close()
            os._exit(7)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 7, status
        assert client.start(double, 3).result(20) == 6, "the parent's connections are its own"
    print("both")
"""


def test_a_forked_child_opens_anew_and_leaves_the_parent_alone(
    troth: Troth, migrated: tuple[str, str]
) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(FORKS), *migrated],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout.strip() == "both", done.stderr


def test_a_message_of_a_topic_is_typed_and_its_key_makes_it_one(troth: Troth) -> None:
    said = Topic[str]("said")
    with blocking.client(troth) as client:
        run = client.start(troth.workflows["twice"], key="twice")
        for _ in range(2):
            client.send("twice", said, "hello", key="1")
        with pytest.raises(KeyConflictError):
            client.send(run, said, "good bye", key="1")
        with pytest.raises(PayloadError, match="a message of said is of type str, and 5 is not"):
            client.send(run, said, 5)  # type: ignore[call-overload]
        with pytest.raises(UsageError, match="a message is for a run"):
            client.send(5, said, "hello")  # type: ignore[call-overload]
        client.send(run, said, "bye", key="2")
        assert run.result(timeout=20) == "hello, bye"


def test_progress_is_read_and_watched(troth: Troth) -> None:
    with blocking.client(troth) as client:
        run = client.start(troth.workflows["twice"])
        for update in run.watch():
            if update.progress == "listens":
                break
        assert run.progress() == "listens"
        run.cancel()
        assert [update.state for update in run.watch()][-1] == "cancelled"


def test_a_run_and_a_message_are_there_if_and_only_if_the_transaction_commits(
    troth: Troth, database_url: str
) -> None:
    double, listen = troth.workflows["double"], troth.workflows["listen"]
    with blocking.client(troth) as client, psycopg.connect(database_url) as connection:
        heard = client.start(listen)
        with connection.transaction(force_rollback=True):
            lost = client.start(double, 1, key="lost", tx=connection)
            client.send(heard, "said", "lost", tx=connection)
        with pytest.raises(RunNotFoundError):
            lost.progress()
        with connection.transaction():
            kept = client.start(double, 2, key="kept", tx=connection)
            late = client.start(listen, deadline=timedelta(milliseconds=1), tx=connection)
            client.send(heard, "said", "kept", key="1", tx=connection)
            client.send(heard, "said", "kept", key="1", tx=connection)
        assert kept.result(timeout=20) == 4
        with pytest.raises(RunFailedError, match="has not ended by"):
            late.result(timeout=20)
        assert heard.result(timeout=20) == "kept"
        with connection.transaction():
            assert client.start(double, 2, key="kept", tx=connection).id == kept.id
            with pytest.raises(KeyConflictError):
                client.start(double, 3, key="kept", tx=connection)
            with pytest.raises(RunEndedError):
                client.send(heard, "said", "late", tx=connection)
        with pytest.raises(UsageError, match="tx= is an open transaction"):
            client.start(double, 1, tx=3)  # type: ignore[arg-type]


def test_a_transaction_of_another_database_starts_nothing(troth: Troth, database_url: str) -> None:
    other = make_conninfo(database_url, dbname="postgres")
    with blocking.client(troth) as client, psycopg.connect(other) as connection:
        with pytest.raises(ForeignTransactionError, match="cannot commit together"):
            client.start(troth.workflows["double"], 1, tx=connection)
        with pytest.raises(ForeignTransactionError):
            client.send("nobody", "said", "hello", tx=connection)
