"""The API in this process and without a worker: what is asked for is recorded, and stays ready."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

ADA = {"email": "ada@example.com", "name": "Ada", "plan": "pro"}
RUNS = "SELECT id::text, key FROM troth.run"
Rows = Callable[..., list[tuple[Any, ...]]]


def is_problem(answer: httpx.Response, status: int, code: str) -> bool:
    """RFC 9457."""
    said = answer.json()
    kind = answer.headers["content-type"] == "application/problem+json"
    return kind and (answer.status_code, said["status"], said["code"]) == (status, status, code)


async def test_a_signup_is_an_operation_and_can_be_looked_at(http: httpx.AsyncClient) -> None:
    accepted = await http.post("/v1/signups", json=ADA)

    assert accepted.status_code == 202
    ident, url = accepted.json()["id"], accepted.json()["url"]
    assert accepted.json() == {"id": ident, "state": "running", "url": f"/operations/{ident}"}
    assert (accepted.headers["location"], accepted.headers["retry-after"]) == (url, "1")
    asked = await http.get(url)
    assert (asked.status_code, asked.json()) == (202, accepted.json())
    shown = await http.get(f"/v1/signups/{ident}")
    assert shown.json() == {
        "id": ident,
        "state": "ready",
        "account": None,
        "done": [],
        "money": "untouched",
        "problem": None,
    }


async def test_a_hundred_clicks_at_once_are_one_signup(http: httpx.AsyncClient, rows: Rows) -> None:
    headers = {"idempotency-key": '"form-1"'}
    clicks = [http.post("/v1/signups", json=ADA, headers=headers) for _ in range(100)]
    answers = await asyncio.gather(*clicks)
    last = await http.post("/v1/signups", json=ADA, headers=headers)

    assert {answer.status_code for answer in answers} <= {202, 409}
    accepted = [answer for answer in answers if answer.status_code == 202]
    in_use = [answer for answer in answers if answer.status_code == 409]
    assert all(is_problem(answer, 409, "idempotency_key_in_use") for answer in in_use)
    assert all("retry-after" in answer.headers for answer in in_use)
    [ident] = {answer.json()["id"] for answer in [*accepted, last]}
    assert last.headers["idempotent-replayed"] == "true"
    assert rows(RUNS) == [(ident, "key:anonymous:form-1")]
    assert rows("SELECT count(*) FROM troth.request") == [(1,)]


async def test_without_a_key_the_address_is_the_key(http: httpx.AsyncClient, rows: Rows) -> None:
    first = await http.post("/v1/signups", json=ADA)
    again = await http.post("/v1/signups", json=ADA | {"email": " Ada@Example.com "})

    assert first.json() == again.json()
    assert rows(RUNS) == [(first.json()["id"], "email:ada@example.com")]


async def test_the_same_key_with_another_body_names_what_differs(
    http: httpx.AsyncClient, rows: Rows
) -> None:
    headers = {"idempotency-key": "form-1"}
    await http.post("/v1/signups", json=ADA, headers=headers)
    other = ADA | {"name": "Eve", "plan": "starter"}
    refused = await http.post("/v1/signups", json=other, headers=headers)

    assert is_problem(refused, 422, "idempotency_key_reused")
    assert refused.json()["differs"] == ["body.name", "body.plan"]
    assert "Ada" not in refused.text
    assert len(rows(RUNS)) == 1


async def test_an_address_is_no_way_to_the_signup_of_another(
    http: httpx.AsyncClient, rows: Rows
) -> None:
    """Whoever knows an address, but not what was sent with it, is not led to what became of it."""
    first = await http.post("/v1/signups", json=ADA)
    refused = await http.post("/v1/signups", json=ADA | {"name": "Eve"})

    assert is_problem(refused, 422, "key_reused")
    assert refused.json()["differs"] == ["name"]
    assert first.json()["id"] not in refused.text
    assert len(rows(RUNS)) == 1


async def test_other_cookies_make_no_other_caller(http: httpx.AsyncClient, rows: Rows) -> None:
    """A counter of visitors may change its cookie between two clicks."""
    answers = [
        await http.post(
            "/v1/signups", json=ADA, headers={"idempotency-key": "form-1", "cookie": cookie}
        )
        for cookie in ("visits=1", "visits=2; theme=dark")
    ]

    assert [answer.status_code for answer in answers] == [202, 202]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(rows(RUNS)) == 1


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
        ({"card": "4242424242424242"}, "card"),
        ({"trial": "sometimes"}, "trial"),
        ({"password": "short"}, "password"),
        ({"password": "long enough, and \0"}, "password"),
        ({"admin": True}, "admin"),
    ],
)
async def test_bad_input_is_refused_and_starts_nothing(
    http: httpx.AsyncClient, rows: Rows, wrong: dict[str, Any], field: str
) -> None:
    refused = await http.post("/v1/signups", json=ADA | wrong)

    assert is_problem(refused, 422, "invalid"), refused.text
    [error] = refused.json()["errors"]
    assert error["at"] == f"body.{field}"
    assert error["why"]
    assert rows(RUNS) == []


async def test_a_refused_password_is_not_repeated(http: httpx.AsyncClient, rows: Rows) -> None:
    refused = await http.post("/v1/signups", json=ADA | {"password": "geheim"})

    assert refused.status_code == 422
    assert "geheim" not in refused.text


async def test_a_password_is_kept_as_a_hash_and_in_no_journal(
    http: httpx.AsyncClient, rows: Rows
) -> None:
    accepted = await http.post("/v1/signups", json=ADA | {"password": "correct horse battery"})

    assert accepted.status_code == 202
    [(kept,)] = rows("SELECT hash FROM signup.login")
    assert kept.startswith("$argon2id$")
    [(given,)] = rows("SELECT convert_from(input, 'UTF8') FROM troth.run")
    assert "horse" not in given
    assert "argon2" not in given


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"email": "ada@example.com"}'])
async def test_a_body_that_is_no_signup_is_refused(
    http: httpx.AsyncClient, rows: Rows, body: bytes
) -> None:
    headers = {"content-type": "application/json"}
    refused = await http.post("/v1/signups", content=body, headers=headers)

    assert is_problem(refused, 422, "invalid")
    assert rows(RUNS) == []


@pytest.mark.parametrize("key", ["", "k" * 256, "two words", '"open', "a,b"])
async def test_a_bad_key_is_refused(http: httpx.AsyncClient, rows: Rows, key: str) -> None:
    refused = await http.post("/v1/signups", json=ADA, headers={"idempotency-key": key})

    assert is_problem(refused, 400, "idempotency_key_malformed")
    assert rows(RUNS) == []


async def test_the_longest_key(http: httpx.AsyncClient, rows: Rows) -> None:
    answer = await http.post("/v1/signups", json=ADA, headers={"idempotency-key": "k" * 255})

    assert answer.status_code == 202
    assert len(rows(RUNS)) == 1


async def test_a_signup_that_does_not_exist(http: httpx.AsyncClient) -> None:
    assert is_problem(await http.get(f"/v1/signups/{uuid4()}"), 404, "not_found")
    assert is_problem(await http.get("/v1/signups/1"), 422, "invalid")
    assert is_problem(await http.get(f"/operations/{uuid4()}"), 404, "no_such_operation")
    assert is_problem(await http.get("/operations/1"), 404, "no_such_operation")


async def test_a_run_of_something_else_is_no_signup(
    http: httpx.AsyncClient, resident: Callable[[str], Any], rows: Rows
) -> None:
    ada = resident("ada@example.com")
    begun = await http.post("/v1/account/cancellation", headers=ada.headers)
    [(ident, _)] = rows(RUNS)

    assert begun.json()["id"] == ident
    assert (await http.get(f"/v1/signups/{UUID(ident)}")).status_code == 404
    assert (await http.get(f"/signups/{UUID(ident)}")).status_code == 404


async def test_a_slash_too_many_changes_nothing(http: httpx.AsyncClient) -> None:
    """A provider follows no redirect, so events are taken at the very path that it was told."""
    answer = await http.post("/webhooks/stripe", content=b"{}")

    assert answer.status_code == 400
    assert "error" in answer.json()
