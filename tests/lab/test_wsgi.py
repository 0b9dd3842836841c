"""WSGI applications under the lab: what they are given is what the specification says, and when they are answered is when a server does."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from typing import Any
from wsgiref.validate import validator

import flask
import pytest

from troth.lab import Lab
from troth.lab.steps import Limits

SEED = "CREATE TABLE orders (name TEXT PRIMARY KEY)"


@pytest.fixture(autouse=True)
def quick(monkeypatch) -> None:
    monkeypatch.setattr(Limits, "aftermath", 0.0)


def stored(name: str) -> sqlite3.Connection:
    db = sqlite3.connect("shop.db")
    db.execute("INSERT INTO orders VALUES (?) ON CONFLICT DO NOTHING", (name,))
    return db


@validator
def echo(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Says what it was asked, in every part."""
    with stored(environ["PATH_INFO"]):
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    said = [
        environ["REQUEST_METHOD"],
        environ["PATH_INFO"],
        environ["QUERY_STRING"],
        environ.get("CONTENT_TYPE", ""),
        environ.get("HTTP_X_WHO", ""),
        body.decode(),
    ]
    start_response("201 Created", [("content-type", "text/plain")])
    return ["|".join(said).encode()]


def test_an_application_is_given_what_the_specification_says(lab: Lab):
    answers: list[tuple[int, bytes]] = []

    def again(answer: Any) -> bool:
        answers.extend([] if answer is None else [(answer.status, answer.body)])
        return answer is None

    lab.database("shop.db", seed=SEED)
    web = lab.wsgi(echo)
    lab.user(
        web.post("/orders?a=1", json={"b": 2}, headers={"X-Who": "ada"}), again=again, overlap=1
    )
    lab.told(201, "it is stored", lambda w: [one.name for one in w.db.orders] == ["/orders"])
    verdict = lab.explore(overlap=1)
    assert verdict.closed, str(verdict)
    assert (201, b'POST|/orders|a=1|application/json|ada|{"b":2}') in answers


class Late:
    """Commits when the server closes the answer: after the caller has it."""

    def __init__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> None:
        del environ
        self.db = stored("late")
        start_response("200 OK", [])

    def __iter__(self) -> Iterator[bytes]:
        yield b"stored"

    def close(self) -> None:
        self.db.commit()


def test_what_is_closed_comes_after_the_answer(lab: Lab):
    lab.database("shop.db", seed=SEED)
    lab.user(lab.wsgi(Late).post("/"))
    lab.told(200, "it is stored", lambda w: w.db.orders)
    verdict = lab.explore(overlap=1)
    assert verdict.counterexamples[0].faults == ("crash",), str(verdict)


def test_an_application_that_always_fails_is_refused(lab: Lab):
    def broken(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        raise RuntimeError("no such table")

    lab.user(lab.wsgi(broken).get("/"))
    lab.always("whatever", lambda w: True)
    assert "no such table" in lab.explore(overlap=1).reason


app = flask.Flask(__name__)
being_served: set[str] = set()


@app.post("/orders")
def order() -> tuple[str, int]:
    if "ada" in being_served:
        return "no", 409
    being_served.add("ada")
    with stored("ada"):
        pass
    being_served.discard("ada")
    return "ok", 200


def test_the_memory_of_flasks_views_is_followed(lab: Lab):
    """The application is an object of Flask's: only by its views is it known where it keeps memory."""
    being_served.clear()
    lab.database("shop.db", seed=SEED)
    lab.user(lab.wsgi(app).post("/orders"))
    lab.told(409, "the order is stored", lambda w: w.db.orders)
    verdict = lab.explore(overlap=1)
    being_served.clear()
    assert [one.faults for one in verdict.counterexamples] == [("busy database",)], str(verdict)
