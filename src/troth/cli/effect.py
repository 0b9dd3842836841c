"""`troth effect`: effects that nobody could settle without a person."""

from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

from cyclopts import App, Parameter

from troth.base.errors import UsageError
from troth.cli import durations
from troth.cli.acting import act, acted, author, connected, read, showing
from troth.cli.effect_page import (
    line_for_people,
    settlement_words,
    story_for_people,
    story_for_programs,
)
from troth.cli.filtering import After, Limit, check_limit, ends, told
from troth.cli.options import (
    DEFAULT_CONNECTION,
    By,
    Connection,
    Note,
    Output,
    Payloads,
    RunId,
    StatementTimeout,
)
from troth.cli.output import as_text, show
from troth.cli.run_page import tail_line, tail_record
from troth.journal.model import Kind
from troth.journal.reading import said_by
from troth.view.model import Moment, RunHeader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from troth.command.model import Finding, Settlement
    from troth.store.connect import AsyncConnection
    from troth.store.tx import Tx

app = App(name="effect", help="Look at effects that somebody must settle, and settle them.")

Path = Annotated[
    str | None,
    Parameter(
        help="The effect, as the journal calls it. Without it: the one that the run stopped at."
    ),
]


@app.command(name="list")
def list_(
    *,
    reason: Annotated[
        list[str] | None,
        Parameter(
            negative="", help="For this reason: in_doubt, undo_failed, retries_exhausted; several."
        ),
    ] = None,
    workflow: Annotated[str | None, Parameter(help="Of runs of this workflow.")] = None,
    owner: Annotated[str | None, Parameter(help="Those that this person looks after.")] = None,
    unclaimed: Annotated[
        bool, Parameter(negative="", help="Those that nobody looks after.")
    ] = False,
    limit: Limit = 50,
    after: After = None,
    connection: Connection = DEFAULT_CONNECTION,
    output: Output = "table",
    statement_timeout: StatementTimeout = 5.0,
) -> None:
    """List the effects that runs in attention stopped at, what has waited longest first: in doubt, not undone, given up.

    Example: troth effect list --reason in_doubt -o json
    """
    from troth.view.attention import AttentionFilter, effects

    check_limit(limit)
    which = told(
        AttentionFilter, reason=reason, workflow=workflow, owner=owner, unclaimed=unclaimed
    )
    page = read(
        connection,
        statement_timeout,
        lambda tx: effects(tx, connection.schema, which, after=after, limit=limit),
    )
    shown = line_for_people if output == "table" else asdict
    show([shown(line) for line in page.rows], output, "No effect waits for a person.")
    ends(page, output)


@app.command(name="show")
def show_(
    run: RunId,
    path: Path = None,
    /,
    *,
    payloads: Payloads = False,
    connection: Connection = DEFAULT_CONNECTION,
    output: Output = "table",
    statement_timeout: StatementTimeout = 5.0,
) -> None:
    """Show one effect: what was sent, when and to whom, what came back, what was found out, and what people said.

    Example: troth effect show 019d2f7c-5e80-7000-8000-5a5b6c7d8e9f
    """
    from troth.view import store as view

    story = read(
        connection, statement_timeout, lambda tx: view.story(tx, connection.schema, run, path)
    )
    payloads = payloads and showing(connection, "effect", [run], story.path)
    if output == "table":
        story_for_people(story, payloads=payloads)
    else:
        record = story_for_programs(story, payloads=payloads)
        print(as_text(record, indent=2 if output == "json" else 0))


@app.command
def probe(
    run: RunId,
    path: Path = None,
    /,
    *,
    wait: Annotated[
        durations.Length, Parameter(help="How long to wait for what came out; 0s does not wait.")
    ] = 30.0,
    anyway: Annotated[
        bool,
        Parameter(
            negative="",
            help="Although the effect had no probe when its run stopped; one is deployed by now.",
        ),
    ] = False,
    note: Note = None,
    by: By = None,
    connection: Connection = DEFAULT_CONNECTION,
) -> int:
    """Have a worker ask the other side once more about an effect in doubt, and wait for what came out.

    Exit code 0 if the effect is settled by it, 1 if it is still in doubt or nobody has asked yet.

    Example: troth effect probe 019d2f7c-5e80-7000-8000-5a5b6c7d8e9f --wait 2m
    """
    from troth.command import settle as command
    from troth.command.model import Proposed

    who, details = author(by, note), {"path": path, "anyway": anyway}

    async def do(tx: Tx) -> tuple[str, int]:
        return await command.probe(tx, connection.schema, run, path, who, anyway=anyway)

    def say(asked: tuple[str, int]) -> str:
        return f"{asked[0]} of run {run}: a worker is to ask once more"

    async def ask(opened: AsyncConnection, url: str) -> int:
        made = await acted(
            opened, connection.schema, who, "effect.probe", run, details, do, say,
            told=lambda asked: {"path": asked[0]},
        )  # fmt: skip
        sys.stdout.flush()
        if isinstance(made, Proposed):
            return 0
        return await _await_answer(url, connection.schema, run, *made, wait)

    return connected(connection, ask)


async def _await_answer(
    url: str, schema: str, run: UUID, path: str, number: int, wait_s: float
) -> int:
    """Print what is recorded of the effect from decision *number* on, until that settles it or not; the exit code."""
    from troth.view.follow import Follower

    try:
        async with (
            asyncio.timeout(wait_s),
            Follower(url, schema) as follower,
            aclosing(follower.run(run)) as steps,
        ):
            return await _first_verdict(run, path, number, steps)
    except TimeoutError:
        print(
            f"nothing is settled after {durations.words(wait_s)}; the question stands until a worker takes the run: "
            f"troth run tail {run}"
        )
        return 1


async def _first_verdict(
    run: UUID, path: str, number: int, steps: AsyncIterator[Moment | RunHeader]
) -> int:
    asked = False
    async for step in steps:
        if isinstance(step, Moment):
            if asked and step.entry.path == path:
                print(tail_line(tail_record(run, step, payloads=False)), flush=True)
                verdict = _verdict(step)
                if verdict is not None:
                    print(f"{path} of run {run}: {verdict}")
                    return 0
            asked = asked or (step.what, step.entry.path, step.entry.attempt) == (
                "decision",
                path,
                number,
            )
        elif step.line.state == "attention":
            print(f"run {run} is back in attention: {step.line.reason}")
            return 1
        elif step.line.has_ended:
            print(f"run {run} is {step.line.state}")
            return 0
    return 1


def _verdict(moment: Moment) -> str | None:
    """What an entry settles, in words; None if it settles nothing."""
    entry = moment.entry
    if entry.kind == Kind.RESULT:
        return {True: "it happened", False: "it was refused", None: "it stays unknown"}[entry.ok]
    if entry.kind == Kind.EVIDENCE and said_by(entry).get("settles"):
        return {"missing": "it did not happen", "found": "it happened"}.get(
            said_by(entry)["answer"]
        )
    return None


@app.command
def settle(
    run: RunId,
    path: Path = None,
    /,
    *,
    done: Annotated[
        str | None,
        Parameter(help="It happened; this is its result, as JSON (null, '\"cus_1\"', …)."),
    ] = None,
    not_done: Annotated[
        bool,
        Parameter(negative="", help="It did not happen and cannot any more: it may be sent again."),
    ] = False,
    evidence: Annotated[
        str | None, Parameter(help="How you know, for the record; --not-done needs it.")
    ] = None,
    program: Annotated[
        str | None,
        Parameter(help="MODULE:NAME, to check first that the code can take the result."),
    ] = None,
    by: By = None,
    connection: Connection = DEFAULT_CONNECTION,
) -> None:
    """Say what became of an effect that a run stopped at, and let the run go on.

    The result is not checked unless --program is given; a run whose code cannot take it comes back into attention. Of an
    undo that failed, --done says that it is undone (by hand). Where two people must agree, the first one proposes.

    Example: troth effect settle 019d2f7c-5e80-7000-8000-5a5b6c7d8e9f --done '"re_42"' --evidence "in the dashboard"
    """
    from troth.base.codec import decode
    from troth.command import settle as command
    from troth.command.model import Happened

    finding = _finding(done, not_done=not_done)
    check = _checker(program) if program is not None and isinstance(finding, Happened) else None

    who = author(by, evidence)
    value = decode(finding.value) if isinstance(finding, Happened) else None
    details = {"path": path, "done": isinstance(finding, Happened), "value": value}

    async def do(tx: Tx) -> Settlement:
        settlement = await command.settle(tx, connection.schema, run, path, who, finding)
        if check is not None:
            assert isinstance(finding, Happened)
            check(settlement.path, finding.value)  # what it raises rolls the act back
        return settlement

    act(
        connection, who, "effect.settle", run, details, do,
        lambda settlement: settlement_words(run, settlement, finding),
        told=lambda settlement: {"path": settlement.path},
    )  # fmt: skip


def _finding(done: str | None, *, not_done: bool) -> Finding:
    import msgspec

    from troth.command.model import DidNotHappen, Happened

    if (done is not None) == not_done:
        raise UsageError("say what happened: --done RESULT or --not-done, one or the other")
    if done is None:
        return DidNotHappen()
    try:
        msgspec.json.decode(done)
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        msg = f"--done {done!r} is not JSON ({error}); a text needs its quotes: --done '\"{done}\"'"
        raise UsageError(msg) from None
    return Happened(done.encode())


def _checker(program: str) -> Callable[[str, bytes], None]:
    """What raises `UsageError` (a `PayloadError`) if the effect at a path cannot have this result."""
    from troth.cli import target

    steps = target.find(program).steps

    def check(path: str, value: bytes) -> None:
        step = steps.get(path.rpartition(":")[2].partition("#")[0])
        if step is None or path.startswith("!"):
            msg = f"{program} has no step {path}, so nothing can be said about its result: leave --program out"
            raise UsageError(msg)
        step.result.decode(value)

    return check
