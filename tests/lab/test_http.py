"""Requests as values, and ASGI applications as they are: threads, middleware, dependencies, state, start-up code."""

from __future__ import annotations

import sqlite3
from contextlib import asynccontextmanager
from datetime import timedelta

import httpx
import pytest
from fastapi import Depends, FastAPI, HTTPException, Request

from tests.lab.corpus.shop import API, ORDERS, charge, connect, order, paid
from troth.lab import Lab, never_again
from troth.lab.model import Answer
from troth.lab.request import always_again, lost_or_5xx


def shop(lab: Lab, app: FastAPI):
    lab.database("shop.db", seed=ORDERS)
    lab.stripe()
    lab.user(lab.http(app).post("/buy"), within=timedelta(hours=1))
    lab.always("charged at most once", lambda w: len(w.stripe.charges) <= 1, costs="49 EUR")
    return lab


def buy() -> None:
    db = connect()
    mine = order(db)
    if mine["status"] != "paid":
        paid(db, mine["id"], charge(mine["id"], key="a"))


def test_middleware_that_passes_on(lab: Lab):
    """It runs the application in a task of its own, and waits for it."""
    app = FastAPI()

    @app.middleware("http")
    async def header(request, call_next):
        answer = await call_next(request)
        answer.headers["x-shop"] = "yes"
        return answer

    @app.post("/buy")
    def in_a_thread():
        buy()

    verdict = shop(lab, app).explore()
    assert verdict.closed, str(verdict)


def test_middleware_that_acts_beside_the_application_is_refused(lab: Lab):
    """After the answer has begun, its own work and the dependency's clean-up can come in either order."""
    app = FastAPI()

    @app.middleware("http")
    async def audit(request, call_next):
        answer = await call_next(request)
        sqlite3.connect("shop.db").execute("SELECT 1").fetchone()
        return answer

    @app.post("/buy")
    async def handler():
        buy()

    verdict = shop(lab, app).explore()
    assert verdict.word == "REFUSED"
    assert "concurrent tasks" in verdict.reason


def session():
    db = connect()
    try:
        yield db
        db.commit()
    finally:
        db.close()


def test_a_dependency_that_commits_after_the_answer(lab: Lab):
    """The order of a framework's answer and its clean-up is observed, not assumed."""
    app = FastAPI()

    @app.post("/buy")
    def handler(db: sqlite3.Connection = Depends(session)):  # noqa: B008, FAST002
        db.execute("INSERT INTO orders (email) VALUES ('a@b.c') ON CONFLICT DO NOTHING")

    lab = shop(lab, app)
    lab.told(200, "the order is stored", lambda w: w.db.orders)
    verdict = lab.explore()
    assert verdict.word == "VIOLATED", str(verdict)
    (example,) = verdict.counterexamples
    assert example.faults == ("crash",)


def test_memory_in_the_applications_state(lab: Lab):
    app = FastAPI()
    app.state.busy = set()

    @app.post("/buy")
    async def handler(request: Request):
        if "ada" in request.app.state.busy:
            raise HTTPException(409)
        request.app.state.busy.add("ada")
        buy()
        request.app.state.busy.discard("ada")

    lab = shop(lab, app)
    lab.told(409, "it is paid", lambda w: w.db.orders and w.db.orders[0].charge)
    verdict = lab.explore()
    assert verdict.word == "VIOLATED", str(verdict)
    (example,) = verdict.counterexamples
    assert any("remembers" in line.happened for line in example.lines)


def test_a_client_from_start_up_code(lab: Lab):
    @asynccontextmanager
    async def lifespan(app):
        sqlite3.connect("shop.db").execute("SELECT 1").fetchone()
        app.state.client = httpx.AsyncClient()
        yield
        await app.state.client.aclose()

    app = FastAPI(lifespan=lifespan)

    @app.post("/buy")
    async def handler(request: Request):
        db = connect()
        mine = order(db)
        if mine["status"] != "paid":
            answer = await request.app.state.client.post(
                f"{API}/charges", headers={"Idempotency-Key": "a"}
            )
            answer.raise_for_status()
            paid(db, mine["id"], answer.json()["id"])

    verdict = shop(lab, app).explore()
    assert verdict.closed, str(verdict)


def test_start_up_code_that_fails(lab: Lab):
    @asynccontextmanager
    async def lifespan(app):
        raise RuntimeError
        yield

    verdict = shop(lab, FastAPI(lifespan=lifespan)).explore()
    assert verdict.word == "REFUSED"
    assert "start-up failed" in verdict.reason


def test_what_the_application_gets_and_gives(lab: Lab):
    app = FastAPI()
    answers = []

    @app.put("/things/{name}")
    async def put(name: str, request: Request, shade: str = "none"):
        return {
            "name": name,
            "shade": shade,
            "json": await request.json(),
            "agent": request.headers["x-agent"],
        }

    def once(answer):
        answers.append(answer)
        return False

    lab.user(
        lab.http(app).put("/things/a?shade=red", json={"n": 1}, headers={"X-Agent": "me"}),
        again=once,
    )
    lab.always("nothing", lambda w: True)
    assert lab.explore().closed
    heard = next(one for one in answers if one is not None)
    assert heard.status == 200
    assert heard.json() == {"name": "a", "shade": "red", "json": {"n": 1}, "agent": "me"}


@pytest.mark.parametrize(
    ("answer", "again"),
    [
        (None, True),
        (Answer(500), True),
        (Answer(503), True),
        (Answer(429), True),
        (Answer(200), False),
        (Answer(409), False),
    ],
)
def test_who_asks_again(answer, again):
    assert lost_or_5xx(answer) is again
    assert never_again(answer) is False
    assert always_again(answer) is True
