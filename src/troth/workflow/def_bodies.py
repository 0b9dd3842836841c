"""Bodies of `def` workflows: plain functions that wait where an `async def` would await.

Such a body runs in a greenlet, on the run's own loop and in its thread: `troth.wait` hands what is to be awaited to a
coroutine, which awaits it and goes back into the body with the answer. So the rest of the engine sees a coroutine like any
other: the same order of deliveries, the same replay, and no thread, while it runs or while it waits.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import greenlet

from troth.base.errors import NotInRunError, UsageError
from troth.workflow.runloop import RunLeftMemoryError, current_branch

T = TypeVar("T")

# An attribute of the greenlets that are bodies: has the run left memory? Others do not have it.
_LEFT = "troth_run_left_memory"

log = logging.getLogger("troth.workflow")


async def run_body(function: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
    """Call a `def` workflow function, and await for it whatever it waits for."""
    here = greenlet.getcurrent()
    body = greenlet.greenlet(function, here)
    body.gr_context = here.gr_context  # one context, as one coroutine would have
    setattr(body, _LEFT, False)
    asked = body.switch(*args, **kwargs)
    while not body.dead:
        try:
            answer = await asked
        except GeneratorExit:  # this coroutine is closed
            _leave(body)
            raise
        except BaseException as error:  # noqa: BLE001  (a cancellation, too, is the body's to handle)
            body.parent = greenlet.getcurrent()
            asked = body.throw(error)
        else:
            body.parent = greenlet.getcurrent()
            asked = body.switch(answer)
    result: T = asked
    return result


def _leave(body: Any) -> None:
    """End a body whose run leaves memory. Each `finally` runs, as in a coroutine that is closed; it can wait for nothing."""
    setattr(body, _LEFT, True)
    body.parent = greenlet.getcurrent()
    try:
        body.throw(RunLeftMemoryError())
    except RunLeftMemoryError:
        pass
    except Exception as error:  # noqa: BLE001  (raised where it matters when the run really gets there)
        log.debug("while its run left memory, workflow code raised %r", error)


def wait(awaitable: Awaitable[T]) -> T:
    """Leave the body until *awaitable* has its answer; that, or what it raises. `UsageError` elsewhere."""
    body = greenlet.getcurrent()
    left: bool | None = getattr(body, _LEFT, None)
    given: Any = awaitable
    if left is False and inspect.isawaitable(given):
        answer: T = body.parent.switch(given)
        return answer
    if inspect.iscoroutine(given):
        given.close()  # nobody will await it, and that is being told
    if left:
        raise RunLeftMemoryError
    raise _misplaced() if left is None else _not_awaitable(given)


def require_body(word: str) -> None:
    """Raise `UsageError` unless this is the body of a `def` workflow."""
    if getattr(greenlet.getcurrent(), _LEFT, None) is None:
        msg = f"`with troth.{word}` is for the body of a `def` workflow; in an `async def` write `async with`"
        raise UsageError(msg)


def _misplaced() -> UsageError:
    if current_branch.get() is not None:
        return UsageError(
            "troth.wait is for the body of a `def` workflow; in an `async def`, await"
        )
    return NotInRunError(
        "troth.wait belongs into the body of a `def` workflow. Elsewhere an `async def` awaits, and threads start runs "
        "and wait for them with troth.blocking"
    )


def _not_awaitable(given: object) -> UsageError:
    return UsageError(
        f"troth.wait takes what an `async def` would await, like a call of a step, not {given!r}"
    )
