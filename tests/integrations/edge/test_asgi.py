"""What only an ASGI application can do wrong: streams, cancellations, lost commits, background work."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integrations.edge.conftest import Site
from tests.integrations.edge.frameworks import AsgiSite
from tests.integrations.edge.shop import LOCK, Shop
from tests.integrations.edge.test_conformance import waits
from troth.command import request_store
from troth.integrations.asgi import COMMAND, IdempotencyMiddleware

KEY = "k-1"


@pytest.fixture(params=["starlette"])
def framework(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def bare(site: Site, app: Any) -> AsgiSite:
    """An application without a framework, behind the middleware."""
    shop = site.shop
    return AsgiSite(IdempotencyMiddleware(app, requests=shop.requests, troth=shop.troth))


async def post(served: AsgiSite, body: bytes = b"{}") -> Any:
    return await served.send("POST", "/x", body, [("idempotency-key", KEY)])


async def test_a_commit_that_lost_its_answer_is_not_called_a_failure(site, monkeypatch):
    commit = request_store.commit

    async def lost(*args: Any) -> bool:
        await commit(*args)
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(request_store, "commit", lost)
    told = await site.post("/things", {"name": "ada"}, KEY)
    assert (told.status, told.code, told["retry-after"]) == (503, "outcome_unknown", "1")
    monkeypatch.undo()
    again = await site.post("/things", {"name": "ada"}, KEY)
    assert (again.status, again.replayed) == (201, True)
    assert site.things == ["ada"]


async def test_a_connection_lost_before_the_commit_leaves_the_key_free(site):
    with psycopg.connect(site.url, autocommit=True) as held:
        held.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        first = asyncio.create_task(site.post("/things", {"name": "ada", "do": "wait"}, KEY))
        await waits(site)
        held.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE objid = %s AND NOT granted"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            (LOCK,),
        )
        told = await first
    assert (told.status, told.code) == (503, "try_again")
    assert (await site.post("/things", {"name": "ada"}, KEY)).status == 201


async def test_a_handler_that_is_cancelled_is_rolled_back_whole(site):
    with psycopg.connect(site.url, autocommit=True) as held:
        held.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        first = asyncio.create_task(site.post("/things", {"name": "ada", "do": "wait"}, KEY))
        await waits(site)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
    assert site.things == site.keys == []
    assert (await site.post("/things", {"name": "ada"}, KEY)).status == 201


async def test_a_commit_that_has_begun_is_not_cancelled(site, monkeypatch):
    began, go = asyncio.Event(), asyncio.Event()
    commit = request_store.commit

    async def slow(*args: Any) -> bool:
        began.set()
        await go.wait()
        return await commit(*args)

    monkeypatch.setattr(request_store, "commit", slow)
    first = asyncio.create_task(site.post("/things", {"name": "ada"}, KEY))
    await began.wait()
    first.cancel()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert (await site.post("/things", {"name": "ada"}, KEY)).replayed
    assert site.things == ["ada"]


async def test_a_stream_without_end_is_stopped(site):
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": b"x" * 100, "more_body": True})

    told = await post(bare(site, app))
    assert (told.status, told.code) == (500, "response_too_large")
    assert site.keys == []


async def test_what_a_handler_does_after_its_answer_is_not_in_the_transaction(site):
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        command = scope[COMMAND]
        insert: Any = f"INSERT INTO {site.shop.troth.schema}.thing (name) VALUES ('ada')"
        await command.tx.execute(insert)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})
        seen.extend(site.things)
        with pytest.raises(Exception, match="its transaction has ended"):
            _ = command.tx

    answer = await post(bare(site, app))
    assert (answer.status, answer.body) == (200, b"done")
    assert seen == ["ada"]


async def test_an_error_of_the_database_that_the_handler_swallowed_is_not_a_success(site):
    async def app(scope: Any, receive: Any, send: Any) -> None:
        with contextlib.suppress(psycopg.Error):
            await scope[COMMAND].tx.execute("SELECT 1/0")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})

    assert (await post(bare(site, app))).status == 500
    assert site.keys == []


async def test_a_refusal_after_an_error_of_the_database_is_an_answer(site):
    await site.post("/things", {"name": "ada"}, KEY)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        insert: Any = f"INSERT INTO {site.shop.troth.schema}.thing (name) VALUES ('ada')"
        try:
            await scope[COMMAND].tx.execute(insert)
        except psycopg.errors.UniqueViolation:
            await send({"type": "http.response.start", "status": 409, "headers": []})
            await send({"type": "http.response.body", "body": b"taken"})

    served = bare(site, app)
    assert ((await post(served)).status, (await post(served)).replayed) == (409, True)


async def test_an_older_snapshot_does_not_let_a_second_one_in(site, place):
    """Repeatable read looks at the key on a snapshot that may be older than the lock: the record itself decides."""
    shop = Shop(*place, isolation="repeatable read")
    entered, go = asyncio.Event(), asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        entered.set()
        await go.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})

    async with shop.troth.client():
        served = bare(Site(None, shop, place[0]), app)
        first = asyncio.create_task(post(served))
        await entered.wait()
        with psycopg.connect(place[0], autocommit=True) as other:
            other.execute(
                f"INSERT INTO {place[1]}.request (id, name, caller, method, route, salt, parts, status, expires_at)"
                " SELECT %s, '', '', '', '', '', '', 200, 'infinity'",
                (shop.requests.ask(sent_of(shop), shop.requests.options).id,),
            )
        go.set()
        told = await first
        assert (told.status, told.code) == (409, "idempotency_key_in_use")


def sent_of(shop: Shop) -> Any:
    from troth.command.request_model import Sent

    return Sent("anonymous", "POST", "/x", "/x", "", "", b"{}", KEY)


async def test_a_body_in_pieces_is_measured_as_it_comes(site):
    read = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("not reached")

    async def pieces() -> AsyncIterator[bytes]:
        while True:
            read.append(1)
            yield b"x" * 500

    served = bare(site, app)
    scope = {"type": "http", "method": "POST", "path": "/x", "query_string": b"",
             "headers": [(b"idempotency-key", b"k")]}  # fmt: skip
    source = pieces()
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": await anext(source), "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    await served.http._transport.app(scope, receive, send)
    assert sent[0]["status"] == 413
    assert len(read) == 5


header = st.one_of(
    st.binary(max_size=300),
    st.text(st.characters(codec="latin-1"), max_size=300).map(lambda t: t.encode("latin-1")),
    st.sampled_from([b'"', b'""', b'"a', b"a,b", b'"a";x=1', b"\x00", b"\xff", b"a" * 10_000]),
)


async def test_no_header_is_an_error_of_the_server(site):
    """Keys, bodies, paths and queries of any bytes: refused or answered, and only what was answered is stored."""
    calls = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        calls.append(1)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    edge = bare(site, app).http._transport.app
    loop = asyncio.get_running_loop()

    async def call(keys: list[bytes], body: bytes, path: str, query: bytes, kind: bytes) -> int:
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": body}

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"idempotency-key", key) for key in keys] + [(b"content-type", kind)]
        scope = {"type": "http", "method": "POST", "path": path, "query_string": query, "headers": headers}  # fmt: skip
        await edge(scope, receive, send)
        return int(sent[0]["status"])

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        st.lists(header, max_size=2),
        st.binary(max_size=50)
        | st.sampled_from([b'{"a.b": [1, {"c": 1e400}]}', b"[" * 1000, b'"\\ud800"']),
        st.text(max_size=20),
        st.binary(max_size=20),
        st.sampled_from(
            [
                b"application/json",
                b"application/x-www-form-urlencoded",
                b"multipart/form-data",
                b"\xff",
            ]
        ),
    )
    def fuzz(keys: list[bytes], body: bytes, path: str, query: bytes, kind: bytes) -> None:
        before = len(calls)
        work = call(keys, body, path, query, kind)
        status = asyncio.run_coroutine_threadsafe(work, loop).result(20)
        assert 400 <= status < 500 or (status == 200)
        assert len(calls) == before or status == 200

    await asyncio.to_thread(fuzz)
    assert len(site.keys) == len(calls)
    assert all(0 < len(key) <= 255 and key.isprintable() for key in site.keys)


async def test_the_work_of_an_admitted_request_costs_no_round_trip_more(site, monkeypatch):
    """BEGIN travels with the look at the key, COMMIT with the record."""
    trips = []
    plain = psycopg.AsyncCursor.execute

    async def counted(self: Any, query: Any, *args: Any, **kwargs: Any) -> Any:
        trips.append(str(query).partition(" ")[0])
        return await plain(self, query, *args, **kwargs)

    monkeypatch.setattr(psycopg.AsyncCursor, "execute", counted)
    await site.post("/things", {"name": "warm"}, "k-0")
    trips.clear()
    assert (await site.post("/things", {"name": "ada"}, KEY)).status == 201
    assert [word.strip("-") for word in trips] == ["BEGIN", "INSERT", ""], (
        "the last begins with a comment"
    )
    assert json.loads((await site.post("/things", {"name": "ada"}, KEY)).body)["key"] == KEY
