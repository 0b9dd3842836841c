"""The HTTP side, in this process and without a worker: what is asked for is recorded, and stays ready."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from examples.signup.service import app

ADA = {"email": "ada@example.com", "name": "Ada", "plan": "pro"}


@pytest.fixture
async def http(application: str) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    client = httpx.AsyncClient(transport=transport, base_url="http://service")
    async with app.router.lifespan_context(app), client:
        yield client


def runs(url: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT id::text, key FROM troth.run").fetchall()


async def test_a_signup_is_accepted_and_can_be_looked_at(http: httpx.AsyncClient) -> None:
    accepted = await http.post("/v1/signups", json=ADA)

    assert accepted.status_code == 202
    shown = await http.get(accepted.json()["url"])
    assert shown.json() == {
        "id": accepted.json()["id"],
        "state": "ready",
        "account": None,
        "done": [],
        "problem": None,
    }


async def test_three_clicks_at_once_are_one_signup(
    http: httpx.AsyncClient, application: str
) -> None:
    headers = {"idempotency-key": "form-1"}
    clicks = [http.post("/v1/signups", json=ADA, headers=headers) for _ in range(3)]
    answers = await asyncio.gather(*clicks)

    assert [answer.status_code for answer in answers] == [202] * 3
    [ident] = {answer.json()["id"] for answer in answers}
    assert runs(application) == [(ident, "key:form-1")]


async def test_without_a_key_the_address_is_the_key(
    http: httpx.AsyncClient, application: str
) -> None:
    first = await http.post("/v1/signups", json=ADA)
    again = await http.post("/v1/signups", json=ADA | {"email": " Ada@Example.com "})

    assert first.json() == again.json()
    assert runs(application) == [(first.json()["id"], "email:ada@example.com")]


async def test_the_same_key_with_another_body_names_what_differs(
    http: httpx.AsyncClient, application: str
) -> None:
    headers = {"idempotency-key": "form-1"}
    first = await http.post("/v1/signups", json=ADA, headers=headers)
    other = ADA | {"name": "Eve", "plan": "starter"}
    refused = await http.post("/v1/signups", json=other, headers=headers)

    assert refused.status_code == 422
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["differs"] == ["name", "plan"]
    assert refused.json()["signup"] == first.json()["url"]
    assert "Ada" not in refused.text
    assert len(runs(application)) == 1


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"email": "ada"}, "email"),
        ({"email": "ada@localhost"}, "email"),
        ({"email": "ada@example.com\r\nBcc: eve@example.com"}, "email"),
        ({"email": f"{'a' * 250}@example.com"}, "email"),
        ({"name": "  "}, "name"),
        ({"name": "A\0da"}, "name"),
        ({"name": "A" * 101}, "name"),
        ({"name": "Ada\nBcc: eve@example.com"}, "name"),
        ({"plan": "free"}, "plan"),
        ({"plan": None}, "plan"),
        ({"admin": True}, "admin"),
    ],
)
async def test_bad_input_is_refused_and_starts_nothing(
    http: httpx.AsyncClient, application: str, wrong: dict[str, Any], field: str
) -> None:
    refused = await http.post("/v1/signups", json=ADA | wrong)

    assert refused.status_code == 422, refused.text
    assert [error["loc"][-1] for error in refused.json()["detail"]] == [field]
    assert runs(application) == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"email": "ada@example.com"}'])
async def test_a_body_that_is_no_signup_is_refused(
    http: httpx.AsyncClient, application: str, body: bytes
) -> None:
    headers = {"content-type": "application/json"}
    refused = await http.post("/v1/signups", content=body, headers=headers)

    assert refused.status_code == 422
    assert runs(application) == []


@pytest.mark.parametrize("key", ["", "k" * 201, "two words"])
async def test_a_bad_key_is_refused(http: httpx.AsyncClient, application: str, key: str) -> None:
    refused = await http.post("/v1/signups", json=ADA, headers={"idempotency-key": key})

    assert refused.status_code == 422
    assert runs(application) == []


async def test_a_signup_that_does_not_exist(http: httpx.AsyncClient) -> None:
    assert (await http.get(f"/v1/signups/{uuid4()}")).status_code == 404
    assert (await http.get("/v1/signups/1")).status_code == 422
