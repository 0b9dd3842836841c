"""Has anything changed that a screen shows? Each topic has a pulse: a short text that is another one after a change.

A pulse is cheap, so that it can be felt every second for everybody who watches: it reads the server's own counters of
changed rows, and what is newest exactly. The counters come late by up to ten seconds (PostgreSQL documentation, "The
Cumulative Statistics System"), so they only complete what is read exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from troth.base.errors import UsageError
from troth.store.queries import Queries, load
from troth.store.tx import Tx

_OF_RUN = "run:"

# The tables whose changes a topic is about.
TOPICS: Mapping[str, tuple[str, ...]] = {
    "runs": ("run", "attention_note"),
    "attention": ("run", "attention_note"),
    "requests": ("request",),
    "inbox": ("inbox_event", "inbox_object", "inbox_replay"),
    "outbox": ("outbox_message", "outbox_delivery", "outbox_attempt", "outbox_endpoint"),
    "ledger": ("ledger_account", "ledger_transfer", "ledger_balance", "ledger_overdue"),
    "overdue": ("ledger_overdue",),
    "machines": ("machine_object", "machine_history"),
    "workers": ("worker", "worker_gone"),
    "decisions": ("decision",),
    "acts": ("operator_act", "act_rule", "act_proposal"),
    "schedules": ("schedule", "schedule_firing", "schedule_wish"),
    "reconcile": ("reconcile_run", "reconcile_break", "reconcile_event", "reconcile_period"),
    "traffic": ("provider", "provider_lease"),
}


def queries(schema: str) -> Queries:
    """The statements of pulses, for one schema."""
    return load("troth.view", schema, "pulse.sql")


def require_topic(topic: str) -> None:
    """Raise `UsageError` for what is no topic: a word of `TOPICS`, or `run:` and an id."""
    if topic in TOPICS:
        return
    try:
        if topic.startswith(_OF_RUN):
            UUID(topic.removeprefix(_OF_RUN))
            return
    except ValueError:
        pass
    raise UsageError(f"there is no topic {topic!r}: there are {', '.join(TOPICS)}, and run:ID")


async def pulse(tx: Tx, schema: str, topic: str) -> str:
    """The pulse of one topic. Raises `UsageError` for one that there is not."""
    require_topic(topic)
    q = queries(schema)
    if topic.startswith(_OF_RUN):
        row = await (
            await tx.execute(q.of_run, {"id": UUID(topic.removeprefix(_OF_RUN))})
        ).fetchone()
    else:
        params = {"schema": schema, "tables": list(TOPICS[topic])}
        statement = q.runs if topic in {"runs", "attention"} else q.tables
        row = await (await tx.execute(statement, params)).fetchone()
    return "" if row is None else str(row[0])
