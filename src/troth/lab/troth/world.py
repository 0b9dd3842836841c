"""`lab.troth(app, url)`: the engine, its database and its workers in a scenario."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from troth.base.errors import UsageError
from troth.effect.model import MARGIN_S
from troth.journal.starts import start_digest
from troth.lab.model import Answer, LabError, Op
from troth.lab.moments import EPOCH
from troth.lab.troth.journal import Journal, new_id
from troth.lab.troth.life import CancelCall, StartCall, WorkerLife
from troth.lab.troth.rows import Ages
from troth.lab.troth.wire import plain
from troth.workflow.consequences import EffectDefinition
from troth.workflow.definition import Workflow

if TYPE_CHECKING:
    from troth.app import Troth


class Program:
    """What `lab.troth()` gives: runs that exist from the start, and requests for `lab.user()`."""

    def __init__(self, app: Troth, url: str, seed: str, name: str) -> None:
        self._app = app
        self._numbers = 0
        self.database = Journal(name, url, seed, ages=_ages(app), patient_s=_patience_s(app))
        self.worker = WorkerLife(app, name)

    def starts(self, workflow: Any, *args: Any, key: str) -> None:
        """A run of this workflow exists before anything can go wrong."""
        ask = self._start(workflow, args, key)
        self.database.begins.append(
            Op("call", self.database.name, "start", tuple(plain(one) for one in ask))
        )

    def start(self, workflow: Any, *args: Any, key: str) -> StartCall:
        """A request: start this workflow under this key, and tell how the run stands. `again=until_known` asks until it has ended.

        The answer is 200 with its outcome when it has succeeded, 422 when it has failed, 410 when it was cancelled, 409 when it
        needs a person, 202 before.
        """
        return StartCall(self.database.name, key, self._start(workflow, args, key))

    def cancel(self, key: str) -> CancelCall:
        """A request: ask the run of this key to stop."""
        return CancelCall(self.database.name, key, self._id())

    def _start(self, workflow: Any, args: tuple[Any, ...], key: str) -> tuple[Any, ...]:
        if not isinstance(workflow, Workflow) or self._app.workflows.get(workflow.name) is not workflow:  # fmt: skip
            raise LabError(f"{workflow!r} is no workflow of the Troth that lab.troth() was given")
        if workflow.queue is not None:
            raise LabError(f"{workflow.name} has a queue; queues are not followed yet")
        try:
            payload = workflow.arguments.encode(args, {})
        except UsageError as error:
            raise LabError(str(error)) from error
        digest = start_digest(workflow.name, payload)
        return (self._id(), workflow.name, key, payload, digest, float(EPOCH))

    def _id(self) -> Any:
        self._numbers += 1
        return new_id(self._numbers)


def until_known(answer: Answer | None) -> bool:
    """Ask again as long as nobody can say how it ended."""
    return answer is None or answer.status == 202 or answer.status >= 500


def _patience_s(app: Troth) -> float:
    """The longest that one of its effects is waited for."""
    return max((step.effect.timeout_s for step in _effects(app)), default=0.0)


def _ages(app: Troth) -> Ages:
    """What its decisions compare times with: a probe with what can still land, a retry with its limit, a key with its lifetime."""
    limits = (step.retry.within for step in app.steps.values())
    near, far = [0.0, *(limit.total_seconds() for limit in limits if limit)], [0.0]
    for step in _effects(app):
        rules = step.effect
        far.append(rules.key_lifetime_s or 0.0)
        if rules.probed:
            near.append(rules.in_flight_s + rules.lands_within_s + 2 * MARGIN_S)
    return Ages(max(near), max(far))


def _effects(app: Troth) -> Iterator[EffectDefinition[Any, Any]]:
    return (step for step in app.steps.values() if isinstance(step, EffectDefinition))
