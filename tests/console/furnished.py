"""Rows of what pages show, as programs and workers leave them; written by SQL, so that a test can say how old they are."""

from __future__ import annotations

import json
from typing import Any

import psycopg
from psycopg import sql

from tests.console.conftest import rows
from troth.base import ids

Cell = tuple[str, str]
ITEM = {
    "id": "ch_9", "amount": 1002, "currency": "EUR", "at": "2026-11-20T08:00:00Z", "key": "run/charge", "standing": 2,
    "kind": "charge", "fee": 0, "reference": "", "group": "", "evidence": "stripe ch_9",
}  # fmt: skip


def insert(cell: Cell, table: str, **values: Any) -> Any:
    """A row; its first column."""
    url, schema = cell
    with psycopg.connect(url) as connection:
        statement = sql.SQL("INSERT INTO {} ({}) VALUES ({}) RETURNING *").format(
            sql.Identifier(schema, table),
            sql.SQL(", ").join(map(sql.Identifier, values)),
            sql.SQL(", ").join(map(sql.Placeholder, values)),
        )
        row = connection.execute(statement, values).fetchone()
        assert row
        return row[0]


def worker(
    cell: Cell, name: str, *workflows: str, beat_s: float = 0.0, executes: bool = True
) -> int:
    """A process whose last beat is so long ago."""
    made = insert(
        cell, "worker", name=name, executes=executes, workflows=list(workflows), lease_s=5.0
    )
    query = "UPDATE {}.worker SET beat_at = beat_at - make_interval(secs => %s) WHERE id = %s RETURNING id"
    rows(cell, query, beat_s, made)
    return int(made)


def schedule(cell: Cell, name: str, workflow: str = "nightly", **more: Any) -> str:
    """A stored schedule: every weekday at nine in Berlin."""
    told = {
        "cron": "0 9 * * MON-FRI", "tz": "Europe/Berlin", "overlap": "skip", "catch_up": "1 hour", "missed": "latest",
        "jitter": "0", "input": b"{}", **more,
    }  # fmt: skip
    insert(cell, "schedule", name=name, workflow=workflow, **told)
    next_ = "UPDATE {}.schedule SET next_at = now() + interval '2 h 1 min', look_at = next_at WHERE name = %s RETURNING 1"
    rows(cell, next_, name)
    return name


def decision(cell: Cell, **more: Any) -> str:
    """A decision: that a person may not read an account, since no policy permits it."""
    told = {
        "principal_type": "App::Person", "principal_id": "bob", "action": "Account::read", "resource_type": "App::Account",
        "resource_id": "a1", "allowed": False, "because": "default", "policies": [], "errors": [], "digest": b"\x00",
        "inputs": "{}", "policy_set": b"\x00", **more,
    }  # fmt: skip
    return str(insert(cell, "decision", id=ids.new_id(), **told))


def difference(cell: Cell, subject: str = "theirs:ch_9", **more: Any) -> int:
    """A break, and what is told of it; its number."""
    told = {
        "reconciliation": "stripe", "subject": subject, "kind": "duplicate_theirs", "at": "2026-11-20", "minor": 1002,
        "currency": "EUR", "note": "they have 2 items for the key run/charge", "action": "refund",
        "evidence": json.dumps({"ours": [], "theirs": [ITEM], "more": 0}), "last_run": 1, **more,
    }  # fmt: skip
    number = insert(cell, "reconcile_break", **told)
    rows(cell, "SELECT {}.reconcile_tell(%s, 'found', 1, NULL, NULL)", number)
    return int(number)
