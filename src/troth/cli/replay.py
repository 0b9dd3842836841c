"""`troth replay`: recorded runs against the code of now, before it is deployed."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

from cyclopts import App, Parameter

from troth.base.errors import UsageError
from troth.cli.acting import read
from troth.cli.failure import PROBLEM
from troth.cli.options import DEFAULT_CONNECTION, Connection, Output, Payloads, StatementTimeout
from troth.cli.output import as_text, block, cell
from troth.cli.run import State

if TYPE_CHECKING:
    from troth.store.tx import Tx
    from troth.workflow.recorded import Recorded
    from troth.workflow.replay import Verdict

app = App(name="replay")

PAGE = 200  # runs that are read at once
_TELL_S = 1.0


@app.default
def replay(
    program: Annotated[str, Parameter(help="The Troth object, as MODULE:NAME.")],
    files: Annotated[tuple[Path, ...], Parameter(help="What `troth run export` has written.")] = (),
    /,
    *,
    database: Annotated[
        bool, Parameter(negative="", help="Runs of the database; without files that is so anyway.")
    ] = False,
    workflow: Annotated[str | None, Parameter(help="Runs of this workflow.")] = None,
    run: Annotated[
        tuple[UUID, ...], Parameter(negative="", help="This run; may be given several times.")
    ] = (),
    state: Annotated[
        tuple[State, ...],
        Parameter(negative="", help="Runs in this state; may be given several times."),
    ] = (),
    limit: Annotated[
        int, Parameter(help="At most so many runs of the database, the newest.")
    ] = 1000,
    payloads: Payloads = False,
    connection: Connection = DEFAULT_CONNECTION,
    output: Output = "table",
    statement_timeout: StatementTimeout = 60.0,
) -> int:
    """Run recorded runs against your code. Nothing is performed; the first difference of each is printed.

    Exit code 0: the code goes every recorded way, 1: some run would be parked, or end otherwise. A run that is alive is
    clean if everything recorded of it is asked for again.

    Example: troth replay shop.app:troth --workflow checkout --state waiting
    """
    from troth.cli.target import find
    from troth.workflow.replay import replay as against

    if limit < 1:
        raise UsageError(f"--limit is at least 1, not {limit}")
    workflows = find(program).every_workflow
    which = (run, workflow, state, limit)
    found: Iterator[Recorded] = _of_files(files)
    if database or not files:
        found = _chain(found, of_database(connection, statement_timeout, *which))
    told: list[dict[str, object]] = []
    bad = count = 0
    said_at = began = time.monotonic()
    for each in found:
        verdict = against(workflows, each)
        count += 1
        bad += not verdict.clean
        if output == "table" and not verdict.clean:
            _say(verdict, payloads=payloads)
        elif output != "table":
            told.append(record_of(verdict, payloads=payloads))
        if sys.stderr.isatty() and time.monotonic() - said_at > _TELL_S:
            said_at = time.monotonic()
            print(f"{count} runs, {bad} differ", file=sys.stderr)
    if output == "json":
        print(as_text(told, indent=2))
    elif output == "jsonl":
        print("\n".join(map(as_text, told)))
    else:
        took = time.monotonic() - began
        print(f"{count} runs replayed in {took:.1f} s: {count - bad} clean, {bad} differ")
    return PROBLEM if bad else 0


def record_of(verdict: Verdict, *, payloads: bool) -> dict[str, object]:
    """What a replay found, for programs."""
    return {
        "run": verdict.run.id,
        "workflow": verdict.run.workflow,
        "state": verdict.run.state,
        "clean": verdict.clean,
        "message": verdict.message,
        "diff": verdict.lines(values=payloads)[1:],
        "patches": verdict.patches,
    }


def _say(verdict: Verdict, *, payloads: bool) -> None:
    run = verdict.run
    message, *diff = verdict.lines(values=payloads)
    print(f"run {run.id} ({cell(run.workflow)}, {run.state}): {cell(message)}")
    print("".join(f"    {block(line)}\n" for line in diff))


def _of_files(files: Iterable[Path]) -> Iterator[Recorded]:
    from troth.workflow.recorded import from_lines

    for file in files:
        if not file.is_file():
            raise UsageError(f"there is no file {file}")
        yield from from_lines(file.read_text().splitlines(), where=str(file))


def of_database(
    connection: Connection,
    statement_timeout: float,
    runs: tuple[UUID, ...],
    workflow: str | None,
    states: tuple[str, ...],
    limit: int,
) -> Iterator[Recorded]:
    """A page at a time, each of one snapshot: a run that moves on meanwhile is as it was when its page was read."""
    from troth.journal.model import RunState
    from troth.view import store as view
    from troth.view.model import LAST_ID
    from troth.view.runs import RunFilter
    from troth.view.runs import runs as runs_of

    which = RunFilter(states=frozenset(map(RunState, states)), workflow=workflow)
    before, left, given = LAST_ID, limit, list(runs)

    async def page(tx: Tx) -> list[Recorded]:
        ids = given[:PAGE]
        if not runs:
            lines = await runs_of(
                tx, connection.schema, which, before=before, limit=min(PAGE, left)
            )
            ids = [line.id for line in lines]
        return await view.recorded(tx, connection.schema, ids)

    while left > 0:
        found = read(connection, statement_timeout, page)
        yield from found
        given = given[PAGE:]
        left -= len(found)
        if not found or (runs and not given):
            return
        before = found[-1].id


def _chain(*parts: Iterator[Recorded]) -> Iterator[Recorded]:
    for part in parts:
        yield from part
