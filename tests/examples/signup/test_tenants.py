"""Two tenants: with what proves who A is, nothing of B can be read or written, by no route and by no statement."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from fastapi.routing import APIRoute

from examples.signup.books import Grant, book
from examples.signup.people import WEB, access
from examples.signup.service import api, pages
from tests.examples.signup.conftest import OURS, Resident
from troth import Money

Rows = Callable[..., list[tuple[Any, ...]]]
TABLES = ("account", "workspace", "role", "quota")
EVERYTHING = (
    "SELECT 'account', to_jsonb(a)::text FROM signup.account a "
    "UNION ALL SELECT 'workspace', to_jsonb(w)::text FROM signup.workspace w "
    "UNION ALL SELECT 'role', to_jsonb(r)::text FROM signup.role r "
    "UNION ALL SELECT 'quota', to_jsonb(q)::text FROM signup.quota q "
    "UNION ALL SELECT 'machine', to_jsonb(m)::text FROM troth.machine_object m "
    "UNION ALL SELECT 'run', id::text FROM troth.run "
    "ORDER BY 1, 2"
)


@pytest.fixture
def ada(resident: Callable[[str], Resident]) -> Resident:
    return resident("ada@example.com")


@pytest.fixture
def bob(resident: Callable[[str], Resident]) -> Resident:
    return resident("bob@example.com")


def routes() -> list[tuple[str, str]]:
    """Every method and path of the API and the pages that there is."""
    return sorted(
        (method, route.path)
        for router in (api, pages)
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods
    )


# What each route is sent that names somebody else wherever something can be named.
BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", "/v1/account/plan"): {"plan": "starter"},
    ("POST", "/v1/account/card"): {"card": "pm_card_visa"},
    ("POST", "/v1/account/payout"): {"amount": "5.00", "iban": "DE89 3704 0044 0532 0130 00"},
    ("POST", "/v1/accounts/{account_id}/credit"): {"amount": "5.00"},
}
OF_SUPPORT = {("POST", "/v1/accounts/{account_id}/credit")}
OPENS_NOTHING = {  # for strangers: who has no account cannot be somebody else
    ("POST", "/v1/signups"),
    ("POST", "/v1/sessions"),
    ("POST", "/signup"),
    ("POST", "/login"),
    ("DELETE", "/v1/sessions"),
    ("POST", "/logout"),
}


def marks_of(one: Resident) -> list[str]:
    return [str(one.account), one.email, one.cookie.partition("=")[2], one.machine_key]


async def test_no_route_shows_or_changes_anothers(
    http: httpx.AsyncClient, ada: Resident, bob: Resident, rows: Rows
) -> None:
    begun = await http.post("/v1/account/plan", json={"plan": "starter"}, headers=bob.headers)
    assert begun.status_code == 202
    ident = begun.json()["id"]
    assert set(routes()) > OPENS_NOTHING
    asked = [one for one in routes() if one not in OPENS_NOTHING]
    assert len(asked) >= 17
    for method, path in asked:
        before = rows(EVERYTHING)
        url = path.format(account_id=bob.account, signup_id=ident, run_id=ident)
        sent = naming(bob, method, path)
        answer = await http.request(method, url, headers=ada.headers, **sent)

        assert answer.status_code < 500, path
        for mark in marks_of(bob):
            assert mark not in answer.text, path
        after = rows(EVERYTHING)
        assert [row for row in before if row not in after] == [], f"{path} has changed something"
        new = [content for kind, content in after if (kind, content) not in before]
        assert bool(new) == (method == "POST" and (method, path) not in OF_SUPPORT), path
        for run in new:  # what was begun is Ada's
            query = "SELECT convert_from(input, 'UTF8') FROM troth.run WHERE id::text = %s"
            [(given,)] = rows(query, run)
            assert str(ada.account) in given, path
            assert str(bob.account) not in given, path


def naming(other: Resident, method: str, path: str) -> dict[str, Any]:
    """What such a request needs, and *other* wherever somebody can be named."""
    named = {"account": str(other.account), "tenant": str(other.account), "email": other.email}
    if method == "GET":
        return {"params": named}
    if path.startswith("/v1"):
        return {"json": BODIES.get((method, path), {}), "params": named}
    form = {**BODIES.get((method, f"/v1{path}"), {}), "key": str(uuid4())}
    return {"data": form, "params": named}


async def test_a_body_that_names_another_is_refused(
    http: httpx.AsyncClient, ada: Resident, bob: Resident, rows: Rows
) -> None:
    body = {"plan": "starter", "account": str(bob.account)}
    answer = await http.post("/v1/account/plan", json=body, headers=ada.headers)
    form = {**body, "key": str(uuid4())}
    page = await http.post("/account/plan", data=form, headers=ada.headers)

    assert (answer.status_code, page.status_code) == (422, 422)
    assert rows("SELECT id FROM troth.run") == []


async def test_an_operation_is_for_whoever_began_it(
    http: httpx.AsyncClient, ada: Resident, bob: Resident
) -> None:
    headers = {**bob.headers, "idempotency-key": "k"}
    begun = await http.post("/v1/account/plan", json={"plan": "starter"}, headers=headers)
    url = begun.json()["url"]
    same_key = {**ada.headers, "idempotency-key": "k"}
    mine = await http.post("/v1/account/plan", json={"plan": "starter"}, headers=same_key)

    assert (await http.get(url, headers=bob.headers)).status_code == 202
    assert (await http.get(url, headers=ada.headers)).status_code == 404
    assert (await http.get(url)).status_code == 404
    page = f"/account/changes/{begun.json()['id']}"
    shown = [(await http.get(page, headers=who.headers)).status_code for who in (bob, ada)]
    assert shown == [200, 404]
    assert mine.json()["id"] != begun.json()["id"], "a key is known to whoever used it alone"


async def test_support_alone_gives_credit(
    http: httpx.AsyncClient, ada: Resident, rows: Rows, application: str
) -> None:
    """By a key that is for that. A customer has keys, too, for all that is theirs: not for this."""
    with psycopg.connect(application) as tx:
        made = [
            access.keys.create_blocking(tx, name, scopes=scopes).key
            for name, scopes in (
                ("support", ["Account::grant_credit"]),
                ("reader", ["Account::read"]),
            )
        ]
    url, body = f"/v1/accounts/{ada.account}/credit", {"amount": "5.00"}
    support, *others = [{"authorization": f"Bearer {key}"} for key in (*made, ada.machine_key)]
    refused = [(await http.post(url, json=body, headers=who)).status_code for who in others]
    assert refused == [403, 403]
    assert rows("SELECT id FROM troth.run") == []

    given = await http.post(url, json=body, headers=support)
    assert given.status_code == 202, given.text
    [(input_,)] = rows("SELECT convert_from(input, 'UTF8')::json ->> 'account' FROM troth.run")
    assert input_ == str(ada.account)


async def test_whoever_is_owed_something_takes_it_before_closing(
    http: httpx.AsyncClient, ada: Resident, bob: Resident, rows: Rows, application: str
) -> None:
    async with await psycopg.AsyncConnection.connect(application) as tx:
        await book(tx, Grant("outage", f"cus_{ada.email}", Money(500, "EUR")))
    closed = [
        (await http.post("/v1/account/closure", headers=who.headers)).status_code
        for who in (ada, bob)
    ]
    assert closed == [403, 202]
    shown = (await http.get("/v1/account", headers=ada.headers)).json()
    assert (shown["credit"], shown["closed"]) == ("5.00", False)


async def test_another_account_by_its_id(
    http: httpx.AsyncClient, ada: Resident, bob: Resident, rows: Rows
) -> None:
    own = await http.get(f"/v1/accounts/{ada.account}", headers=ada.headers)
    other = await http.get(f"/v1/accounts/{bob.account}", headers=ada.headers)
    nobody = await http.get(f"/v1/accounts/{uuid4()}", headers=ada.headers)

    assert own.json()["email"] == ada.email
    assert (other.status_code, nobody.status_code) == (403, 404)
    refused = rows("SELECT resource_id FROM troth.decision WHERE NOT allowed")
    assert refused == [(str(bob.account),)], "the attempt is on record"


async def test_support_looks_and_touches_nothing(
    http: httpx.AsyncClient, ada: Resident, bob: Resident, rows: Rows
) -> None:
    """A machine reads any account, and begins nothing: the policies name people for that."""
    headers = {"authorization": f"Bearer {ada.machine_key}"}
    assert (await http.get(f"/v1/accounts/{bob.account}", headers=headers)).status_code == 200
    closed = await http.post("/v1/account/closure", headers=headers)

    assert closed.status_code == 403
    assert rows("SELECT id FROM troth.run") == []


# Beneath the routes -------------------------------------------------------------------------------


@contextmanager
def acting_for(url: str, tenant: Resident | None) -> Iterator[psycopg.Connection]:
    """A transaction as a request has it."""
    with psycopg.connect(url) as tx:
        if tenant is None:
            tx.execute(f"SET LOCAL ROLE {WEB}")
        else:
            access.tenants.act_as_blocking(tx, str(tenant.account), role=WEB)
        yield tx
        tx.rollback()


@pytest.mark.parametrize("table", TABLES)
def test_no_statement_shows_anothers_rows(
    application: str, ada: Resident, bob: Resident, table: str
) -> None:
    column = "id" if table == "account" else "account"
    query = f"SELECT {column} FROM signup.{table}"
    with acting_for(application, ada) as tx:
        assert tx.execute(query).fetchall() == [(ada.account,)]
        assert tx.execute(f"{query} WHERE {column} = %s", [bob.account]).fetchall() == []
        assert tx.execute(f"SELECT count(*) FROM signup.{table}").fetchone() == (1,)
    with acting_for(application, None) as tx:
        assert tx.execute(query).fetchall() == [], "who acts for nobody sees nothing"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE signup.account SET plan = 'pro' WHERE id = %(bob)s",
        "DELETE FROM signup.role WHERE account = %(bob)s",
        "DELETE FROM signup.quota",
        "INSERT INTO signup.quota VALUES (%(bob)s, %(workspace)s, 'seats', 1000)",
        "INSERT INTO signup.role VALUES (%(bob)s, %(workspace)s, 'owner')",
        "TRUNCATE signup.quota",
        "SELECT hash FROM signup.login",
    ],
)
def test_the_role_of_requests_writes_none_of_it(
    application: str, ada: Resident, bob: Resident, statement: str
) -> None:
    named = {"bob": bob.account, "workspace": bob.workspace}
    with acting_for(application, ada) as tx, pytest.raises(psycopg.errors.InsufficientPrivilege):
        tx.execute(statement, named)


@pytest.mark.parametrize(
    ("statement", "refused"),
    [
        ("UPDATE signup.account SET plan = 'starter' WHERE id = %(bob)s RETURNING id", False),
        ("UPDATE signup.quota SET allowed = 1000 WHERE account = %(bob)s RETURNING account", False),
        ("DELETE FROM signup.role WHERE account = %(bob)s RETURNING account", False),
        ("DELETE FROM signup.workspace WHERE id = %(workspace)s RETURNING id", False),
        ("INSERT INTO signup.role VALUES (%(bob)s, %(workspace)s, 'owner')", True),
        ("UPDATE signup.workspace SET account = %(bob)s", True),
    ],
)
def test_even_a_role_that_may_write_reaches_its_own_rows_only(
    application: str, ada: Resident, bob: Resident, statement: str, refused: bool
) -> None:
    """The grants are one wall; this is the other, which the workers' transactions have, too."""
    named = {"bob": bob.account, "workspace": bob.workspace}
    with psycopg.connect(application) as tx:
        tx.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA signup TO {WEB}")
        access.tenants.act_as_blocking(tx, str(ada.account), role=WEB)
        if refused:
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
                tx.execute(statement, named)
        else:
            assert tx.execute(statement, named).fetchall() == []
        tx.rollback()


def test_every_table_with_an_account_is_protected(application: str) -> None:
    with psycopg.connect(application) as tx:
        access.tenants.check_blocking(tx, "signup", column="account", role=WEB)
        [unprotected] = tx.execute(
            "SELECT array_agg(relname ORDER BY relname) FROM pg_class WHERE relnamespace = 'signup'::regnamespace "
            "AND relkind = 'r' AND NOT (relrowsecurity AND relforcerowsecurity)"
        ).fetchall()
    assert unprotected == (["bank_statement", "login"],)  # no request's role may touch them


async def test_a_session_that_another_site_uses(http: httpx.AsyncClient, ada: Resident) -> None:
    assert (await http.get("/v1/account", headers={"cookie": ada.cookie})).status_code == 200
    assert (await http.get("/v1/account", headers=OURS)).status_code == 401
