"""Cancel, resume, retain. Each function runs in the transaction that it is given, and does nothing if it raises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn
from uuid import UUID

from troth.base import codec, ids
from troth.base.errors import RunEndedError, RunNotFoundError, TrothError, UsageError
from troth.journal import store as journal
from troth.journal.model import CANCEL_TOPIC, Reason, RunState, Send
from troth.store.queries import Queries, load
from troth.store.tx import Tx

RESUME_PATH = "!resume"


class NotInAttentionError(TrothError):
    """The run cannot be resumed, because it does not stand in attention (any more)."""


@dataclass(frozen=True, slots=True)
class Happened:
    """A person found out that the effect in doubt took place; *value* is its result, as JSON."""

    value: bytes


@dataclass(frozen=True, slots=True)
class DidNotHappen:
    """A person found out that the effect in doubt did not take place and cannot any more: it may be sent again."""


Finding = Happened | DidNotHappen


@dataclass(frozen=True, slots=True)
class Author:
    """Who acts, and why, for the record."""

    by: str
    note: str | None = None


def queries(schema: str) -> Queries:
    """The statements of commands for one schema."""
    return load("troth.command", schema)


async def cancel(tx: Tx, schema: str, run_id: UUID, author: Author) -> None:
    """Ask a run to stop. It is heard by the worker that has the run, or by the next one that claims it.

    Raises `RunEndedError` and `RunNotFoundError`.
    """
    payload = codec.encode({"by": author.by, "note": author.note})
    send = Send(ids.new_id(ids.cell_of(run_id)), run_id, None, CANCEL_TOPIC, payload)
    status = await journal.send_message(tx, journal.queries(schema), send)
    if status != "sent":
        await _raise_not_alive(tx, schema, run_id)


async def resume(
    tx: Tx, schema: str, run_id: UUID, author: Author, finding: Finding | None = None
) -> Reason:
    """Let a run go on that stands in attention; returns the reason for which it stood there.

    A run in doubt needs a *finding*: did its effect happen? Others must not have one: what made them stop is tried
    again. Raises `NotInAttentionError`, `RunEndedError`, `RunNotFoundError`, and `UsageError` for a wrong *finding*.
    """
    q = queries(schema)
    row = await (await tx.execute(q.lock_run, (run_id,))).fetchone()
    if row is None:
        await _raise_not_alive(tx, schema, run_id)
    state, said_reason, detail = row
    if state != RunState.ATTENTION:
        msg = f"run {run_id} does not wait for a person: it is {state} now"
        raise NotInAttentionError(msg)
    reason = Reason(said_reason)
    record: dict[str, Any] = {"by": author.by, "note": author.note, "reason": reason}
    check_finding(run_id, reason, finding)
    if finding is not None:
        record |= {"at": codec.decode(detail)["at"], "done": isinstance(finding, Happened)}
    await _decide(tx, q, run_id, RESUME_PATH, record)
    if finding is not None:
        await _record_finding(tx, q, run_id, record["at"], author, finding)
    await tx.execute(q.wake, (run_id,))
    await tx.execute(q.ring)
    return reason


async def retain(tx: Tx, schema: str, keep_s: float) -> list[str]:
    """Forget the weeks that ended more than *keep_s* seconds ago; the names of the journals that were dropped.

    A week in which a run is still alive is kept. Gives up rather than make flushes wait for a lock that it waits for.
    """
    q = queries(schema)
    await tx.execute(q.give_up_early)
    row = await (await tx.execute(q.drop_partitions, (keep_s,))).fetchone()
    assert row is not None
    return list(row[0])


def check_finding(run_id: UUID, reason: Reason, finding: Finding | None) -> None:
    """Raise `UsageError` unless a finding is given exactly where one is needed. Pure."""
    if reason is Reason.IN_DOUBT and finding is None:
        msg = (
            f"run {run_id} is in doubt: an effect may or may not have happened. Find out, then say which: that it "
            "happened, with its result (--done), or that it did not and cannot any more (--not-done)."
        )
        raise UsageError(msg)
    if reason is not Reason.IN_DOUBT and finding is not None:
        msg = (
            f"run {run_id} is not in doubt ({reason}): there is no effect to say anything about. Resume it without a "
            "finding; what made it stop is tried again."
        )
        raise UsageError(msg)


async def _record_finding(
    tx: Tx, q: Queries, run_id: UUID, path: str, author: Author, finding: Finding
) -> None:
    if isinstance(finding, DidNotHappen):
        record = {"done": False, "by": author.by, "note": author.note}
        await _decide(tx, q, run_id, path, record)
        return
    row = await (await tx.execute(q.intent, {"run": run_id, "path": path})).fetchone()
    if row is None:
        msg = f"run {run_id} has no record that {path} was sent, so nothing can be said about it"
        raise UsageError(msg)
    answer = {"run": run_id, "path": path, "digest": row[0], "payload": finding.value}
    await tx.execute(q.settle, answer)


async def _decide(tx: Tx, q: Queries, run_id: UUID, path: str, record: dict[str, Any]) -> None:
    params = {"run": run_id, "path": path, "payload": codec.encode(record)}
    await tx.execute(q.decide, params)


async def _raise_not_alive(tx: Tx, schema: str, run_id: UUID) -> NoReturn:
    row = await (await tx.execute(queries(schema).ended_state, (run_id,))).fetchone()
    if row is None:
        msg = f"there is no run {run_id} in the schema {schema}"
        raise RunNotFoundError(msg)
    msg = f"run {run_id} has ended: it is {row[0]}"
    raise RunEndedError(msg)
