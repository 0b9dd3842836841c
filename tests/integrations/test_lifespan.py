"""troth in the lifespan of an ASGI application, with one of the application's own inside."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette

from tests.workflow.place import QUICK
from troth import Troth, UsageError
from troth.integrations.lifespan import troth_lifespan


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


async def test_as_litestar_calls_it(program):
    """`lifespan=[f]`: each is called with the application and entered. Litestar itself is not installed here."""
    async with troth_lifespan(program)(object()) as state:
        assert state is None
        assert not program.node.executes


def test_options_of_what_is_no_worker_are_refused(program):
    with pytest.raises(UsageError, match="worker=True"):
        troth_lifespan(program, options=QUICK)
