"""Forking a run: another run with the same input that has the same past up to a step, and goes on from there by itself.

What is kept belongs to the first run: if the fork fails it does not undo it, since it would be somebody else's work that is
undone, and perhaps twice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from troth.base import ids
from troth.base.errors import RunNotFoundError, UsageError
from troth.command import store
from troth.command.model import Author
from troth.command.rules import is_wait
from troth.journal import store as journal
from troth.journal.model import CANCEL_TOPIC, FORK_PATH, UNDO_PREFIX, Entry, Kind, Place
from troth.journal.reading import said_by, superseded
from troth.store.tx import Tx


@dataclass(frozen=True, slots=True)
class Fork:
    """What a fork from before *path* means, as paths in their order.

    *kept_effects*: both runs believe in them. *sent_again*: effects that the first run has sent, too; their keys differ.
    *run_again*: steps and transactions. *waited_anew*: sleeps and messages.
    """

    path: str
    kept: tuple[str, ...]
    kept_effects: tuple[str, ...]
    sent_again: tuple[str, ...]
    run_again: tuple[str, ...]
    waited_anew: tuple[str, ...]
    until: int = dataclasses.field(
        default=0, compare=False
    )  # the place of the last answer that is kept
    entries: tuple[Entry, ...] = dataclasses.field(default=(), compare=False, repr=False)


def plan_fork(run_id: UUID, entries: Sequence[Entry], path: str) -> Fork:
    """What is kept and what is done again. Pure. Raises `UsageError` if there is no such fork."""
    gone = superseded(entries)
    answers = sorted(
        (e for e in entries if e.kind == Kind.RESULT and (e.path, e.attempt) not in gone),
        key=_place,
    )
    found = next((each for each in answers if each.path == path), None)
    if found is None or path.startswith("!"):
        msg = (
            f"run {run_id} has no step {path} with an answer to fork from: troth run show {run_id}"
        )
        raise UsageError(msg)
    before = [each for each in answers if _place(each) < _place(found)]
    kept = dict.fromkeys(each.path for each in before)
    _require_possible(run_id, path, before, kept, entries)
    again = dict.fromkeys(
        e.path for e in entries if e.path not in kept and not e.path.startswith("!")
    )
    sent = {e.path for e in entries if e.kind == Kind.INTENT}
    others = [each for each in again if each not in sent]
    return Fork(
        path=path,
        kept=tuple(each for each in kept if not each.startswith("!")),
        kept_effects=tuple(each for each in kept if each in sent and not each.startswith("!")),
        sent_again=tuple(each for each in again if each in sent),
        run_again=tuple(each for each in others if not is_wait(each)),
        waited_anew=tuple(filter(is_wait, others)),
        until=max(map(_place, before), default=0),
        entries=tuple(
            e._replace(attempt=0) if e.kind == Kind.RESULT else e
            for e in entries
            if e in before or (e.path in kept and e.kind != Kind.RESULT) or e.kind == Kind.PATCH
        ),
    )  # fmt: skip


def _require_possible(
    run_id: UUID,
    path: str,
    before: Sequence[Entry],
    kept: dict[str, None],
    entries: Sequence[Entry],
) -> None:
    if CANCEL_TOPIC in kept:
        raise UsageError(
            f"run {run_id} had heard before {path} that it is to stop: so would the fork"
        )
    if len(kept) != len(before):
        raise UsageError(
            f"run {run_id} had asked before {path} what became of an effect: fork earlier"
        )
    undone = [
        each for each in kept if f"{UNDO_PREFIX}{each}" in {e.path for e in entries} - set(kept)
    ]
    if undone:
        msg = (
            f"run {run_id} has begun to undo what the fork would keep ({', '.join(undone)}): the world is not any more as "
            "its journal says. Start another run"
        )
        raise UsageError(msg)


def _place(answer: Entry) -> int:
    return answer.seq or 0


async def preview(tx: Tx, schema: str, run_id: UUID, path: str) -> Fork:
    """What `fork` would keep and do again. Raises as it does; changes nothing."""
    return plan_fork(run_id, await store.entries(tx, store.queries(schema), run_id), path)


async def fork(
    tx: Tx, schema: str, run_id: UUID, path: str, author: Author, shown: Fork | None = None
) -> UUID:
    """Start a run without key that has the past of *run_id* up to before the answer of *path*; its id.

    Recorded in both. *shown*: what a person has agreed to. Raises `RunNotFoundError`, and `UsageError` if there is no such
    fork, or if it is not as it was shown.
    """
    q = store.queries(schema)
    row = await (await tx.execute(q.forked_run, {"run": run_id})).fetchone()
    if row is None:
        raise RunNotFoundError(f"there is no run {run_id} in the schema {schema}")
    entries = await store.entries(tx, q, run_id)
    plan = plan_fork(run_id, entries, path)
    if shown is not None and shown != plan:
        raise UsageError(f"run {run_id} has moved on since this was shown; nothing was done")
    workflow, given, starts_at, queue, partition, priority = row
    new = ids.new_id(ids.cell_of(run_id))
    place = None if queue is None else Place(queue, partition, priority)
    jq = journal.queries(schema)
    await journal.start_run(tx, jq, new, workflow, None, given, b"", starts_at, place)
    await store.copy(tx, q, new, plan.entries)
    record = {"by": author.by, "note": author.note, "from": path}
    undone = {
        e.path.removeprefix(UNDO_PREFIX) for e in plan.entries if e.path.startswith(UNDO_PREFIX)
    }
    of = {
        "of": run_id,
        "lent": [each for each in plan.kept if each not in undone],
        "seeds": _seeds(run_id, entries, plan.until),
    }
    await store.decide(tx, q, new, FORK_PATH, record | of)
    await store.decide(tx, q, run_id, FORK_PATH, record | {"into": new})
    return new


def _seeds(run_id: UUID, entries: Sequence[Entry], until: int) -> list[tuple[str, int]]:
    """Whose ids and random numbers the kept part has seen, and up to which place: a fork may be forked itself."""
    earlier = [
        (seed, min(end, until))
        for e in entries
        if e.path == FORK_PATH
        for seed, end in said_by(e).get("seeds", ())
    ]
    return [*earlier, (str(run_id), until)]
