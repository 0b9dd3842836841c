"""The event loop that a workflow runs on: deterministic, one per run, without clock and without I/O.

It is a real asyncio loop as far as tasks, futures, locks and queues are concerned, so `gather`, `TaskGroup` and
`create_task` work unchanged; but it runs only when the engine drains it, and it is drained until nothing is ready
before the next result is delivered. So what a workflow does depends on nothing but the order of deliveries, which the
journal records. Whatever would make it depend on something else (timers, sockets, threads) is refused, with the line.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import itertools
import logging
import traceback
from collections import deque
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, NoReturn

from troth.base.errors import WorkflowCodeError

if TYPE_CHECKING:
    from troth.workflow.run import ActiveRun
    from troth.workflow.saga import Scope

log = logging.getLogger("troth.workflow")


class Branch:
    """A line of control inside a run: the main one, or that of a task. It names the calls made on it."""

    __slots__ = ("_children", "_counts", "_prefix", "run", "scope")

    def __init__(self, run: ActiveRun, scope: Scope, prefix: str = "") -> None:
        self.run = run
        self.scope = scope  # what is undone together with the calls that are made here
        self._prefix = prefix
        self._counts: dict[str, int] = {}
        self._children = 0

    @property
    def is_main(self) -> bool:
        """Is it that of the workflow itself, and not of a task?"""
        return not self._prefix

    def child(self) -> Branch:
        """The branch of a task that is created on this one."""
        number = self._children
        self._children += 1
        inner = f"{self._prefix[:-1]}.{number}:" if self._prefix else f"{number}:"
        return Branch(self.run, self.scope, inner)

    def path(self, name: str) -> str:
        """The identity of the next call of *name* here: branch, name and, from the second on, occurrence."""
        count = self._counts.get(name, 0) + 1
        self._counts[name] = count
        return f"{self._prefix}{name}" if count == 1 else f"{self._prefix}{name}#{count}"


current_branch: contextvars.ContextVar[Branch | None] = contextvars.ContextVar(
    "troth_branch", default=None
)

_REFUSED = {
    "call_later": "a timer (asyncio.sleep, asyncio.timeout, wait_for): use troth.sleep",
    "call_at": "a timer (asyncio.sleep, asyncio.timeout, wait_for): use troth.sleep",
    "time": "the loop's clock (asyncio.timeout, wait_for): use troth.now and troth.sleep",
    "run_in_executor": "a thread: put it into a step",
    "call_soon_threadsafe": "a thread: put it into a step",
    "getaddrinfo": "the network: put it into a step",
    "create_connection": "the network: put it into a step",
    "create_server": "the network: put it into a step",
    "create_unix_connection": "the network: put it into a step",
    "create_datagram_endpoint": "the network: put it into a step",
    "sock_connect": "the network: put it into a step",
    "sock_recv": "the network: put it into a step",
    "sock_sendall": "the network: put it into a step",
    "add_reader": "the network: put it into a step",
    "add_writer": "the network: put it into a step",
    "subprocess_exec": "a process: put it into a step",
    "subprocess_shell": "a process: put it into a step",
}


class RunLeftMemoryError(BaseException):
    """Workflow code goes on in a `finally` while its run leaves memory. Not an `Exception`: nobody is to handle it."""


class RunTask(asyncio.Task[Any]):
    """A task that sets iterate over in a repeatable order: `TaskGroup` keeps its tasks in a set, and cancels them."""

    def __init__(
        self,
        number: int,
        coro: Coroutine[Any, Any, Any],
        loop: RunLoop,
        context: contextvars.Context,
    ) -> None:
        self._number = number  # first, since a task is hashed while it is made
        super().__init__(coro, loop=loop, context=context)

    def __hash__(self) -> int:
        return self._number


class RunLoop(asyncio.AbstractEventLoop):
    """Runs the tasks of one run, when told to."""

    def __init__(self) -> None:
        self._ready: deque[
            tuple[Callable[..., object], tuple[Any, ...], contextvars.Context | None]
        ]
        self._ready = deque()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._numbers = itertools.count()

    def dispose(self) -> None:
        """The run leaves memory: close what its tasks were doing. It is not the end of the run."""
        for task in list(self._tasks):
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001
            coroutine = task.get_coro()
            if coroutine is not None:
                # A `finally` that awaits raises, and others may: they will run when the run really gets there.
                with contextlib.suppress(Exception, RunLeftMemoryError):
                    coroutine.close()
        self._tasks.clear()
        self._ready.clear()

    def drain(self) -> None:
        """Run everything that is ready, and what that makes ready, until nothing is."""
        ready = self._ready
        if not ready:
            return
        outer = asyncio._get_running_loop()  # noqa: SLF001  (meant for implementers of loops)
        asyncio._set_running_loop(self)  # noqa: SLF001
        try:
            while ready:
                callback, args, context = ready.popleft()
                try:
                    if context is None:
                        callback(*args)
                    else:
                        context.run(callback, *args)
                except Exception as error:  # noqa: BLE001  (as asyncio's own loops do)
                    self.call_exception_handler({"message": str(callback), "exception": error})
        finally:
            asyncio._set_running_loop(outer)  # noqa: SLF001

    def call_soon(  # type: ignore[override]  # without a handle: nobody cancels, and it is made at every delivery
        self,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> None:
        """Run *callback* in this or the next drain. It cannot be cancelled."""
        self._ready.append((callback, args, context))

    def create_future(self) -> asyncio.Future[Any]:
        """A future that wakes its waiters in this loop."""
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self,
        coro: Coroutine[Any, Any, Any],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
        **_: Any,
    ) -> asyncio.Task[Any]:
        """A task on a branch of its own, numbered in the order of creation."""
        context = contextvars.copy_context() if context is None else context
        parent = current_branch.get()
        if parent is not None:
            context.run(current_branch.set, parent.child())
        task = self.task(coro, context)
        if name is not None:
            task.set_name(name)
        return task

    def task(
        self, coro: Coroutine[Any, Any, Any], context: contextvars.Context
    ) -> asyncio.Task[Any]:
        """A task in this very context, remembered until it is done."""
        task = RunTask(next(self._numbers), coro, self, context)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def get_debug(self) -> bool:
        """Never."""
        return False

    def is_running(self) -> bool:
        """Whoever asks is being run."""
        return True

    def is_closed(self) -> bool:
        """It holds nothing that could be closed."""
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Log what a task left behind."""
        error = context.get("exception")
        log.error("in a workflow: %s", context.get("message"), exc_info=error)

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """The same."""
        self.call_exception_handler(context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """There are no timers."""

    async def shutdown_asyncgens(self) -> None:
        """Asynchronous generators of a workflow hold nothing outside it."""


def _refuse(what: str) -> Callable[..., NoReturn]:
    def refused(*_: Any, **__: Any) -> NoReturn:
        raise WorkflowCodeError(f"workflow code used {what}.{_users_line()}")

    return refused


for _name, _what in _REFUSED.items():
    setattr(RunLoop, _name, _refuse(_what))


def _users_line() -> str:
    """Where in the user's code this happened."""
    for frame in reversed(traceback.extract_stack()):
        if "/asyncio/" not in frame.filename and "/troth/workflow/" not in frame.filename:
            return f" ({frame.filename}:{frame.lineno}: {frame.line})"
    return ""
