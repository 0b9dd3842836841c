"""What workflow code may ask for besides its steps: time, chance, sleep and messages. All of it replays.

`now`, `uuid` and `random` cost nothing: they are derived from what is recorded anyway.
"""

from __future__ import annotations

import contextvars
import hashlib
import logging
import random as _random
from collections.abc import Awaitable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from troth.base import codec
from troth.base.errors import NotInRunError, UsageError
from troth.workflow.calls import ReceiveCall, SleepCall
from troth.workflow.racing import Limit
from troth.workflow.runloop import Branch, current_branch
from troth.workflow.saga import Saga
from troth.workflow.topics import Topic, as_topic

T = TypeVar("T")


class StepContext(NamedTuple):
    """The step whose body runs in this context; for logging and for error messages."""

    run_id: UUID
    path: str
    workflow: str
    attempt: int
    worker: int


step_context: contextvars.ContextVar[StepContext | None] = contextvars.ContextVar(
    "troth_step", default=None
)


def now() -> datetime:
    """The time of the latest result that this workflow was told, in UTC: it stands still between steps."""
    return datetime.fromtimestamp(_branch("now").run.now_s, UTC)


def uuid() -> UUID:
    """A random-looking UUID that a replay gives again."""
    return UUID(bytes=_seed("uuid")[:16], version=4)


def random() -> _random.Random:
    """A generator of random numbers that a replay seeds alike. Not for secrets."""
    return _random.Random(_seed("random"))  # noqa: S311


def wait(awaitable: Awaitable[T]) -> T:
    """In the body of a `def` workflow, wait for what an `async def` would await; see `def_bodies`."""
    try:
        from troth.workflow import def_bodies
    except ModuleNotFoundError:  # without greenlet there are no such bodies
        raise UsageError("troth.wait is for `def` workflows: pip install 'troth[sync]'") from None
    return def_bodies.wait(awaitable)


def sleep(duration: timedelta | float) -> Coroutine[Any, Any, None]:
    """Wait, for seconds or a year: a long wait costs a row and no memory."""
    seconds = _seconds(duration)
    branch = _branch("sleep")
    return branch.run.awaited(SleepCall(branch.path("sleep"), seconds, branch.run.loop))


def receive(
    topic: Topic[Any] | str, kind: Any = Any, *, timeout: timedelta | float | None = None
) -> Coroutine[Any, Any, Any]:
    """The next message of *topic* that was sent to this run, as a *kind*; `TimedOut` if none comes in time.

    The message may have been sent before this call, and before the run was started.
    """
    heard = as_topic(topic, kind)
    seconds = None if timeout is None else _seconds(timeout)
    branch = _branch("receive")
    run = branch.run
    path = branch.path(f"receive.{heard.name}")
    return run.awaited(ReceiveCall(path, (heard,), seconds, run.loop))


def receive_any(
    *topics: Topic[Any] | str, timeout: timedelta | float | None = None
) -> Coroutine[Any, Any, Any]:
    """The next message of any of these topics, as a `Received`; `TimedOut` if none comes in time.

    The oldest one is taken, and all others stay where they are.
    """
    heard = tuple(map(as_topic, topics))
    if len({topic.name for topic in heard}) != len(topics) or not heard:
        raise UsageError("receive_any takes one topic or more, each once")
    seconds = None if timeout is None else _seconds(timeout)
    branch = _branch("receive_any")
    run = branch.run
    call = ReceiveCall(branch.path("receive_any"), heard, seconds, run.loop, several=True)
    return run.awaited(call)


def progress(value: Any) -> None:
    """Say how far this run is: a number, a text, anything that JSON can hold. The latest word counts.

    It costs no step and is not replayed; others read it with `run.progress()` and `run.watch()`, within about a second.
    """
    run = _branch("progress").run
    run.said.say(run.delivered, codec.encode(value))


def patch(name: str) -> bool:
    """Does this run take the new branch of the change *name*? See `Troth.patch`."""
    run = _branch("patch").run
    return run.patches.ask(run, name)


def limit(duration: timedelta | float) -> Limit:
    """`async with troth.timeout(5) as limit:`, see `Limit`."""
    seconds = _seconds(duration)
    return Limit(_branch("timeout"), seconds)


def saga() -> Saga:
    """`async with troth.saga():` scopes what is undone together.

    If the block fails with a business answer, or is cancelled, what was done inside is undone before the exception goes
    on; whoever catches it goes on with the rest of the run. If it does not fail, what was done is undone with the run.
    """
    return Saga(_branch("saga"))


WHERE = ("run_id", "workflow", "step", "attempt", "worker")
_NOWHERE = dict.fromkeys(WHERE, "-")


def whereabouts() -> dict[str, Any]:
    """Where in a run this is: `run_id` and `workflow`, in the body of a step also `step`, `attempt` and `worker`; or nothing."""
    step = step_context.get()
    if step is not None:
        return {
            "run_id": str(step.run_id),
            "workflow": step.workflow,
            "step": step.path,
            "attempt": step.attempt,
            "worker": step.worker,
        }
    branch = current_branch.get()
    if branch is None:
        return {}
    return {"run_id": str(branch.run.id), "workflow": branch.run.workflow.name}


class RunContextFilter(logging.Filter):
    """Gives every log record `run_id`, `workflow`, `step`, `attempt` and `worker`: where it was written, or '-'."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the attributes; never drops a record."""
        vars(record).update(_NOWHERE | whereabouts())
        return True


def _branch(what: str) -> Branch:
    branch = current_branch.get()
    if branch is None:
        msg = f"troth.{what} belongs into workflow code; here, use the ordinary thing"
        raise NotInRunError(msg)
    return branch


def _seed(name: str) -> bytes:
    branch = _branch(name)
    seed = branch.run.past.seed(branch.run.id, branch.run.delivered)
    return hashlib.blake2b(seed.bytes + branch.path(name).encode(), digest_size=32).digest()


def _seconds(duration: timedelta | float) -> float:
    seconds = duration.total_seconds() if isinstance(duration, timedelta) else float(duration)
    if not 0 <= seconds < 10**10:
        msg = f"a wait of {duration!r} is not possible"
        raise UsageError(msg)
    return seconds
