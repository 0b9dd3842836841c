"""What `troth run` does to runs: each is an act at the desk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

from cyclopts import Parameter

from troth.base.errors import UsageError
from troth.cli.acting import act, agreed, author, preview
from troth.cli.options import DEFAULT_CONNECTION, By, Connection, Note, RunId, Yes
from troth.cli.run_page import cancel_words, fork_words, rewind_words
from troth.command.rules import require_redo_allowed

OneRun = Annotated[UUID | None, Parameter(help="The id of the run.")]
Where = Annotated[
    str | None,
    Parameter(help="Instead of an id: all runs that match, as state=attention&workflow=checkout."),
]

if TYPE_CHECKING:
    from troth.command.model import Author
    from troth.journal.model import Reason
    from troth.store.tx import Tx
    from troth.view.model import RunHeader


def cancel(
    run: OneRun = None,
    /,
    *,
    where: Where = None,
    yes: Yes = False,
    note: Note = None,
    by: By = None,
    connection: Connection = DEFAULT_CONNECTION,
) -> int:
    """Ask a run to stop. It ends as cancelled once a worker has heard it, and has undone what can be undone.

    A run that no worker has at the moment is cancelled by the next worker that claims it. With --where, all runs of a
    filter, up to 1000: they are counted first, and it asks. Exit code 1: some of them could not be cancelled.

    Example: troth run cancel 019d2f7c-5e80-7000-8000-5a5b6c7d8e9f --note "ordered twice"
    """
    from troth.cli.run_where import on_where
    from troth.command.act import cancel as ask
    from troth.view import store as view

    who, schema = author(by, note), connection.schema
    one = _require_one(run, where)
    if where is not None:
        return on_where(
            connection, who, "run.cancel", where, lambda tx, each: ask(tx, schema, each, who),
            verb="cancel", yes=yes,
        )  # fmt: skip

    async def do(tx: Tx) -> RunHeader:
        found = await view.header(tx, schema, one)
        await ask(tx, schema, one, who)
        return found

    act(connection, who, "run.cancel", one, {}, do, cancel_words)
    return 0


def _require_one(run: UUID | None, where: str | None) -> UUID:
    """The run, if there is one and no filter; any, if there is a filter and no run. Raises `UsageError`."""
    if (run is None) == (where is None):
        raise UsageError("say which: the id of a run, or --where FILTER, one or the other")
    return run or UUID(int=0)


def send(
    run: RunId,
    topic: Annotated[str, Parameter(help="The topic, as in troth.receive.")],
    value: Annotated[str, Parameter(help="What to say, as JSON.")] = "null",
    /,
    *,
    key: Annotated[
        str | None,
        Parameter(help="The same key is the same message, however often it is sent."),
    ] = None,
    note: Note = None,
    by: By = None,
    connection: Connection = DEFAULT_CONNECTION,
) -> None:
    """Leave a message for a run, and record who did.

    Whether the value has the type that the run expects is found out when it is received: a wrong one parks the run.

    Example: troth run send 019d2f7c-5e80-7000-8000-5a5b6c7d8e9f approved '{"by": "ada"}' --key ticket-17
    """
    from troth.base import codec
    from troth.command.act import send as leave

    try:
        said = codec.decode(value.encode())
    except ValueError as error:
        raise UsageError(f"{value!r} is not JSON: {error}") from None
    who, payload = author(by, note), codec.encode(said)

    async def do(tx: Tx) -> None:
        await leave(tx, connection.schema, run, topic, payload, key, who)

    details = {"topic": topic, "key": key, "value": said}
    act(
        connection, who, "run.send", run, details, do,
        lambda _: f"run {run} has a message of {topic}",
    )  # fmt: skip


def resume(
    run: OneRun = None,
    /,
    *,
    where: Where = None,
    from_: Annotated[
        str | None,
        Parameter(
            name="--from", help="Go back to before the answer of this step, and on from there."
        ),
    ] = None,
    redo_transactions: Annotated[
        bool,
        Parameter(negative="", help="Run steps and transactions that it goes back over once more."),
    ] = False,
    yes: Yes = False,
    note: Note = None,
    by: By = None,
    connection: Connection = DEFAULT_CONNECTION,
) -> int:
    """Let a run go on that stands in attention, and record who decided so.

    Mend the cause first: what made the run stop is tried again. A run in doubt is settled by `troth effect settle`.

    With --from, what the journal has from that step on does not count any more; it shows first what is kept and what is
    done again, and asks. Effects are not blindly repeated: what became of them is found out by their key, their probe or
    a person.

    With --where, all runs of a filter that stand in attention, up to 1000: they are counted first, and it asks. Exit code
    1: some of them could not be resumed.

    Example: troth run resume 019d2f7c-5e80-7000-8000-5a5b6c7d8e9f --note "fixed in 4f2a91c"
    """
    from troth.cli.run_where import on_where
    from troth.command.act import resume as go_on

    who, schema = author(by, note), connection.schema
    one = _require_one(run, where)
    if where is not None and (from_ is not None or redo_transactions):
        raise UsageError("--where goes without --from: what a run would do again is shown for each")
    if where is not None:
        return on_where(
            connection, who, "run.resume", where, lambda tx, each: go_on(tx, schema, each, who),
            verb="resume", yes=yes,
        )  # fmt: skip
    if from_ is not None:
        _go_back(connection, one, from_, who, redo_transactions, yes=yes)
        return 0
    if redo_transactions:
        raise UsageError("--redo-transactions goes with --from STEP")

    async def do(tx: Tx) -> Reason:
        return await go_on(tx, schema, one, who)

    def say(was: Reason) -> str:
        return (
            f"run {one} is ready: it was in attention ({was}), and goes on when a worker claims it"
        )

    act(connection, who, "run.resume", one, {}, do, say, told=lambda was: {"was": was})
    return 0


def _go_back(
    connection: Connection,
    run: UUID,
    path: str,
    who: Author,
    redo_transactions: bool,
    *,
    yes: bool,
) -> None:
    from troth.command.rewind import preview as look
    from troth.command.rewind import rewind

    schema = connection.schema
    shown = preview(connection, lambda tx: look(tx, schema, run, path))
    print(rewind_words(shown))
    require_redo_allowed(shown, redo_transactions=redo_transactions)
    if not yes and not agreed(f"Let run {run} go back?"):
        raise UsageError("nothing was done; --yes does not ask")

    allowed = redo_transactions

    async def do(tx: Tx) -> None:
        if await rewind(tx, schema, run, path, who, redo_transactions=allowed) != shown:
            msg = f"run {run} has moved on since this was shown; nothing was done"
            raise UsageError(msg)

    act(
        connection, who, "run.rewind", run, {"from": path, "redo_transactions": allowed}, do,
        lambda _: f"run {run} is ready, and goes on from before {path} when a worker claims it",
    )  # fmt: skip


def fork(
    run: RunId,
    /,
    *,
    from_: Annotated[
        str, Parameter(name="--from", help="The first step that the new run does by itself.")
    ],
    dry_run: Annotated[bool, Parameter(negative="", help="Only show what it means.")] = False,
    yes: Yes = False,
    note: Note = None,
    by: By = None,
    connection: Connection = DEFAULT_CONNECTION,
) -> None:
    """Start another run with the same input and the same past up to a step, alive or ended; it goes on from there.

    It shows what is kept and what is done again, and asks. Effects from that step on are sent again, under other keys. What
    is kept stays the first run's: a fork that fails does not undo it.

    Example: troth run fork 019d2f7c-5e80-7000-8000-5a5b6c7d8e9f --from ship --dry-run
    """
    from troth.command.fork import fork as make
    from troth.command.fork import preview as look

    schema = connection.schema
    shown = preview(connection, lambda tx: look(tx, schema, run, from_))
    print(fork_words(shown))
    if dry_run:
        return
    if not yes and not agreed(f"Fork run {run}?"):
        raise UsageError("nothing was done; --yes does not ask")
    who = author(by, note)

    async def do(tx: Tx) -> UUID:
        return await make(tx, schema, run, from_, who, shown)

    act(
        connection, who, "run.fork", run, {"from": from_}, do,
        lambda new: f"run {new} goes on from before {from_} when a worker claims it",
        told=lambda new: {"run": new},
    )  # fmt: skip


def claim(
    run: RunId,
    /,
    *,
    for_: Annotated[
        str | None, Parameter(name="--for", help="Who looks after it. Without it: whoever acts.")
    ] = None,
    release: Annotated[
        bool, Parameter(negative="", help="Nobody looks after it any more.")
    ] = False,
    take_over: Annotated[bool, Parameter(negative="", help="Although somebody else does.")] = False,
    note: Note = None,
    by: By = None,
    connection: Connection = DEFAULT_CONNECTION,
) -> None:
    """Say who looks after a run in attention. It is forgotten when the run leaves attention.

    Example: troth run claim 019d2f7c-5e80-7000-8000-5a5b6c7d8e9f --by ada
    """
    from troth.command.attention import claim as look_after

    if release and for_ is not None:
        raise UsageError("--release says that nobody does: it goes without --for")
    who = author(by, note)
    owner = None if release else for_ or who.by

    async def do(tx: Tx) -> None:
        await look_after(tx, connection.schema, run, who, owner, take_over=take_over)

    said = f"{owner} looks after run {run}" if owner else f"nobody looks after run {run}"
    details = {"owner": owner, "take_over": take_over}
    act(connection, who, "attention.claim", run, details, do, lambda _: said)


def note_(
    run: RunId,
    text: Annotated[str, Parameter(help="What others are to know; empty: nothing any more.")],
    /,
    *,
    by: By = None,
    connection: Connection = DEFAULT_CONNECTION,
) -> None:
    """Leave a note beside a run in attention, in place of the one before. It is forgotten when the run leaves attention.

    Example: troth run note 019d2f7c-5e80-7000-8000-5a5b6c7d8e9f "the bank answers on Monday"
    """
    from troth.command.attention import note as leave

    who, said = author(by, None), text.strip() or None

    async def do(tx: Tx) -> None:
        await leave(tx, connection.schema, run, who, said)

    words = f"run {run} has a note" if said else f"run {run} has no note any more"
    act(connection, who, "attention.note", run, {"text": said}, do, lambda _: words)
