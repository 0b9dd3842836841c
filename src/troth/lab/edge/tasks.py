"""Tasks and worker threads of an attempt: all are followed, and only one may be able to run when an operation is asked.

Then the order of operations is forced: every other task waits, directly or not, for the one that asks. If two could run,
their operations could come in another order, which is not explored yet. A task that can run but does nothing before it
waits is no rival, so where it is possible the lab lets the others come to rest first (`settle`).
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar, copy_context
from typing import Any

from troth.lab.edge.attempt import Attempt, current
from troth.lab.edge.patch import replaced

_TURNS = 50
_yield = asyncio.sleep  # the real one
strand: ContextVar[Strand | None] = ContextVar("troth.lab.strand", default=None)


class Strand:
    """A task of an attempt, and the worker threads that it waits for."""

    def __init__(self) -> None:
        self.task: asyncio.Task[Any] | None = None
        self.threads = 0
        self.settling = False
        """Whether it is about to act and lets the others go first: so it is no rival of theirs."""

    @property
    def able_to_run(self) -> bool:
        """Whether it, or a thread that works for it, could do something now."""
        if self.task is None or self.task.done() or self.settling:
            return False
        awaited = self.task._fut_waiter  # type: ignore[attr-defined]  # noqa: SLF001  (what a task waits for has no other name)
        return self.threads > 0 or awaited is None or awaited.done()


def create(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any
) -> asyncio.Task[Any]:
    """The task factory of the lab's loop: tasks belong to the attempt that creates them."""
    attempt = current.get()
    if attempt is None:
        return asyncio.Task(coroutine, loop=loop, **options)
    mine = Strand()
    context = options.pop("context", None) or copy_context()
    context.run(strand.set, mine)
    mine.task = asyncio.Task(_started(coroutine, attempt), loop=loop, context=context, **options)
    attempt.strands.append(mine)
    return mine.task


async def _started(coroutine: Coroutine[Any, Any, Any], attempt: Attempt) -> Any:
    """Begin when the one that started it waits, as it nearly always does at once."""
    try:
        await _rest(attempt)
    except BaseException:
        coroutine.close()
        raise
    return await coroutine


async def settle(attempt: Attempt) -> None:
    """Before an operation: let the other tasks come to rest. If they do something on the way, they are rivals."""
    mine = strand.get()
    if mine is None:
        return
    if any(other.settling for other in attempt.strands):
        attempt.refuse_concurrency()
    before = attempt.operations
    mine.settling = True
    try:
        await _rest(attempt)
    finally:
        mine.settling = False
    if attempt.operations != before:
        attempt.refuse_concurrency()


async def _rest(attempt: Attempt) -> None:
    for _ in range(_TURNS):
        if not attempt.rivals():
            return
        await _yield(0)


@contextmanager
def caught() -> Iterator[None]:
    """Worker threads that carry the context of their caller are counted while the context lasts."""
    with ExitStack() as stack:
        stack.enter_context(replaced({(asyncio, "to_thread"): _counted(asyncio.to_thread)}))
        if (module := sys.modules.get("anyio.to_thread")) is not None:
            stack.enter_context(replaced({(module, "run_sync"): _counted(module.run_sync)}))
        yield


def _counted(run: Any) -> Any:
    async def counted(*args: Any, **kwargs: Any) -> Any:
        mine = strand.get()
        if mine is None:
            return await run(*args, **kwargs)
        mine.threads += 1
        try:
            return await run(*args, **kwargs)
        finally:
            mine.threads -= 1

    return counted
