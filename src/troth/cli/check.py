"""`troth check`: everything that is wrong with a program, alone and beside the runs that are alive, before it is deployed."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from troth.cli.acting import read
from troth.cli.failure import PROBLEM
from troth.cli.options import DEFAULT_CONNECTION, Connection, Output, Payloads, StatementTimeout
from troth.cli.output import as_text, block

if TYPE_CHECKING:
    from troth.app import Troth
    from troth.view.model import Alive
    from troth.workflow.replay import Verdict

app = App(name="check")

_SHOWN = 5  # differences that are printed whole


@app.default
def check(
    program: Annotated[str, Parameter(help="The Troth object, as MODULE:NAME.")],
    /,
    *,
    database: Annotated[
        bool, Parameter(negative="", help="Also beside the runs that are alive in the database.")
    ] = False,
    limit: Annotated[
        int, Parameter(help="At most so many live runs are replayed, the newest.")
    ] = 1000,
    payloads: Payloads = False,
    connection: Connection = DEFAULT_CONNECTION,
    output: Output = "table",
    statement_timeout: StatementTimeout = 60.0,
) -> int:
    """Say everything that is wrong with a program. Exit code 0: nothing, 1: something.

    With --database: also which live runs no definition can take, whose recorded values its types cannot read any more,
    which would be parked because calls differ, and which patches are still needed.

    Example: troth check shop.app:troth --database
    """
    from troth.cli.target import ProgramError, find
    from troth.workflow import problems

    found: Troth | None = None
    with problems.collecting() as wrong:
        try:
            found = find(program)
        except ProgramError as error:
            wrong.append(str(error))
    if found is not None:
        wrong += problems.problems(found)
    told: dict[str, Any] = {"problems": wrong}
    if database and found is not None:
        told |= _beside(found, connection, statement_timeout, limit, payloads=payloads)
    bad = any(told.get(name) for name in ("problems", "nobody_takes", "differences"))
    if output == "table":
        _say(told)
        print("It is not fit to be deployed." if bad else "Nothing is wrong with it.")
    else:
        print(as_text(told, indent=2 if output == "json" else 0))
    return PROBLEM if bad else 0


def _beside(
    program: Troth, connection: Connection, timeout: float, limit: int, *, payloads: bool
) -> dict[str, Any]:
    """What the runs say that are alive."""
    from troth.cli.replay import of_database, record_of
    from troth.journal.model import ENDED, RunState
    from troth.view import store as view
    from troth.workflow import problems
    from troth.workflow.replay import replay

    alive = read(connection, timeout, lambda tx: view.alive(tx, connection.schema))
    live = tuple(state.value for state in RunState if state not in ENDED)
    verdicts = [
        replay(program.every_workflow, each)
        for each in of_database(connection, timeout, (), None, live, limit)
        if each.workflow in program.every_workflow
    ]
    known = [each for each in alive if each.workflow in program.every_workflow]
    return {
        "nobody_takes": {
            each.workflow: each.runs
            for each in alive
            if each.workflow not in program.every_workflow
        },
        "replayed": len(verdicts),
        "alive": sum(each.runs for each in alive),
        "differences": [record_of(each, payloads=payloads) for each in verdicts if not each.clean],
        "patches": {
            name: _needs(name, verdicts, known)
            for name in sorted(problems.patches(program) | {n for v in verdicts for n in v.patches})
        },
    }


def _needs(name: str, verdicts: list[Verdict], known: list[Alive]) -> str:
    """Who needs the old branch of a patch: live runs that answer False, and those of which nobody can tell."""
    old = sum(verdict.patches.get(name) is False for verdict in verdicts)
    untold = sum(each.runs for each in known) - sum(verdict.clean for verdict in verdicts)
    if old:
        return f"{old} runs still need the old branch" + (" at least" if untold > 0 else "")
    if untold > 0:
        return f"of {untold} runs it is not known whether they need the old branch"
    return "no live run needs the old branch: it may be removed"


def _say(told: dict[str, Any]) -> None:
    for problem in told["problems"]:
        print(f"- {block(problem)}")
    for workflow, runs in told.get("nobody_takes", {}).items():
        many = "1 run of it is" if runs == 1 else f"{runs} runs of it are"
        print(f"- the program has no workflow {workflow}, and {many} alive")
    differences = told.get("differences", [])
    for message, count in Counter(each["message"] for each in differences).items():
        print(f"- {count} of {told['replayed']} live runs: {block(message)}")
    for each in differences[:_SHOWN]:
        print(f"  run {each['run']} ({each['workflow']}):")
        print("".join(f"    {block(line)}\n" for line in each["diff"]), end="")
    if told.get("alive", 0) > told.get("replayed", 0):
        print(f"  ({told['replayed']} of {told['alive']} live runs were replayed)")
    for name, needs in told.get("patches", {}).items():
        print(f"  patch {name}: {needs}")
