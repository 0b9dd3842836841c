"""What people say of an effect that nobody could settle without them. Each function is one transaction's work."""

from __future__ import annotations

from uuid import UUID

import msgspec

from troth.command import desk_store, rules, store
from troth.command.model import Author, Finding, Happened, Settlement
from troth.journal.model import RESUME_PATH
from troth.store.tx import Tx


async def settle(
    tx: Tx, schema: str, run_id: UUID, path: str | None, author: Author, finding: Finding
) -> Settlement:
    """Say what became of the effect that a run in attention stopped at, and let the run go on.

    *path* None is the effect that it stopped at. The author's note is the evidence; "it did not happen" needs it. Where
    two people must agree, because the step says so or a rule of the desk, the first one's finding is recorded as a
    proposal, and the run waits for a second one's. To be carried out as `effect.settle`.
    Raises `NotInAttentionError`, `RunEndedError`, `RunNotFoundError`, `DisagreementError`, and `UsageError` for a finding
    without evidence or about something else than the run waits for.
    """
    rules.require_evidence(author, finding)
    standing = await store.hold(tx, schema, run_id)
    path = rules.require_effect(run_id, standing, path)
    rule = await desk_store.eyes(tx, schema, "effect.settle")
    needed = max(rule, int(standing.detail.get("settled_by", 1)))
    rules.require_late_look(run_id, standing, finding)
    q = store.queries(schema)
    entries = await store.entries(tx, q, run_id, path)
    agreed: tuple[str, ...] = (author.by,)
    if needed > 1:
        pending = rules.pending_proposal(entries)
        agreed = rules.agreement(author, finding, pending)
    settlement = Settlement(path, standing.reason, agreed, needed)
    record = {"by": author.by, "note": author.note}
    if len(agreed) > 1:
        record["agrees_with"] = agreed[0]
    if not settlement.settled:
        await store.decide(tx, q, run_id, path, {"proposal": _proposed(finding), **record})
        return settlement
    done = isinstance(finding, Happened)
    told = {"at": path, "done": done, "reason": standing.reason}
    await store.decide(tx, q, run_id, RESUME_PATH, {**record, **told})
    if isinstance(finding, Happened):
        await store.answer(tx, q, run_id, path, finding.value)
    else:
        settles = {"attempts": rules.attempts_of(entries)}
        await store.decide(tx, q, run_id, path, {"done": False, **settles, **record})
    await store.wake(tx, q, run_id)
    return settlement


async def probe(
    tx: Tx, schema: str, run_id: UUID, path: str | None, author: Author, *, anyway: bool = False
) -> tuple[str, int]:
    """Have a worker ask the other side once more about the effect that a run is in doubt about.

    *anyway*: although the effect had no probe when the run stopped; the code may have one by now. Returns its path, and
    the number of this decision among those about it. Raises `NotInAttentionError`, `RunEndedError`, `RunNotFoundError`,
    and `UsageError` if there is nothing to ask, or no way to.
    """
    standing = await store.hold(tx, schema, run_id)
    path = rules.require_effect(run_id, standing, path)
    rules.require_probe(run_id, standing, path, anyway=anyway)
    q = store.queries(schema)
    record = {"probe": True, "by": author.by, "note": author.note}
    number = await store.decide(tx, q, run_id, path, record)
    await store.wake(tx, q, run_id)
    return path, number


def _proposed(finding: Finding) -> dict[str, object]:
    if isinstance(finding, Happened):
        return {"done": True, "value": msgspec.Raw(finding.value)}
    return {"done": False}
