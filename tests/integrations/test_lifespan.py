"""troth in the lifespan of an ASGI application, with one of the application's own inside."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
from fastapi import FastAPI
from litestar import Litestar, get
from litestar.testing import AsyncTestClient
from starlette.applications import Starlette

from tests.workflow.place import QUICK
from troth import Troth, UsageError
from troth.integrations.lifespan import troth_lifespan
from troth.store.errors import SchemaMissing


@pytest.fixture
def program(migrated):
    url, schema = migrated
    troth = Troth(url, schema=schema)

    @troth.workflow
    async def double(n: int) -> int:
        return 2 * n

    return troth


async def through(app, during) -> tuple[list[str], dict[str, object]]:
    """Take an application through its lifespan as a server does; what it says, and its state."""
    said: list[str] = []
    turn = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive():
        kind = next(turn)
        if kind == "lifespan.shutdown":
            await during()
        return {"type": kind}

    async def send(message):
        said.append(message["type"])

    state: dict[str, object] = {}
    await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": state}, receive, send)
    return said, state


@pytest.mark.parametrize("make", [FastAPI, Starlette])
async def test_a_worker_lives_as_long_as_the_application(program, make):
    seen: list[object] = []

    @asynccontextmanager
    async def own(app):
        run = await program.start(program.workflows["double"], 1)  # troth is open already
        seen.append(await run.result(timeout=20))
        yield {"shop": app}
        run = await program.start(program.workflows["double"], 2)  # and still
        seen.append(await run.result(timeout=20))

    async def during():
        run = await program.start(program.workflows["double"], 21)
        seen.append(await run.result(timeout=20))

    app = make(lifespan=troth_lifespan(program, own, worker=True, options=QUICK))
    said, state = await through(app, during)
    assert said == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert seen == [2, 42, 4]
    assert state == {"shop": app}
    with pytest.raises(UsageError, match="nothing is open"):
        program.node  # noqa: B018


async def test_litestar_opens_and_closes_it_and_its_handlers_start_runs(program):
    @asynccontextmanager
    async def own(app):
        app.state.ready = (
            True  # Litestar's way to keep something: what is yielded goes nowhere there
        )
        yield

    @get("/double")
    async def double() -> dict[str, int]:
        run = await program.start(program.workflows["double"], 21)
        return {"said": await run.result(timeout=20)}

    lifespan = troth_lifespan(program, own, worker=True, options=QUICK)
    app = Litestar([double], lifespan=[lifespan], logging_config=None)
    async with AsyncTestClient(app) as client:
        assert app.state.ready
        assert (await client.get("/double")).json() == {"said": 42}
    assert not program._nodes, "it is closed, in the loop that the test client has of its own"


async def test_litestar_does_not_start_without_a_database(database_url):
    troth = Troth(database_url, schema="no_such_schema")
    app = Litestar([], lifespan=[troth_lifespan(troth)], logging_config=None)
    with pytest.raises(ExceptionGroup) as told:
        async with AsyncTestClient(app):
            pass
    assert told.group_contains(SchemaMissing, match="no_such_schema")


def test_options_of_what_is_no_worker_are_refused(program):
    with pytest.raises(UsageError, match="worker=True"):
        troth_lifespan(program, options=QUICK)
