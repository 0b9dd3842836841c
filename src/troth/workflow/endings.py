"""How a run ends, once its code has: its state and its outcome, as they are stored. Pure."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from troth.base.errors import RunTimedOutError
from troth.journal.model import CANCEL_TOPIC, RunState
from troth.workflow.failures import encode_answer, is_answer
from troth.workflow.family import ContinuedError

if TYPE_CHECKING:
    from troth.workflow.run import ActiveRun


class Ending(NamedTuple):
    """*outcome*: the result, or the business answer; *continued*: it goes on as another run."""

    state: RunState
    outcome: bytes | None = None
    continued: ContinuedError | None = None


def raised_by(run: ActiveRun) -> BaseException | None:
    """What the code of a run has raised, in the end."""
    assert run.main is not None
    return asyncio.CancelledError() if run.main.cancelled() else run.main.exception()


def ending_of(run: ActiveRun) -> Ending | None:
    """The end of a run whose code has come to its own; None for a bug, which is none. Raises `PayloadError`."""
    error = raised_by(run)
    if run.stopped == CANCEL_TOPIC:
        return Ending(RunState.CANCELLED)
    if run.stopped is not None:
        return Ending(RunState.FAILED, encode_answer(_late(run), (RunTimedOutError,)))
    if isinstance(error, ContinuedError):
        return Ending(RunState.SUCCEEDED, continued=error)
    if error is None:
        assert run.main is not None
        return Ending(RunState.SUCCEEDED, run.workflow.result.encode(run.main.result()))
    if is_answer(error, run.workflow.fails_on):
        return Ending(RunState.FAILED, encode_answer(error, run.workflow.fails_on))
    return None


def _late(run: ActiveRun) -> RunTimedOutError:
    assert run.expires_at is not None
    return RunTimedOutError(run.id, datetime.fromtimestamp(run.expires_at, UTC))
