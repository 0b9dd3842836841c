"""Who is logged in, how that ends, and what another site can do with it: nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.examples.signup.conftest import OURS, PASSWORD, Resident

Rows = Callable[..., list[tuple[Any, ...]]]
COUNTS = "SELECT (SELECT count(*) FROM troth.run), (SELECT count(*) FROM troth.session)"


@pytest.fixture
def ada(resident: Callable[[str], Resident]) -> Resident:
    return resident("ada@example.com")


CHANGES = [
    ("POST", "/v1/account/plan", {"json": {"plan": "starter"}}),
    ("POST", "/v1/account/card", {"json": {"card": "pm_card_visa"}}),
    ("POST", "/v1/account/cancellation", {}),
    ("POST", "/v1/account/closure", {}),
    ("DELETE", "/v1/sessions", {}),
    ("POST", "/account/plan", {"data": {"key": str(uuid4()), "plan": "starter"}}),
    ("POST", "/account/card", {"data": {"key": str(uuid4()), "card": "pm_card_visa"}}),
    ("POST", "/account/cancellation", {"data": {"key": str(uuid4())}}),
    ("POST", "/account/closure", {"data": {"key": str(uuid4())}}),
    ("POST", "/logout", {}),
    ("POST", "/login", {"data": {"email": "ada@example.com", "password": PASSWORD}}),
    ("POST", "/signup", {"data": {"key": str(uuid4()), "email": "eve@example.com"}}),
]
FOREIGN = [
    {"origin": "https://evil.example", "sec-fetch-site": "cross-site"},
    {"origin": "https://evil.example"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},  # a subdomain that somebody else may have
    {"origin": "null"},
    {"origin": "http://localhost:8000.evil.example"},
    {},
]


async def test_no_other_site_changes_anything(
    http: httpx.AsyncClient, ada: Resident, rows: Rows
) -> None:
    for method, path, sent in CHANGES:
        headers = {"cookie": ada.cookie, **FOREIGN[0]}
        answer = await http.request(method, path, headers=headers, **sent)

        assert (answer.status_code, answer.json()["code"]) == (403, "foreign_page"), path
        assert "set-cookie" not in answer.headers
        assert rows(COUNTS) == [(0, 1)], path


async def test_what_a_foreign_page_looks_like(
    http: httpx.AsyncClient, ada: Resident, rows: Rows
) -> None:
    for foreign in FOREIGN:
        headers = {"cookie": ada.cookie, **foreign}
        answer = await http.post("/v1/account/closure", headers=headers)

        assert (answer.status_code, answer.json()["code"]) == (403, "foreign_page"), foreign
    assert rows(COUNTS) == [(0, 1)]


@pytest.mark.parametrize("own", [OURS, {"origin": "http://localhost:8000"}])
async def test_our_own_pages_may(
    http: httpx.AsyncClient, ada: Resident, own: dict[str, str]
) -> None:
    headers = {"cookie": ada.cookie, **own}
    assert (await http.post("/v1/account/cancellation", headers=headers)).status_code == 202


async def test_no_other_site_logs_anybody_in(http: httpx.AsyncClient, ada: Resident) -> None:
    """A form of another site can send text, and no JSON without asking first: then nobody is logged in by it."""
    said = f'{{"email": "{ada.email}", "password": "{PASSWORD}"}}'
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        answer = await http.post("/v1/sessions", content=said, headers={"content-type": kind})
        assert answer.status_code == 422, kind
        assert "set-cookie" not in answer.headers
    no_kind = httpx.Request("POST", "http://service/v1/sessions", content=said)
    assert (await http.send(no_kind)).status_code == 422
    said_so = {"content-type": "application/json", **FOREIGN[0]}
    foreign = await http.post("/v1/sessions", content=said, headers=said_so)
    assert foreign.status_code == 403
    assert "set-cookie" not in foreign.headers


async def test_logging_out_ends_the_session(http: httpx.AsyncClient, ada: Resident) -> None:
    assert (await http.get("/v1/account", headers=ada.headers)).status_code == 200
    left = await http.delete("/v1/sessions", headers=ada.headers)

    assert left.status_code == 204
    assert "Max-Age=0" in left.headers["set-cookie"]
    assert (await http.get("/v1/account", headers=ada.headers)).status_code == 401
    assert (await http.post("/v1/account/closure", headers=ada.headers)).status_code == 401
    assert (await http.delete("/v1/sessions", headers=ada.headers)).status_code == 204


async def test_a_session_is_in_a_cookie_that_scripts_cannot_read(
    http: httpx.AsyncClient, ada: Resident
) -> None:
    given = {"email": " ADA@example.com", "password": PASSWORD}
    begun = await http.post("/v1/sessions", json=given, headers={"cookie": ada.cookie})

    cookie, *attributes = begun.headers["set-cookie"].split("; ")
    assert cookie.startswith("__Host-session=")
    assert {"Secure", "HttpOnly", "SameSite=Lax", "Path=/"} <= set(attributes)
    shown = await http.get("/v1/account", headers={"cookie": cookie})
    assert shown.json()["email"] == ada.email
    replaced = await http.get("/v1/account", headers=ada.headers)
    assert replaced.status_code == 401, "the session that the browser had is over"


async def test_wrong_passwords_are_slowed_down(http: httpx.AsyncClient, ada: Resident) -> None:
    wrong = {"email": ada.email, "password": "wrong horse battery"}
    answers = [await http.post("/v1/sessions", json=wrong) for _ in range(6)]
    right = await http.post("/v1/sessions", json=wrong | {"password": PASSWORD})

    codes = [answer.json()["code"] for answer in answers]
    assert codes == ["wrong_credentials"] * 5 + ["too_many_attempts"]
    assert [answer.status_code for answer in answers] == [401] * 5 + [429]
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert right.status_code == 429, "a right guess is not told apart"
    assert (await http.get("/v1/account", headers=ada.headers)).status_code == 200


async def test_an_unknown_address_is_answered_as_a_wrong_password(
    http: httpx.AsyncClient, ada: Resident
) -> None:
    answers = [
        await http.post("/v1/sessions", json={"email": email, "password": "wrong horse battery"})
        for email in (ada.email, "nobody@example.com", "not an address", "\0", "\ufeff")
    ]

    assert answers[0].status_code == 401
    assert answers[1].content == answers[2].content == answers[0].content
    assert answers[3].status_code == 422


@pytest.mark.parametrize(
    "email", ["a\0b@example.com", "ada@example.com\r\n", "\ud800".encode("utf-8", "surrogatepass")]
)
async def test_the_log_in_page_takes_any_text(http: httpx.AsyncClient, email: Any) -> None:
    given = {"email": email, "password": "any\0thing at all"}
    answer = await http.post("/login", data=given, headers=OURS)

    assert answer.status_code == 401
    assert "Address or password is wrong." in answer.text
