"""Letting a run go back: the answers from one step on do not count any more, and are asked for anew."""

from __future__ import annotations

from uuid import UUID

from troth.command import rules, store
from troth.command.model import Author, Rewind
from troth.journal.model import RESUME_PATH, REWIND_PATH
from troth.store.tx import Tx


async def preview(tx: Tx, schema: str, run_id: UUID, path: str) -> Rewind:
    """What `rewind` would keep and what it would do again. Raises as it does; changes nothing."""
    await store.look(tx, schema, run_id)
    entries = await store.entries(tx, store.queries(schema), run_id)
    return rules.plan_rewind(run_id, entries, path)


async def rewind(
    tx: Tx,
    schema: str,
    run_id: UUID,
    path: str,
    author: Author,
    *,
    redo_transactions: bool = False,
) -> Rewind:
    """Let a run in attention go on from before the answer of the step at *path*; returns what is kept and what is not.

    What the journal tells of later steps stays readable and is not told to the workflow any more. Steps and transactions
    are run again, which must be allowed by *redo_transactions*. Effects are not blindly repeated: they are treated as
    unknown. Raises `NotInAttentionError`, `RunEndedError`, `RunNotFoundError`, and `UsageError` if there is no such way.
    """
    standing = await store.hold(tx, schema, run_id)
    q = store.queries(schema)
    plan = rules.plan_rewind(run_id, await store.entries(tx, q, run_id), path)
    rules.require_redo_allowed(plan, redo_transactions=redo_transactions)
    record = {"by": author.by, "note": author.note}
    why = {**record, "reason": standing.reason}
    await store.decide(tx, q, run_id, RESUME_PATH, why)
    span = {"seq": plan.seq, "last": plan.last, "from": path}
    await store.decide(tx, q, run_id, REWIND_PATH, {**record, **span})
    await store.wake(tx, q, run_id)
    return plan
