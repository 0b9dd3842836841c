"""The `Troth` object: how it is made, what it refuses, and where it can be open."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.harness.postgres import create_database, open_directory, wait_until
from troth import (
    Call,
    ForeignTransactionError,
    KeyConflictError,
    PayloadError,
    Refused,
    RunCancelledError,
    RunFailedError,
    RunNotFoundError,
    Troth,
    Tx,
    UnknownWorkflowError,
    UsageError,
)
from troth.base.ids import MAX_CELL, cell_of
from troth.store.connect import connect_async
from troth.store.errors import StoreError
from troth.worker.node import NodeOptions
from troth.workflow.definition import Workflow

QUICK = NodeOptions(connections=2, threads=2)


@pytest.fixture
def troth(migrated: tuple[str, str]) -> Troth:
    url, schema = migrated
    return Troth(url, schema=schema)


def define(troth: Troth) -> Workflow[[int], int]:
    @troth.step
    async def double(n: int) -> int:
        return n * 2

    @troth.workflow
    async def work(n: int) -> int:
        return await double(n)

    return work


# ── making one ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("cell", [-1, MAX_CELL + 1])
def test_a_wrong_cell_is_refused(cell: int) -> None:
    with pytest.raises(UsageError, match="from 0 to 16383"):
        Troth(cell=cell)


def test_it_opens_nothing_by_itself(tmp_path: Path) -> None:
    Troth("postgresql://127.0.0.1:1/nowhere", directory=tmp_path / "never")
    assert not (tmp_path / "never").exists()


def test_names_are_taken_once() -> None:
    troth = Troth()
    work = define(troth)
    with pytest.raises(UsageError, match="two workflows named work"):
        troth.workflow(work.function)
    with pytest.raises(UsageError, match="two steps named double"):

        @troth.transaction(name="double")
        async def other(tx: Tx) -> None: ...

    troth.workflow(name="work.2")(work.function)
    assert set(troth.workflows) == {"work", "work.2"}
    define(Troth())  # another Troth has names of its own


@pytest.mark.parametrize("name", ["a b", "1a", "a#2", "0:a", "x" * 121, "a\n"])
def test_names_that_cannot_be_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a step or workflow"):

        @Troth().step(name=name)
        async def step() -> None: ...


def test_what_can_never_be_stored_is_refused_at_decoration() -> None:
    troth = Troth()
    with pytest.raises(UsageError, match=r"work\(lock\): .*cannot be stored"):

        @troth.workflow
        async def work(lock: threading.Thread) -> None: ...

    with pytest.raises(UsageError, match=r"the result of step: .*cannot be stored"):

        @troth.step
        async def step() -> threading.Thread: ...

    assert not troth.workflows
    assert not troth.steps


def test_definitions_keep_what_their_functions_say() -> None:
    troth = Troth()

    @troth.step
    async def step() -> None:
        """What it does."""

    assert (step.__name__, step.__doc__, step.__module__) == ("step", "What it does.", __name__)
    assert repr(step) == "<stepdefinition step>"


# ── starting ────────────────────────────────────────────────────────────────────────────────────


async def test_a_run_has_the_cell_of_its_troth(migrated: tuple[str, str]) -> None:
    url, schema = migrated
    troth = Troth(url, schema=schema, cell=77)
    work = define(troth)
    async with troth.worker(QUICK):
        run = await troth.start(work, 4)
        assert cell_of(run.id) == 77
        assert await run.result(20) == 8
        assert repr(run) == f"<run {run.id}>"


async def test_the_same_key_is_the_same_run(troth: Troth) -> None:
    work = define(troth)
    async with troth.worker(QUICK):
        runs = await asyncio.gather(*(troth.start(work, 4, key="k") for _ in range(20)))
        assert len({run.id for run in runs}) == 1
        assert await runs[0].result(20) == 8
        again = await troth.start(work, 4, key="k")
        assert again.id == runs[0].id
        assert await again.result(20) == 8
        with pytest.raises(KeyConflictError, match=r"n: 4 then, 5 now") as conflict:
            await troth.start(work, 5, key="k")
    assert conflict.value.run_id == runs[0].id
    assert conflict.value.differences == {"n": (4, 5)}


@pytest.mark.parametrize(
    "key", ["", "x" * 501, "a\0b", "a\ud800"], ids=["empty", "long", "nul", "surrogate"]
)
async def test_keys_that_cannot_be_stored_are_refused_and_do_no_harm(
    troth: Troth, key: str
) -> None:
    work = define(troth)
    async with troth.worker(QUICK):
        with pytest.raises(UsageError, match="a key has 1 to 500 characters"):
            await troth.start(work, 1, key=key)
        with pytest.raises(UsageError, match="a key has 1 to 500 characters"):
            await troth.send(key, "t")
        assert await (await troth.start(work, 1, key="k" * 500)).result(20) == 2


async def test_a_time_needs_its_zone(troth: Troth) -> None:
    work = define(troth)
    async with troth.worker(QUICK):
        with pytest.raises(UsageError, match="has no time zone"):
            await troth.start(work, 1, at=datetime.now())  # noqa: DTZ005
        past = datetime.now(timezone(timedelta(hours=5))) - timedelta(days=1)
        assert await (await troth.start(work, 1, at=past)).result(20) == 2


async def test_a_run_begins_when_it_is_due(troth: Troth) -> None:
    @troth.workflow
    async def when() -> datetime:
        return troth.now()

    async with troth.worker(QUICK):
        due = datetime.now(UTC) + timedelta(seconds=1.5)
        run = await troth.start(when, at=due)
        assert await run.result(20) >= due - timedelta(milliseconds=1)
        assert troth.node.clock.now() >= due.timestamp() - 0.1


async def test_what_is_not_a_workflow_of_this_troth_is_refused(troth: Troth) -> None:
    work = define(Troth())
    async with troth.client():
        with pytest.raises(UnknownWorkflowError, match="of another Troth"):
            await troth.start(work, 1)
        with pytest.raises(UsageError, match="decorate it"):
            await troth.start(work.function, 1)


async def test_wrong_arguments_are_told_to_the_caller(troth: Troth) -> None:
    work = define(troth)

    @troth.workflow
    async def anything(value: Any) -> Any:
        return value

    async with troth.client():
        with pytest.raises(UsageError, match="missing a required argument"):
            await troth.start(work)  # type: ignore[call-arg]
        with pytest.raises(PayloadError):
            await troth.start(anything, object())
        with pytest.raises(PayloadError):
            await troth.start(work, "not a number")  # type: ignore[arg-type]


async def test_a_start_in_a_transaction_exists_if_that_commits(
    troth: Troth, migrated: tuple[str, str]
) -> None:
    work = define(troth)
    async with troth.worker(QUICK), await connect_async(migrated[0]) as connection:
        try:
            async with connection.transaction():
                dropped = await troth.start(work, 1, tx=connection)
                raise ZeroDivisionError
        except ZeroDivisionError:
            pass
        async with connection.transaction():
            kept = await troth.start(work, 2, key="k", tx=connection)
            again = await troth.start(work, 2, key="k", tx=connection)
            assert again.id == kept.id
            with pytest.raises(KeyConflictError, match="n: 2 then, 3 now"):
                await troth.start(work, 3, key="k", tx=connection)
        assert await kept.result(20) == 4
        with pytest.raises(TimeoutError):
            await dropped.result(0.1)


async def test_a_transaction_of_another_database_is_refused(
    troth: Troth, migrated: tuple[str, str]
) -> None:
    work = define(troth)
    other = create_database(migrated[0], f"{migrated[1]}_other")
    try:
        async with troth.client(), await connect_async(other) as connection:
            with pytest.raises(ForeignTransactionError, match="cannot commit together"):
                await troth.start(work, 1, tx=connection)
            with pytest.raises(ForeignTransactionError):
                await troth.send("k", "t", tx=connection)
    finally:
        with psycopg.connect(migrated[0], autocommit=True) as connection_:
            connection_.execute(f"DROP DATABASE {migrated[1]}_other WITH (FORCE)")  # type: ignore[arg-type]


async def test_results_say_how_a_run_ended(troth: Troth) -> None:
    @troth.workflow
    async def refuses() -> None:
        raise Refused("no")

    @troth.workflow
    async def waits() -> None:
        await troth.receive("never")

    async with troth.worker(QUICK):
        failed, stopped = await troth.start(refuses), await troth.start(waits)
        await stopped.cancel()
        with pytest.raises(RunFailedError, match=f"run {failed.id} failed: .*Refused: no") as error:
            await failed.result(20)
        assert (error.value.run_id, error.value.message) == (failed.id, "no")
        with pytest.raises(RunCancelledError, match=f"run {stopped.id} was cancelled"):
            await troth.run(str(stopped.id)).result(20)


def test_a_handle_needs_an_id_of_a_run() -> None:
    with pytest.raises(UsageError, match="the id of a run is a UUID, not 'not an id'"):
        Troth().run("not an id")


# ── being open ──────────────────────────────────────────────────────────────────────────────────


async def test_nothing_is_open_until_it_is(troth: Troth) -> None:
    work = define(troth)
    attempts = (
        lambda: troth.start(work, 1),
        lambda: troth.send("k", "t"),
        lambda: troth.run(UUID(int=1)).result(1),
    )
    for attempt in attempts:
        with pytest.raises(
            UsageError,
            match=r"nothing is open in this event loop: use `async with troth\.client\(\):`",
        ):
            await attempt()
    async with troth.client():
        run = await troth.start(work, 1)
    with pytest.raises(UsageError, match="nothing is open"):
        await run.cancel()


async def test_it_is_open_once_in_an_event_loop_and_may_be_opened_again(troth: Troth) -> None:
    work = define(troth)
    for _ in range(2):
        async with troth.client():
            with pytest.raises(UsageError, match="open already"):
                async with troth.worker(QUICK):
                    pass
            await troth.start(work, 1)


async def test_a_schema_that_is_not_there_is_named_and_leaves_nothing_open(
    database_url: str,
) -> None:
    troth = Troth(database_url, schema="t_missing")
    for _ in range(2):  # the failed opening has let go of everything
        with pytest.raises(StoreError, match="t_missing"):
            async with troth.client():
                pass


async def test_a_client_starts_and_a_worker_of_another_loop_and_thread_executes(
    troth: Troth,
) -> None:
    work = define(troth)
    threads: list[str] = []

    @troth.workflow
    async def where() -> str:
        threads.append(threading.current_thread().name)
        return threading.current_thread().name

    opened, leave = threading.Event(), threading.Event()

    async def execute() -> None:
        async with troth.worker(QUICK):
            opened.set()
            await asyncio.to_thread(leave.wait, 60)

    worker = threading.Thread(target=lambda: asyncio.run(execute()), name="the worker")
    worker.start()
    try:
        assert await asyncio.to_thread(opened.wait, 20)
        async with troth.client():
            runs = [await troth.start(work, n) for n in range(20)]
            assert await asyncio.gather(*(run.result(20) for run in runs)) == [
                n * 2 for n in range(20)
            ]
            assert await (await troth.start(where)).result(20) == "the worker"
    finally:
        leave.set()
        await asyncio.to_thread(worker.join, 30)
    assert not worker.is_alive()
    assert threads == ["the worker"]


async def test_a_run_without_a_worker_waits_for_one(troth: Troth) -> None:
    work = define(troth)
    async with troth.client():
        run = await troth.start(work, 3)
        with pytest.raises(TimeoutError):
            await run.result(0.2)
    async with troth.worker(QUICK):
        assert await run.result(20) == 6


# ── in an ASGI application ──────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def serving(application: Any) -> AsyncIterator[Any]:
    """The application with its lifespan, as a server would run it, and a client without a network."""
    import httpx

    messages: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    answers: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    lifespan = asyncio.create_task(application({"type": "lifespan"}, messages.get, answers.put))
    try:
        await messages.put({"type": "lifespan.startup"})
        async with asyncio.timeout(20):
            assert (await answers.get())["type"] == "lifespan.startup.complete"
        transport = httpx.ASGITransport(app=application)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            yield client
        await messages.put({"type": "lifespan.shutdown"})
        async with asyncio.timeout(20):
            assert (await answers.get())["type"] == "lifespan.shutdown.complete"
    finally:
        await lifespan


def starlette(troth: Troth, work: Workflow[[int], int]) -> Any:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    async def start(request: Request) -> JSONResponse:
        run = await troth.start(work, int(request.path_params["n"]))
        return JSONResponse({"run": str(run.id)})

    return Starlette(routes=[Route("/{n}", start, methods=["POST"])], lifespan=troth.lifespan)


def fastapi(troth: Troth, work: Workflow[[int], int]) -> Any:
    from fastapi import FastAPI

    application = FastAPI(lifespan=troth.lifespan)

    @application.post("/{n}")
    async def start(n: int) -> dict[str, UUID]:
        return {"run": (await troth.start(work, n)).id}

    return application


@pytest.mark.parametrize("framework", [starlette, fastapi])
async def test_lifespan_is_a_client_for_the_life_of_an_application(
    troth: Troth, framework: Any
) -> None:
    work = define(troth)
    async with serving(framework(troth, work)) as client:
        answer = await client.post("/21")
        assert answer.status_code == 200
        run = UUID(answer.json()["run"])
    with pytest.raises(UsageError, match="nothing is open"):
        await troth.run(run).result(1)
    async with troth.worker(QUICK):
        assert await troth.run(run).result(20) == 42


# ── the embedded server ─────────────────────────────────────────────────────────────────────────


@pytest.fixture
def directory() -> Iterator[Path]:
    made = open_directory("troth-app-")
    yield made
    from troth.store.embedded_cluster import Cluster, wheel_binaries

    cluster = Cluster(made / "postgres", wheel_binaries())
    wait_until(lambda: cluster.postmaster() is None, "the embedded server stops")


async def test_programs_of_one_directory_share_an_embedded_server_and_its_schema(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TROTH_DATABASE_URL", "PGHOST", "PGDATABASE", "PGSERVICE"):
        monkeypatch.delenv(name, raising=False)
    first, second = Troth(directory=directory), Troth(directory=str(directory))
    started, execute = define(first), define(second)
    assert started.name == execute.name

    async def work_elsewhere(run: UUID) -> int:
        async with second.worker(QUICK):
            return int(await second.run(run).result(20))

    async with first.client():
        run = await first.start(started, 5)
        done = await asyncio.to_thread(lambda: asyncio.run(work_elsewhere(run.id)))
        assert done == await run.result(20) == 10


async def test_the_result_of_a_run_that_does_not_exist_is_not_waited_for(
    troth: Troth, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("troth.worker.results.SWEEP_S", 0.05)

    @troth.workflow
    async def waits() -> None:
        await troth.receive("never")

    async with troth.client():
        there = await troth.start(waits)
        for _ in range(2):  # a run that exists is waited for, however long
            with pytest.raises(TimeoutError, match=f"run {there.id} has not ended"):
                await there.result(0.3)
        with pytest.raises(RunNotFoundError, match="it never was, its start was rolled back"):
            await troth.run("01a22de5-cf8d-7051-8000-001d796fd706").result(30)


def test_an_effect_without_arguments_says_what_is_missing() -> None:
    with pytest.raises(UsageError, match=r"effect charge: it must be said how it may be sent"):

        @Troth().effect  # type: ignore[arg-type, call-arg]
        async def charge(call: Call) -> None: ...
