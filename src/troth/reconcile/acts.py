"""What people do about reconciliations, breaks and periods. Each is one transaction's work, to be carried out at the desk."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from troth.base.errors import UsageError
from troth.command import desk_store, rules, settle
from troth.command.model import Author, DidNotHappen, Settlement
from troth.reconcile import breaks_store, lifecycle, settling, store
from troth.reconcile.breaks_store import Closable
from troth.reconcile.model import (
    Action,
    Break,
    BreakState,
    Kind,
    PeriodError,
    ReconcileError,
    Verdict,
    Window,
)
from troth.reconcile.store import Declared
from troth.store.tx import Tx

CLOSE: Final = "reconcile.close"

# What is wrong with a feed is mended by the feed, and not by booking something.
_NOTHING_TO_BOOK: Final = frozenset({Kind.STALE_SOURCE, Kind.STATEMENT_ARITHMETIC, Kind.TIMING})


async def request(
    tx: Tx,
    schema: str,
    name: str,
    author: Author,
    since: datetime | None = None,
    until: datetime | None = None,
) -> tuple[int, Window]:
    """Ask for a run of a reconciliation: its number, and what it is about. As `reconcile.run`.

    *since* None: from where the reconciliation looks back to, or from the oldest break that stands. *until* None: now.
    Raises `ReconcileError` if no program has declared it, or if a run is asked for or under way; `UsageError` for a window
    that is none.
    """
    q = store.queries(schema)
    found = await require_declared(tx, schema, name)
    now, closed, oldest = await store.span(tx, q, name)
    usual = lifecycle.window_of(now, closed, oldest, found.lookback, found.margin)
    first = since if since is not None else (usual.since if usual else now)
    last = until if until is not None else now
    lifecycle.require_window(first, last, now)
    window = Window(first, last, found.margin)
    await settling.require_alive(tx, schema, name)
    made = await store.ask(tx, q, name, window, author.by, author.note)
    if made is None:  # between the look and the insertion
        raise ReconcileError(
            f"a run of {name} has just been asked for: troth reconcile runs {name}"
        )
    return made, window


async def require_declared(tx: Tx, schema: str, name: str) -> Declared:
    """The reconciliation of this name. Raises `ReconcileError` if no program has declared it: then nothing is known of it."""
    q = store.queries(schema)
    found = await store.declared(tx, q, name)
    if not found:
        known = ", ".join(each.name for each in await store.declared(tx, q)) or "none"
        msg = f"no worker has declared a reconciliation {name!r} in the schema {schema}; there are: {known}"
        raise ReconcileError(msg)
    return found[0]


async def accept(tx: Tx, schema: str, number: int, until: datetime, author: Author) -> Break:
    """Explain a break until some day, with the author's note as the reason. As `reconcile.accept`.

    Raises `BreakNotFoundError`, and `UsageError` without a reason, for a day that cannot be, and for a break that is resolved.
    """
    q = breaks_store.queries(schema)
    found = await breaks_store.hold(tx, q, number)
    now = await store.now(tx, store.queries(schema))
    lifecycle.require_acceptance(found.state, until, now, author.note)
    await breaks_store.explain(
        tx, q, number, BreakState.ACCEPTED, author.by, author.note, until=until
    )
    await breaks_store.tell(tx, q, [(number, "accepted")], by=author.by, note=author.note)
    return found


async def reopen(tx: Tx, schema: str, number: int, author: Author) -> Break:
    """A break is not explained any more. As `reconcile.reopen`. Raises `BreakNotFoundError`, `UsageError`."""
    q = breaks_store.queries(schema)
    found = await breaks_store.hold(tx, q, number)
    if found.state not in {BreakState.ACCEPTED, BreakState.CORRECTED}:
        raise UsageError(f"break {number} is {found.state}: only an explained one is reopened")
    await breaks_store.reopen(tx, q, number)
    await breaks_store.tell(tx, q, [(number, "reopened")], by=author.by, note=author.note)
    return found


async def own(tx: Tx, schema: str, number: int, owner: str | None, author: Author) -> Break:
    """Say who looks after a break; None: nobody. As `reconcile.own`. Raises `BreakNotFoundError`, `UsageError`."""
    q = breaks_store.queries(schema)
    found = await breaks_store.hold(tx, q, number)
    if found.state is BreakState.RESOLVED:
        raise UsageError(f"break {number} is resolved: nobody needs to look after it")
    await breaks_store.own(tx, q, number, owner)
    note = f"{owner} looks after it" if owner else "nobody looks after it"
    await breaks_store.tell(tx, q, [(number, "owned")], by=author.by, note=note)
    return found


async def settle_break(tx: Tx, schema: str, number: int, author: Author) -> Settlement | Break:
    """Do what a break asks for. As `reconcile.settle`.

    An effect in doubt that they do not have is settled as not done, with the author's note as the evidence; where two
    people must agree on that, the `Settlement` is not settled yet. Anything else is left to the program, which books it
    (`correct=`). Raises `BreakNotFoundError`, `UsageError`, and what `settle.settle` raises.
    """
    q = breaks_store.queries(schema)
    found = await breaks_store.hold(tx, q, number)
    if found.state is not BreakState.OPEN:
        raise UsageError(f"break {number} is {found.state}: nothing is to be settled")
    if found.action is Action.SETTLE_NOT_DONE:
        run, path = _effect(found)
        made = await settle.settle(tx, schema, run, path, author, DidNotHappen())
        what = "settled" if made.settled else "proposed"
        if made.settled:
            await breaks_store.explain(tx, q, number, BreakState.RESOLVED, author.by, author.note)
        await breaks_store.tell(tx, q, [(number, what)], by=author.by, note=author.note)
        return made
    if found.kind in _NOTHING_TO_BOOK or found.action in {Action.SETTLE_DONE, Action.WAIT}:
        msg = f"break {number} ({found.kind}, to do: {found.action}) is not mended by booking something"
        raise UsageError(msg)
    await breaks_store.want(tx, q, number, author.by)
    await breaks_store.tell(tx, q, [(number, "to be corrected")], by=author.by, note=author.note)
    await store.ring(tx, store.queries(schema), found.reconciliation)
    return found


def _effect(found: Break) -> tuple[UUID, str]:
    """The effect that a break is about. Raises `UsageError`."""
    (ours,) = found.ours
    run, _, path = ours.id.partition("/")
    try:
        return UUID(run), path
    except ValueError:
        msg = f"break {found.id} is about {ours.id}, which is no effect: troth effect settle names one"
        raise UsageError(msg) from None


# Periods --------------------------------------------------------------------------------------------------------------


async def closable(tx: Tx, schema: str, name: str, until: datetime) -> Closable:
    """What there is to know of a period that can be closed. Raises `PeriodError` for one that cannot, and `ReconcileError`."""
    await require_declared(tx, schema, name)
    found = await breaks_store.closable(tx, breaks_store.queries(schema), name, until)
    if found.since is not None and until <= found.since:
        raise PeriodError(f"{name} is closed until {found.since:%F %T} already")
    if found.run is None:
        since = f"from {found.since:%F %T} " if found.since else ""
        msg = f"no run of {name} has looked at all of the period {since}until {until:%F %T}: troth reconcile run {name}"
        raise PeriodError(msg)
    if found.verdict in {Verdict.UNPROVEN, Verdict.FAILED}:
        msg = f"run {found.run}, the last that has looked at all of it, is {found.verdict}: what is absent in it means nothing"
        raise PeriodError(msg)
    if found.unexplained:
        msg = (
            f"{found.unexplained} breaks until {until:%F %T} are not explained, the largest is {found.worst}: "
            f"troth reconcile breaks {name}"
        )
        raise PeriodError(msg)
    return found


def close_details(until: datetime, found: Closable) -> dict[str, Any]:
    """What both people must have seen: the details of `reconcile.close`."""
    return {
        "until": until.astimezone(UTC).isoformat(), "run": found.run,
        "result": (found.result or b"").hex()[:16], "explained": found.digest,
    }  # fmt: skip


async def close(
    tx: Tx,
    schema: str,
    name: str,
    until: datetime,
    details: Mapping[str, Any],
    author: Author,
    *,
    approves: bool,
) -> Closable:
    """Close the period that ends *until*: the deed of `reconcile.close`, which the desk does for a second person only.

    *details* are those of `close_details`, as *author* has seen them. Raises `PeriodError` for a period that cannot be
    closed, if something has changed since, and for who *approves* what nobody else has prepared.
    """
    found = await closable(tx, schema, name, until)
    if close_details(until, found) != details:
        raise PeriodError(f"something has changed in {name} meanwhile: look again")
    prepared = await desk_store.proposer(tx, schema, CLOSE, name, details)
    if prepared is None or rules.same_person(prepared, author.by):
        if approves:
            msg = (
                f"nobody else has prepared to close {name} until {until:%F %T}, as it stands now: "
                f"troth reconcile close {name}"
            )
            raise PeriodError(msg)
        return found  # the first of two: so far it could be closed
    q = breaks_store.queries(schema)
    await breaks_store.close(tx, q, name, until, found, (prepared, author.by), author.note)
    return found
