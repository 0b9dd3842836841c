"""What is newest, what is open and what people did is felt at once, also while the server's counters know nothing of it."""

from __future__ import annotations

import psycopg
import pytest

from tests.cli.parked import Journal, park
from tests.console import kept
from tests.console.furnished import decision, difference, insert, schedule, worker
from troth.store.connect import connect_async
from troth.view import store
from troth.view.pulse import TOPICS, pulse

RUN = "INSERT INTO {0}.run (id, workflow, input, state, wake_at, starts_at) VALUES ({0}.first_id(now()), 'x', '', 'ready', now(), now())"
ACT = "INSERT INTO {0}.operator_act (by, role, via, act, about, outcome) VALUES ('ada', 'admin', 'cli', 'run.cancel', 'x', 'done')"
REQUEST = """
INSERT INTO {0}.request (id, name, caller, method, route, key, salt, parts, status, headers, body, at, expires_at)
SELECT '\\x02', name, caller, method, route, 'k2', salt, parts, status, headers, body, now() + interval '1 s', expires_at FROM {0}.request
"""
DECISION = """
INSERT INTO {0}.decision (id, principal_type, principal_id, action, resource_type, resource_id, allowed, because, policies, errors,
    digest, inputs, policy_set)
SELECT 'ffffffff-ffff-7fff-8fff-ffffffffffff', principal_type, principal_id, action, resource_type, resource_id, allowed, because,
    policies, errors, digest, inputs, policy_set FROM {0}.decision
"""
TRANSFER = """
INSERT INTO {0}.ledger_transfer (seq, id, booked_at, effective_at, debit, credit, amount, kind)
VALUES (1, '00000000-0000-0000-0000-000000000001', now(), now(), 1, 2, 3, 'transfer')
"""
CHANGES = {
    "runs": (RUN, "UPDATE {0}.run SET state = 'waiting'", "DELETE FROM {0}.run"),
    "attention": ("UPDATE {0}.run SET state = 'attention', reason = 'bug' WHERE state = 'ready'",),
    "requests": (REQUEST,),
    "inbox": (
        "UPDATE {0}.inbox_event SET state = 'parked'",
        "UPDATE {0}.inbox_event SET state = 'applied', settled_at = now()",
    ),
    "outbox": (
        "UPDATE {0}.outbox_delivery SET state = 'pending'",
        "UPDATE {0}.outbox_endpoint SET disabled_at = now()",
    ),
    "ledger": (TRANSFER, "INSERT INTO {0}.ledger_account (code, currency, side, limited, opened_at) VALUES ('c', 'EUR', 'debit', 'none', now())",
        "UPDATE {0}.ledger_overdue SET minor = 4"),
    "overdue": ("UPDATE {0}.ledger_overdue SET minor = 4", "DELETE FROM {0}.ledger_overdue"),
    "machines": (ACT,),
    "workers": ("DELETE FROM {0}.worker",),
    "decisions": (DECISION,),
    "acts": (ACT, "DELETE FROM {0}.act_proposal", "INSERT INTO {0}.act_rule VALUES ('run.cancel', 2)"),
    "schedules": ("UPDATE {0}.schedule SET paused_at = now()",),
    "reconcile": ("UPDATE {0}.reconcile_run SET phase = 'reading'", "UPDATE {0}.reconcile_break SET owner = 'bob'",
        "UPDATE {0}.reconcile_break SET state = 'resolved'"),
    "traffic": ("UPDATE {0}.provider SET open_until = now()",),
}  # fmt: skip


@pytest.mark.parametrize("topic", TOPICS)
async def test_what_is_exact_is_felt_without_counters(topic, cell):
    url, schema = cell
    park(cell, Journal(), "bug", {"at": "x", "message": "m"})
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(RUN.format(schema))
    kept.request(cell)
    kept.event(cell)
    kept.message(cell, kept.endpoint(cell))
    worker(cell, "w")
    decision(cell)
    schedule(cell, "nightly")
    insert(cell, "provider", name="bank", declared_by=1, breaker_failures=2, breaker_pause_s=1.0)
    named = {"currency": "EUR", "side": "debit", "limited": "none", "opened_at": "2026-11-01"}
    account = insert(cell, "ledger_account", code="a", **named)
    insert(
        cell,
        "ledger_overdue",
        flow="f",
        account=account,
        since="2026-11-01",
        due_at="2026-11-02",
        minor=5,
    )
    run = {
        "since": "2026-11-01",
        "until": "2026-11-30",
        "margin": "1 day",
        "held_until": "2026-11-01",
        "due_at": "2026-11-01",
    }
    insert(cell, "reconcile_run", reconciliation="stripe", **run)
    difference(cell)
    waits = {"content": b"\x00", "details": b"{}", "until": "2126-01-01", "by": "ada", "about": "x"}
    insert(cell, "act_proposal", act="run.cancel", **waits)
    async with await connect_async(url) as reader:

        async def felt() -> str:
            async with store.reading(reader, schema) as tx:
                return await pulse(tx, schema, topic)

        with psycopg.connect(url, autocommit=True) as writer:
            writer.execute("SET track_counts = off")  # the counters will never hear of these
            seen = [await felt()]
            changes = CHANGES[topic] if topic != "runs" else CHANGES["runs"][1:]
            for change in changes:
                assert writer.execute(change.format(schema)).rowcount
                seen.append(await felt())
    assert len(set(seen)) == len(seen), "each change is another pulse"
