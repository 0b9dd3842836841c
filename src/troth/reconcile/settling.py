"""Settles effects that are in doubt and that the other side shows, and books what people want corrected.

Each is a transaction of its own: the act at the desk, with its record, and the end of the break commit together. So nothing is
settled twice, and nothing that was settled is still said to be open.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias, runtime_checkable
from uuid import UUID

from troth.base import codec
from troth.base.errors import TrothError, UsageError
from troth.base.telemetry import Telemetry
from troth.command import desk, settle
from troth.command.acts import Role
from troth.command.model import Author, Happened, Proposed, Settlement
from troth.reconcile import breaks_store, store
from troth.reconcile.model import Action, Break, BreakState, Item, ReconcileError
from troth.reconcile.reading import Bench
from troth.reconcile.store import Taken
from troth.store.tx import Tx

log = logging.getLogger("troth.reconcile")

# Books what a break needs, in the transaction in which the break becomes `corrected`; the name of what was booked.
Correct: TypeAlias = Callable[[Tx, Break], Awaitable[str]]


@runtime_checkable
class Settles(Protocol):
    """A source of ours whose items are effects, and may be in doubt."""

    def effect_of(self, ours: Item) -> tuple[UUID, str]:
        """The run and the path of the effect that an item is."""

    def result_of(self, theirs: Item) -> bytes:
        """What the effect would have returned, as JSON, from what their side shows. Raises `UsageError` if that is not known."""


def author_of(name: str, note: str) -> Author:
    """A reconciliation as an author: the program acts, and says so."""
    return Author(f"reconciliation {name}", note, Role.OPERATOR, "program")


async def settle_one(
    tx: Tx, schema: str, found: Break, source: Settles, run: int, telemetry: Telemetry
) -> Settlement:
    """Settle the effect that a break is about by what their side shows, in the transaction *tx*.

    Raises what `settle.settle` raises: the run may have gone on meanwhile.
    """
    (ours,), (theirs,) = found.ours, found.theirs
    run_id, path = source.effect_of(ours)
    value = source.result_of(theirs)
    note = (
        f"run {run} of the reconciliation, break {found.id}: their side has {theirs.id}, {theirs.amount} {theirs.currency} "
        f"at {theirs.at:%F %T}Z{f' ({theirs.evidence})' if theirs.evidence else ''}"
    )
    author = author_of(found.reconciliation, note)
    details = {"path": path, "done": True, "value": codec.decode(value)}

    async def deed() -> Settlement:
        return await settle.settle(tx, schema, run_id, path, author, Happened(value))

    made = await desk.carry_out(
        tx, schema, author, "effect.settle", str(run_id), details, deed, telemetry=telemetry
    )
    assert not isinstance(made, Proposed)  # the act itself sees to it that two people agree
    q = breaks_store.queries(schema)
    if made.settled:
        await breaks_store.explain(tx, q, found.id, BreakState.RESOLVED, author.by, note)
        await breaks_store.tell(tx, q, [(found.id, "settled")], run=run, by=author.by, note=note)
    else:
        said = f"{note}; {made.needed} must agree: troth effect settle {run_id}"
        await breaks_store.tell(tx, q, [(found.id, "proposed")], run=run, by=author.by, note=said)
    return made


async def settle_all(
    bench: Bench, schema: str, name: str, taken: Taken, source: object, telemetry: Telemetry
) -> None:
    """Settle what a run has found to be done. What cannot be settled stays a break, and the log says why."""
    q = breaks_store.queries(schema)
    async with bench.connections.connection() as connection:
        waiting = await breaks_store.to_settle(connection, q, name, taken.id)
    for number in waiting:
        try:
            async with bench.writing(taken) as connection:
                found = await breaks_store.hold(connection, q, number)
                if found.state is not BreakState.OPEN or found.action is not Action.SETTLE_DONE:
                    continue
                if not isinstance(source, Settles):
                    raise UsageError(f"{source} cannot settle effects: it has no effect_of")
                await settle_one(connection, schema, found, source, taken.id, telemetry)
        except TrothError as error:
            log.warning("reconciliation %s: break %d is not settled: %s", name, number, error)


async def correct(tx: Tx, schema: str, number: int, booking: Correct | None) -> None:
    """Book what a person wants corrected, in the transaction *tx*, which holds the break.

    Raises what *booking* raises; *tx* must be rolled back then.
    """
    q = breaks_store.queries(schema)
    found = await breaks_store.hold(tx, q, number)
    by, name = found.wanted or "", found.reconciliation
    if booking is None:
        raise UsageError(f"reconciliation {name} has no correct=, so nobody knows what to book")
    booked: object = await booking(tx, found)
    if not isinstance(booked, str) or not booked:
        msg = f"correct= of reconciliation {name} returned {booked!r}: it must be the name of what was booked"
        raise UsageError(msg)
    note = f"booked as {booked}"
    await breaks_store.explain(tx, q, number, BreakState.CORRECTED, by, note, correction=booked)
    await breaks_store.tell(tx, q, [(number, "corrected")], by=by, note=note)


async def cannot_correct(tx: Tx, schema: str, number: int, error: str) -> None:
    """It could not be booked: say so, and wait for somebody who wants it again."""
    q = breaks_store.queries(schema)
    await breaks_store.want(tx, q, number, None)
    await breaks_store.tell(tx, q, [(number, "not corrected")], note=error)


async def require_alive(tx: Tx, schema: str, name: str) -> None:
    """Raise `ReconcileError` if a run of this reconciliation is asked for or under way."""
    found = await store.alive(tx, store.queries(schema), name)
    if found is not None:
        what = f"is at it ({found.phase})" if found.held else "waits for a worker"
        msg = f"run {found.id} of {name}, asked for at {found.asked_at:%F %T}, {what}: troth reconcile show {found.id}"
        raise ReconcileError(msg)
