"""Words for operations: what is shown, and what is never shown."""

from __future__ import annotations

import pytest

from troth.lab.describe import content, described, parameters, row, site
from troth.lab.model import Op
from troth.lab.show.document import Site


def http(body: bytes, *headers: tuple[str, str], query: tuple[tuple[str, str], ...] = ()) -> Op:
    return Op("http", "stripe", "POST /v1/x", (query, headers, body))


def sql(text: str, *values: object) -> Op:
    return Op("sql", "db", text, ("execute", values))


def test_secrets_are_left_out():
    assert "hunter2" not in row({"id": 1, "password": "hunter2"})
    body = http(b"card=4242&amount=1", ("authorization", "Bearer abc"))
    assert described(body) == "stripe POST /v1/x card=…&amount=1"
    assert parameters(body) == ("card=…", "amount=1")
    assert (
        content(b'{"user": {"token": "t", "name": "ada"}}') == '{"user":{"token":"…","name":"ada"}}'
    )
    assert content(b"the password is hunter2") == "…"


def test_a_key_is_shown_because_it_explains():
    op = http(b"amount=1", ("idempotency-key", "order-1"))
    assert described(op) == "stripe POST /v1/x amount=1 key=order-1"
    assert parameters(op) == ("amount=1", "idempotency-key=order-1")


HIDDEN = frozenset({"email"})


def test_what_a_test_hides_is_hidden_everywhere():
    assert row({"id": 1, "Email": "ada"}, HIDDEN) == "id=1 Email=…"
    assert content(b'[{"email": "ada"}]', HIDDEN) == '[{"email":"…"}]'
    assert content(b"email=ada&x=1", HIDDEN) == "email=…&x=1"
    assert described(http(b"", query=(("email", "ada"),)), HIDDEN) == "stripe POST /v1/x?email=…"


@pytest.mark.parametrize(
    ("text", "values", "shown"),
    [
        ("INSERT INTO users (email, age) VALUES (?, ?)", ("ada", 5), ("email=…", "age=5")),
        ("INSERT INTO users (age, email) VALUES (1, $1)", ("ada",), ("email=…",)),
        ("SELECT 1 FROM users WHERE email = %s AND age > %s", ("ada", 5), ("email=…", "age=5")),
        ("SELECT lower(?)", ("ada",), ("…",)),  # whose value it is cannot be told: hidden
    ],
)
def test_bound_values_are_named_by_their_columns(text, values, shown):
    assert parameters(sql(text, *values), HIDDEN) == shown


def test_a_value_without_a_name_is_shown_if_nothing_is_hidden():
    assert parameters(sql("SELECT max(?)", 5)) == ("5",)


def test_call_sites():
    assert site("app.py:7 pay") == Site("app.py", 7, "pay")
    assert site("") is None


@pytest.mark.parametrize(
    ("text", "called", "shown"),
    [
        (
            "INSERT INTO users (email, age) VALUES ('o''hara, a@b.c', 5)",
            "INSERT INTO users (email, age) VALUES (…, 5)",
            ("email=…", "age=5"),
        ),
        ("UPDATE users SET token = E'a\\'b' WHERE id = 7", "UPDATE users SET token = … WHERE id = 7", ("token=…", "id=7")),
        ("SELECT lower('ada')", "SELECT lower(…)", ("…",)),
        ("SELECT count(*) FROM t1", "SELECT count(*) FROM t1", ()),
    ],
)  # fmt: skip
def test_values_that_a_driver_writes_into_the_statement(text, called, shown):
    op = Op("sql", "db", text, (None, (), (), False, False, ""))
    assert described(op, HIDDEN) == called
    assert parameters(op, HIDDEN) == shown
