"""What was recorded before there was a desk is in its record."""

from __future__ import annotations

import uuid

import psycopg

from tests.harness.audit import audited
from troth.store.migrate import migrate


def test_acts_of_before_are_moved(database_url, schema):
    migrate(database_url, schema, 11)
    endpoint, messages = uuid.uuid4(), [uuid.uuid4(), uuid.uuid4()]
    with psycopg.connect(database_url) as connection:
        connection.cursor().executemany(
            f"INSERT INTO {schema}.access_act (id, at, by, note, what, subject) VALUES (gen_random_uuid(), %s, %s, %s, %s, %s)",
            [
                ("2026-11-02", "bob", "leaked", "revoke key", "abc"),
                ("2026-11-01", "ada", None, "create key", "abc"),
            ],
        )
        connection.cursor().executemany(
            f"INSERT INTO {schema}.outbox_act (act, endpoint, by, note, messages) VALUES (%s, %s, %s, %s, %s)",
            [
                ("disable", endpoint, "ada", "they asked", []),
                ("resend", None, "eve", None, messages),
            ],
        )
    migrate(database_url, schema)
    cell = (database_url, schema)
    assert audited(cell, "act, about, by, note, via, outcome") == [
        ("access.key.create", "abc", "ada", None, "cli", "done"),
        ("access.key.revoke", "abc", "bob", "leaked", "cli", "done"),
        ("outbox.endpoint.disable", str(endpoint), "ada", "they asked", "program", "done"),
        ("outbox.resend", str(messages[0]), "eve", None, "program", "done"),
    ]
    assert audited(cell, "result")[-1] == ({"messages": list(map(str, messages))},)
