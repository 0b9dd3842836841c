"""Has anything changed that a screen shows? Each topic has a pulse: a short text that is another one after a change.

A pulse is cheap, so that it can be felt every second for everybody who watches. What is newest, what is open and what a
person did is read exactly, by an index or in a table that is small. Changes of what is older are told by the server's own
counters of changed rows. These come late: a session tells of its work when it ends, or at the end of a transaction if the last
telling is a second ago, or when it has been idle for ten seconds (PostgreSQL, "The Cumulative Statistics System").
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
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
_EXACT: Mapping[str, str] = {topic: topic for topic in TOPICS if topic != "machines"} | {
    "attention": "runs"
}  # the statement of what is exact; of machines there is no index by time


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
        return await _text(tx, q.of_run, {"id": UUID(topic.removeprefix(_OF_RUN))})
    exact = await _text(tx, q[_EXACT[topic]], {}) if topic in _EXACT else ""
    counted = await _text(tx, q.counted, {"schema": schema, "tables": list(TOPICS[topic])})
    return f"{exact} {counted}"


async def _text(tx: Tx, statement: str, params: Mapping[str, Any]) -> str:
    row = await (await tx.execute(statement, params)).fetchone()
    return "" if row is None else str(row[0])
