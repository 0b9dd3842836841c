"""The only place that runs the statements of the desk. Every function takes the transaction that the act is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias
from uuid import UUID

from troth.base import codec
from troth.command.model import Author, Proposed
from troth.store.queries import Queries, load
from troth.store.tx import Tx

Outcome: TypeAlias = Literal["done", "proposed", "refused"]


@dataclass(frozen=True, slots=True)
class Record:
    """One line of the audit. *details* are without what may be confidential; *result* is what came of it, if not plain."""

    author: Author
    act: str
    about: str
    details: Mapping[str, Any]
    outcome: Outcome
    agrees_with: str | None = None
    result: Mapping[str, Any] | None = None


def queries(schema: str) -> Queries:
    """The desk's statements for one schema."""
    return load("troth.command", schema, "desk.sql")


async def record(tx: Tx, q: Queries, line: Record) -> None:
    """Write a line of the audit."""
    params = {
        "by": line.author.by,
        "role": line.author.role.word,
        "via": line.author.via,
        "act": line.act,
        "about": line.about,
        "details": codec.encode(line.details).decode(),
        "note": line.author.note,
        "outcome": line.outcome,
        "agrees_with": line.agrees_with,
        "result": None if line.result is None else codec.encode(line.result).decode(),
    }
    await tx.execute(q.record, params)


# Two people -----------------------------------------------------------------------------------------------------------


async def eyes(tx: Tx, schema: str, act: str) -> int:
    """How many people an act needs."""
    row = await (await tx.execute(queries(schema).eyes, (act,))).fetchone()
    return 1 if row is None else int(row[0])


async def hold_rules(tx: Tx, q: Queries) -> None:
    """Nobody else changes a rule until this transaction has ended."""
    await tx.execute(q.hold_rules)


async def set_rule(tx: Tx, q: Queries, act: str, people: int) -> None:
    """From now on *act* needs so many people."""
    await tx.execute(q.set_rule, {"act": act, "eyes": people})


async def propose(
    tx: Tx, q: Queries, author: Author, act: str, about: str, details: bytes, wait_s: float
) -> tuple[Proposed, bool]:
    """A proposal of this content, held by this transaction: the one that waits, or a new one (true)."""
    params = {
        "act": act,
        "about": about,
        "content": codec.digest(details),
        "details": details,
        "by": author.by,
        "note": author.note,
        "wait": wait_s,
    }
    await tx.execute(q.void, params)
    row = await (await tx.execute(q.propose, params)).fetchone()
    assert row is not None
    return Proposed(*row[:5]), row[5]


async def proposal(tx: Tx, q: Queries, number: int) -> Proposed | None:
    """A proposal that waits, held by this transaction."""
    row = await (await tx.execute(q.proposal, (number,))).fetchone()
    return None if row is None else Proposed(*row)


async def proposer(
    tx: Tx, schema: str, act: str, about: str, details: Mapping[str, Any]
) -> str | None:
    """Who has proposed this very act: for a deed to see whom it agrees with. None: nobody."""
    params = {"act": act, "about": about, "content": codec.digest(codec.encode(details))}
    row = await (await tx.execute(queries(schema).proposer, params)).fetchone()
    return None if row is None else str(row[0])


async def drop_proposal(tx: Tx, q: Queries, number: int) -> None:
    """It waits no more."""
    await tx.execute(q.drop_proposal, (number,))


async def attempt(tx: Tx, q: Queries) -> None:
    """What follows is to be undone by `undo_attempt`."""
    await tx.execute(q.attempt)


async def undo_attempt(tx: Tx, q: Queries) -> None:
    """Nothing since `attempt` has happened."""
    await tx.execute(q.undo_attempt)


# Attention ------------------------------------------------------------------------------------------------------------


async def looked_after(tx: Tx, q: Queries, run: UUID) -> tuple[str, datetime] | None:
    """Who looks after a run that is in attention, since when."""
    row = await (await tx.execute(q.looked_after, (run,))).fetchone()
    return None if row is None else (row[0], row[1])


async def look_after(tx: Tx, q: Queries, run: UUID, owner: str | None) -> None:
    """*owner* looks after a run that is held, or nobody does."""
    await tx.execute(q.forget_notes)
    await tx.execute(q.look_after, {"run": run, "owner": owner})


async def note(tx: Tx, q: Queries, run: UUID, by: str, text: str | None) -> None:
    """What is to be known about a run that is held."""
    await tx.execute(q.forget_notes)
    await tx.execute(q.note, {"run": run, "by": by, "text": text})
