"""Answers that are what becomes of a run: who words them if several could, and whose they are."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.integrations.edge.conftest import Site
from tests.integrations.edge.frameworks import AsgiSite
from tests.integrations.edge.shop import Shop
from tests.integrations.edge.test_conformance import worker
from troth.command.perform import Requests
from troth.command.request_model import Answer
from troth.integrations.asgi import COMMAND, IdempotencyMiddleware, OperationEndpoint
from troth.store.plan import carry_out_blocking

KEY = "k-1"


@pytest.fixture
def framework() -> str:
    return "starlette"


async def ordered(site: Site, name: str = "book") -> UUID:
    """A run that has ended, and that nobody has been answered for."""
    run = UUID(json.loads((await site.post("/orders", {"name": name}, KEY)).body)["id"])
    async with worker(site):
        await site.shop.troth.run(run).result(timeout=20)
    assert site.rows("SELECT status FROM {}.request") == [(None,)]
    return run


async def test_of_two_processes_that_word_the_end_differently_the_first_one_holds(site, place):
    """A new version of the program words it otherwise, and looked before the old one had answered."""
    run = await ordered(site)
    newer = Shop(*place)
    newer.requests._renders["Shop.__init__.<locals>.receipt"] = lambda made: {"book": made}

    with psycopg.connect(site.url, autocommit=True) as one:
        late = newer.requests.find(run, "nobody")
        statement = next(late)
        while statement.query != newer.requests.queries.settle:
            statement = late.send(one.execute(statement.query, statement.params).fetchall())
        assert b'"book":"book"' in bytes(statement.params[-1])  # type: ignore[index,call-overload]

        first = carry_out_blocking(one, site.shop.requests.find(run, "nobody"))
        with pytest.raises(StopIteration) as told:
            late.send(one.execute(statement.query, statement.params).fetchall())
    assert json.loads(first.body) == {"bought": "book"}
    assert told.value.value == first
    again = await site.post("/orders", {"name": "book"}, KEY)
    assert (again.status, again.body, again.replayed) == (200, first.body, True)


async def test_an_end_that_was_answered_once_is_not_worded_again(site):
    run = await ordered(site)
    first = await site.get(f"/operations/{run}")
    del site.shop.requests._renders["Shop.__init__.<locals>.receipt"]
    again = await site.post("/orders", {"name": "book"}, KEY)
    assert (first.status, again.body) == (200, first.body)


# Two parts of one program ---------------------------------------------------------------------------------------------


@pytest.fixture
async def two(place: tuple[str, str], site: Site) -> AsyncIterator[tuple[Site, Requests]]:
    """The shop, and a second API on the same runs."""
    shop = Shop(*place)
    admin = shop.troth.include(Requests("admin", operations="/admin/operations"))
    async with shop.troth.client():
        yield Site(None, shop, place[0]), admin


async def test_two_apis_of_one_program_share_its_runs_and_nothing_else(two):
    site, admin = two
    shop = site.shop

    async def app(scope: Any, receive: Any, send: Any) -> None:
        command = scope[COMMAND]
        run = await command.start(shop.order, "book", key="the order")
        await command.operation(run)(scope, receive, send)

    async def post(requests: Requests) -> tuple[int, dict[str, str], bool]:
        served = AsgiSite(IdempotencyMiddleware(app, requests=requests, troth=shop.troth))
        told = await served.send("POST", "/x", b"{}", [("idempotency-key", KEY)])
        return told.status, json.loads(told.body), told.replayed

    async def ask(requests: Requests) -> tuple[int, Any]:
        served = AsgiSite(OperationEndpoint(requests, shop.troth))
        told = await served.send("GET", requests.url_of(run), b"", [])
        return told.status, told["content-location"]

    (one_status, one, one_again), (other_status, other, other_again) = (
        await post(shop.requests),
        await post(admin),
    )
    run = UUID(one["id"])
    assert (one_status, other_status, one_again, other_again) == (202, 202, False, False)
    assert one["id"] == other["id"]
    assert (one["url"], other["url"]) == (f"/operations/{run}", f"/admin/operations/{run}")
    assert site.rows("SELECT name FROM {}.request ORDER BY name") == [("admin",), ("shop",)]
    async with worker(site):
        await shop.troth.run(run).result(timeout=20)
    assert await ask(shop.requests) == (200, one["url"])
    answered = "SELECT name FROM {}.request WHERE status IS NOT NULL ORDER BY name"
    assert site.rows(answered) == [("shop",)]
    assert await ask(admin) == (200, other["url"])
    assert site.rows(answered) == [("admin",), ("shop",)]
    assert (await post(admin))[2]

    stranger = Requests("stranger")
    stranger.bind(shop.troth.schema)
    assert (await ask(stranger))[0] == 404


async def test_an_operation_of_one_api_is_not_found_in_the_other(site, place):
    run = await ordered(site)
    admin = Requests("admin")
    admin.bind(place[1])
    with psycopg.connect(site.url, autocommit=True) as tx:
        assert isinstance(carry_out_blocking(tx, site.shop.requests.find(run, "nobody")), Answer)
        with pytest.raises(Exception, match="no such operation of yours"):
            carry_out_blocking(tx, admin.find(run, "nobody"))
