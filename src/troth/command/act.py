"""Cancel, resume, retain. Each function runs in the transaction that it is given, and does nothing if it raises."""

from __future__ import annotations

from uuid import UUID

from troth.base import codec, ids
from troth.base.errors import UsageError
from troth.command import store
from troth.command.model import Author
from troth.journal import store as journal
from troth.journal.model import CANCEL_TOPIC, RESUME_PATH, SEND_PATH, Reason, Send
from troth.store.tx import Tx
from troth.workflow.sending import check_message_key, raise_if_not_sent
from troth.workflow.topics import check_topic


async def cancel(tx: Tx, schema: str, run_id: UUID, author: Author) -> None:
    """Ask a run to stop. It is heard by the worker that has the run, or by the next one that claims it.

    Raises `RunEndedError` and `RunNotFoundError`.
    """
    payload = codec.encode({"by": author.by, "note": author.note})
    send = Send(ids.new_id(ids.cell_of(run_id)), run_id, None, CANCEL_TOPIC, payload)
    status = await journal.send_message(tx, journal.queries(schema), send)
    if status != "sent":
        await store.raise_not_alive(tx, schema, run_id)


async def send(
    tx: Tx, schema: str, run_id: UUID, topic: str, payload: bytes, once: str | None, author: Author
) -> None:
    """Leave a message for a run, and record who did. Raises `RunEndedError`, `RunNotFoundError`, `MessageConflictError`."""
    check_topic(topic)
    check_message_key(once)
    message = Send(ids.new_id(ids.cell_of(run_id)), run_id, None, topic, payload, once)
    raise_if_not_sent(message, await journal.send_message(tx, journal.queries(schema), message))
    said = {"by": author.by, "note": author.note, "topic": topic, "key": once}
    await store.decide(tx, store.queries(schema), run_id, SEND_PATH, said)


async def resume(tx: Tx, schema: str, run_id: UUID, author: Author) -> Reason:
    """Let a run in attention go on: what made it stop is tried again. Returns the reason for which it stood there.

    An effect in doubt is not tried again before somebody has found out whether it happened: see `settle`. Raises
    `NotInAttentionError`, `RunEndedError`, `RunNotFoundError`, and `UsageError` for a run in doubt.
    """
    standing = await store.hold(tx, schema, run_id)
    if standing.reason is Reason.IN_DOUBT:
        msg = (
            f"run {run_id} is in doubt: {standing.detail.get('at')} may or may not have happened. Find out, then say which: "
            f"troth effect settle {run_id}"
        )
        raise UsageError(msg)
    q = store.queries(schema)
    record = {"by": author.by, "note": author.note, "reason": standing.reason}
    await store.decide(tx, q, run_id, RESUME_PATH, record)
    await store.wake(tx, q, run_id)
    return standing.reason


async def retain(tx: Tx, schema: str, keep_s: float) -> list[str]:
    """Forget the weeks that ended more than *keep_s* seconds ago; the names of the journals that were dropped.

    A week in which a run is still alive is kept. Gives up rather than make flushes wait for a lock that it waits for.
    """
    q = store.queries(schema)
    await store.give_up_early(tx, schema)
    row = await (await tx.execute(q.drop_partitions, (keep_s,))).fetchone()
    assert row is not None
    return list(row[0])
