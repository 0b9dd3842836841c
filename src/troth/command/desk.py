"""The desk: the one way in which people act, from the command line and from the console alike.

`carry_out` is a door that every act goes through. It checks the role where the act is executed, so that a request made by
hand gets no further than a button; it asks for a second person where a rule says so; and it records who did what, in the
transaction of the deed: no act without its record, and no record of what was rolled back. The refusal of a role is
recorded, too, by `recording_refusals` around the transaction.

What the deed is, the desk does not know: the rooms stand beside each other, and whoever stands above brings them together.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypeAlias, TypeVar
from uuid import UUID

from troth.base import codec
from troth.base.errors import TrothError, UsageError
from troth.base.events import ActRecorded
from troth.base.telemetry import SILENT, Telemetry
from troth.command import acts, desk_store, rules
from troth.command.acts import ActKind, Role
from troth.command.desk_store import Record
from troth.command.model import Author, NotAllowedError, Proposed, Settlement
from troth.store.failure import DatabaseError, Failure, failure_of
from troth.store.tx import Tx

T = TypeVar("T")

# Opens a transaction of its own, which commits when it is left.
Begin: TypeAlias = Callable[[], AbstractAsyncContextManager[Tx]]
Told: TypeAlias = Callable[[T], Mapping[str, Any] | None]

PROPOSAL_WAITS: Final = timedelta(days=7)  # then it is void
MOST_AT_ONCE: Final = 1000  # runs of one act on a filter


async def carry_out(
    tx: Tx,
    schema: str,
    author: Author,
    act: str,
    about: str,
    details: Mapping[str, Any],
    deed: Callable[[], Awaitable[T]],
    *,
    told: Told[T] | None = None,
    eyes: int = 1,
    telemetry: Telemetry = SILENT,
) -> T | Proposed:
    """Do an act in the transaction *tx*, if *author* may and if as many people want it as it needs; record it there.

    *tx* is read committed, so that of two people at once the second sees what the first has proposed.

    *act* is a name of `acts.ACTS`; *about* and *details* are what its `ActKind` says, *details* as plain JSON values (and
    `UUID`, `datetime`). *deed* does it, in *tx* alone. *told*: what to record of its result, where that is not plain from
    the details (nothing confidential). *eyes*: at least so many people, whatever the rule. *telemetry*: whom to tell.

    Returns what *deed* returned, or `Proposed`: then nothing has happened but the proposal, which is kept for
    `PROPOSAL_WAITS`, and happens when a second person calls this with the same act, object and details. Even so *deed*
    was tried, and undone: what could not be done now is not proposed.

    Raises `NotAllowedError` for a role that is not enough (see `recording_refusals`), `DisagreementError` if the same
    person does what they have proposed, `UsageError` for an act or details that there are not, and what *deed* raises.
    If it raises, *tx* must be rolled back.
    """
    kind = acts.kind_of(act)
    acts.require_details(kind, details)
    kept = require_role(kind, author, about, details)
    q = desk_store.queries(schema)
    agrees_with, waiting = None, None
    if not kind.own_eyes and max(eyes, kind.eyes, await desk_store.eyes(tx, schema, act)) > 1:
        proposed, fresh = await desk_store.propose(
            tx, q, author, act, about, codec.encode(details), PROPOSAL_WAITS.total_seconds()
        )
        if fresh:
            await desk_store.attempt(tx, q)
            await deed()
            await desk_store.undo_attempt(tx, q)
            await desk_store.record(tx, q, Record(author, act, about, kept, "proposed"))
            _tell(telemetry, author, act, about, "proposed")
            return proposed
        agrees_with, waiting = rules.second_person(author, proposed), proposed.id
    made = await deed()
    if waiting is not None:  # after the deed, which may look who has proposed it
        await desk_store.drop_proposal(tx, q, waiting)
    waits = isinstance(made, Settlement) and not made.settled
    result = None if told is None else told(made)
    line = Record(author, act, about, kept, "proposed" if waits else "done", agrees_with, result)
    await desk_store.record(tx, q, line)
    _tell(telemetry, author, act, about, line.outcome)
    return made


def _tell(telemetry: Telemetry, author: Author, act: str, about: str, outcome: str) -> None:
    telemetry.emit(ActRecorded(act, about, author.by, author.role.word, author.via, outcome))


def require_role(
    kind: ActKind, author: Author, about: str, details: Mapping[str, Any], least: Role | None = None
) -> Mapping[str, Any]:
    """What would be recorded of the details, if the author's role is enough for the act: *least*, or what the table says.

    Raises `NotAllowedError`, and `UsageError` for what could not even be recorded.
    """
    rules.require_author(author, about)
    kept = rules.recordable(kind.name, acts.visible(kind, details))
    needed = kind.least if least is None else least
    if author.role < needed:
        raise NotAllowedError(author, kind.name, about, kept, needed)
    return kept


@asynccontextmanager
async def recording_refusals(
    begin: Begin, schema: str, telemetry: Telemetry = SILENT
) -> AsyncIterator[None]:
    """Around a transaction: a `NotAllowedError` that leaves it is recorded in another one, and goes on its way.

    Around, so that the connection of the first has been given back: a pool never waits for itself.
    """
    try:
        yield
    except NotAllowedError as refused:
        line = Record(
            refused.author, refused.act, refused.about, refused.details, "refused",
        )  # fmt: skip
        async with begin() as tx:
            await desk_store.record(tx, desk_store.queries(schema), line)
        _tell(telemetry, refused.author, refused.act, refused.about, "refused")
        raise


# Two people -----------------------------------------------------------------------------------------------------------


async def set_rule(tx: Tx, schema: str, author: Author, act: str, eyes: int) -> Proposed | None:
    """From now on *act* needs *eyes* people, 1 or 2. Recorded as `act.rule`; lowering it needs as many as it did before.

    Raises `NotAllowedError`, `DisagreementError`, and `UsageError` for an act or a number that there is not.
    """
    acts.kind_of(act)
    if eyes not in {1, 2}:
        raise UsageError(f"an act needs 1 person or 2, not {eyes}")
    details = {"eyes": eyes}
    require_role(acts.ACTS["act.rule"], author, act, details)
    q = desk_store.queries(schema)
    await desk_store.hold_rules(tx, q)
    before = await desk_store.eyes(tx, schema, act)

    async def deed() -> None:
        await desk_store.set_rule(tx, q, act, eyes)

    least = before if eyes < before else 1
    return await carry_out(tx, schema, author, "act.rule", act, details, deed, eyes=least)


async def withdraw(tx: Tx, schema: str, author: Author, number: int) -> Proposed | None:
    """Take back the proposal *number*: its author may, and an admin. Recorded as `act.withdraw`.

    Raises `NotAllowedError` for somebody else, and `UsageError` if nothing with this number waits.
    """
    q = desk_store.queries(schema)
    found = await desk_store.proposal(tx, q, number)
    if found is None:
        raise UsageError(f"no proposal {number} waits: troth audit waiting lists those that do")
    kind = acts.ACTS["act.withdraw"]
    if not rules.same_person(author.by, found.by):
        require_role(kind, author, str(number), {}, Role.ADMIN)

    async def deed() -> None:
        await desk_store.drop_proposal(tx, q, number)

    return await carry_out(
        tx, schema, author, kind.name, str(number), {}, deed,
        told=lambda _: {"act": found.act, "about": found.about, "by": found.by},
    )  # fmt: skip


# Many runs ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Swept:
    """What became of an act on many runs. *failed*: why not, by run. *proposed* wait for a second person."""

    done: tuple[UUID, ...]
    proposed: tuple[UUID, ...]
    failed: Mapping[UUID, str]


async def on_each(
    begin: Begin,
    schema: str,
    author: Author,
    act: str,
    runs: Sequence[UUID],
    details: Mapping[str, Any],
    deed: Callable[[Tx, UUID], Awaitable[object]],
    *,
    telemetry: Telemetry = SILENT,
) -> Swept:
    """Do one act to each of *runs* (those that a filter has found and a person has seen counted), at most `MOST_AT_ONCE`.

    Each is a transaction of its own, opened by *begin*, with its own record: one that cannot be done, also because of the
    database, holds up no other, and what was done before a crash stays done. A lost connection ends it. Raises
    `NotAllowedError` before anything is done (recorded), and `UsageError` for too many.
    """
    if len(runs) > MOST_AT_ONCE:
        raise UsageError(f"at most {MOST_AT_ONCE} runs at once, not {len(runs)}: do it again")
    async with recording_refusals(begin, schema, telemetry):
        require_role(acts.kind_of(act), author, f"{len(runs)} runs", details)
    done: list[UUID] = []
    proposed: list[UUID] = []
    failed: dict[UUID, str] = {}
    for run in runs:
        try:
            async with begin() as tx:
                made = await carry_out(
                    tx, schema, author, act, str(run), details, _of(deed, tx, run),
                    telemetry=telemetry,
                )  # fmt: skip
        except TrothError as error:
            failed[run] = str(error)
        except DatabaseError as error:
            if failure_of(error) is Failure.LOST:
                raise
            failed[run] = " ".join(str(error).split())
        else:
            (proposed if isinstance(made, Proposed) else done).append(run)
    return Swept(tuple(done), tuple(proposed), failed)


def _of(
    deed: Callable[[Tx, UUID], Awaitable[object]], tx: Tx, run: UUID
) -> Callable[[], Awaitable[object]]:
    return lambda: deed(tx, run)
