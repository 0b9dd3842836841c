"""Recorded runs against the code of now: nothing is performed, and the first difference of each is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from troth.base import codec
from troth.base.errors import PayloadError, TrothError
from troth.journal.model import ClaimedRun, RunState
from troth.workflow.definition import Workflow
from troth.workflow.differences import Line, beyond_the_end, difference, other_end, shown
from troth.workflow.endings import ending_of, raised_by
from troth.workflow.failures import describe_briefly, is_answer
from troth.workflow.recorded import Recorded
from troth.workflow.run import ActiveRun
from troth.workflow.stops import Parked


class ReplayError(TrothError, AssertionError):
    """A recorded run does not go the way of the code any more; the message has the difference."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a replay found. *message* None: the code goes the recorded way. *patches*: what the run answers, by name."""

    run: Recorded
    message: str | None = None
    diff: list[Line] = field(default_factory=list)
    patches: Mapping[str, bool] = field(default_factory=dict)

    @property
    def clean(self) -> bool:
        """All recorded answers were delivered, all requests asked for again, and an ended run has ended as it did."""
        return self.message is None

    def lines(self, *, values: bool = True) -> list[str]:
        """The message, and the difference; *values*: with those of arguments."""
        return [self.message or "clean", *shown(self.diff, values=values)]


def replay(workflows: Mapping[str, Workflow[Any, Any]], recorded: Recorded) -> Verdict:
    """Run the workflow code against a journal. Raises nothing of what the code may raise."""
    workflow = workflows.get(recorded.workflow)
    if workflow is None:
        return Verdict(recorded, f"the program has no workflow {recorded.workflow}")
    claimed = ClaimedRun(
        recorded.id, recorded.workflow, recorded.key, recorded.input, 2, recorded.starts_at,
        list(recorded.entries), [],
    )  # fmt: skip
    run = ActiveRun(claimed, workflow, lambda _run: None)
    try:
        detail = _first_difference(run, recorded)
    except PayloadError as error:
        detail = {"message": f"its input cannot be read any more: {error}"}
    except Parked as parked:
        detail = parked.detail
    finally:
        patches = dict(run.patches.answers)
        run.dispose()
    if detail is None:
        return Verdict(recorded, patches=patches)
    return Verdict(recorded, detail["message"], detail.get("diff", []), patches)


def _first_difference(run: ActiveRun, recorded: Recorded) -> dict[str, Any] | None:
    run.begin()
    run.advance()
    if run.past.owed:
        return difference(run, min(run.past.owed.values()), None)
    assert run.main is not None
    if recorded.has_ended:
        return _other_end(run, recorded) if run.finished else beyond_the_end(run)
    if run.main.done() and not run.main.cancelled():
        error = run.main.exception()
        if error is not None and not is_answer(error, run.workflow.fails_on):
            return {"message": f"it would stop with a bug: {describe_briefly(error)}"}
    return None


def _other_end(run: ActiveRun, recorded: Recorded) -> dict[str, Any] | None:
    ending = ending_of(run)
    before = recorded.state
    if ending is None:
        return other_end(run, before, f"a bug: {describe_briefly(raised_by(run))}")
    now = str(ending.state)
    if before == now and not recorded.redacted:
        before, now = _told(run, recorded.outcome, before), _told(run, ending.outcome, now)
    return None if before == now else other_end(run, before, now)


def _told(run: ActiveRun, outcome: bytes | None, state: str) -> str:
    """An end in words. A result is read and written by the types of now: fields that have been added are no difference."""
    if outcome is None or state == RunState.CANCELLED:
        return state
    if state == RunState.FAILED:
        answer = codec.decode(outcome)
        return f"{state}: {answer['type']}: {answer['message']}"
    return f"{state}: {run.workflow.result.encode(run.workflow.result.decode(outcome)).decode()}"
