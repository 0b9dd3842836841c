"""What the demo says of events that were not applied: which, why, and what a person can do; at once if nothing else will come."""

from __future__ import annotations

import psycopg
import pytest

from examples.signup.demo.hearing import Taken, read, unheard

TOLD = {"evt_1": "charge.succeeded", "evt_2": "charge.captured", "evt_3": "invoice.paid"}
TRACEBACK = (
    "Traceback (most recent call last):\n  ...\nLookupError: no money has gone for ch_1 yet\n"
)

_INSERT = """
INSERT INTO troth.inbox_event (source, event_id, type, object_key, created_at, state, due_at, reason, received_at, last_seen,
    delivered, found_by, digest, headers)
VALUES ('stripe', %s, 'charge.succeeded', %s, now(), %s, now(), %s, now(), now(), 1, 'webhook', '', '{}')
"""


def taken(event: str, state: str, reason: str | None = None, about: str = "ch_1") -> Taken:
    return Taken(event, about, state, reason)


@pytest.mark.parametrize("state", ["applied", "superseded", "ignored"])
def test_what_is_settled_is_heard(state: str) -> None:
    assert unheard(TOLD, {event: taken(event, state) for event in TOLD}) == []


def test_what_is_in_quarantine_is_named_with_its_cause_and_its_remedy() -> None:
    known = {
        "evt_1": taken("evt_1", "quarantined", TRACEBACK),
        "evt_2": taken("evt_2", "received"),
        "evt_3": taken("evt_3", "applied", about="in_1"),
    }
    first, second = unheard(TOLD, known)
    assert str(first) == (
        "evt_1 (charge.succeeded) about ch_1 is in quarantine: LookupError: no money has gone for ch_1 yet; "
        "mend the cause, then: troth inbox replay evt_1"
    )
    assert "waits for evt_1" in str(second)
    assert first.stuck, "no time will help"
    assert second.stuck, "it waits for the first one, of the same object"


def test_what_may_still_come_is_waited_for() -> None:
    known = {
        "evt_1": taken("evt_1", "quarantined", TRACEBACK),
        "evt_2": taken("evt_2", "received", about="ch_2"),
    }
    found = {one.event: one.stuck for one in unheard(TOLD, known)}
    assert found == {"evt_1": True, "evt_2": False, "evt_3": False}


async def test_it_is_read_from_the_inbox(application: str) -> None:
    rows = [("evt_1", "ch_1", "quarantined", TRACEBACK), ("evt_2", "ch_2", "applied", None)]
    async with await psycopg.AsyncConnection.connect(application) as tx:
        for row in rows:
            await tx.execute(_INSERT, row)
        assert await read(tx) == {row[0]: Taken(*row) for row in rows}
