"""Threads and executors of an attempt: they carry its context, and run to their end where they are started.

Calls that an executor's `map` makes at the same time may come in any order: each is explored (`fanout`), if each thread asks once.

Who starts a thread and waits for it before anything else happens is one strand with it, and the order of operations is forced. If somebody
asks something between the start of a thread that asks, too, and the moment in which it is waited for, the two could come in another
order, and that refuses the verdict; so does a thread that does not end by itself.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from concurrent.futures import _base
from contextlib import contextmanager, suppress
from contextvars import ContextVar, copy_context
from functools import partial
from typing import Any

from troth.lab.edge.attempt import Attempt, Helper, Stopped, current, helper
from troth.lab.edge.patch import replaced
from troth.lab.edge.tasks import strand
from troth.lab.model import Op

MOST_AT_ONCE = 4
_PATIENCE = 5.0
"""Seconds after which a thread that has not ended is taken for one that waits for its starter. That refuses, and decides nothing else."""

_start, _join, _submit = (
    threading.Thread.start,
    threading.Thread.join,
    futures.ThreadPoolExecutor.submit,
)
_map = futures.ThreadPoolExecutor.map
_shutdown = futures.ThreadPoolExecutor.shutdown
_wait, _as_completed = futures.wait, futures.as_completed
_for_the_loop: ContextVar[bool] = ContextVar("troth.lab.for_the_loop", default=False)


class Handed(futures.Future[Any]):
    """A future of a function that has run already."""

    helper: Helper

    def result(self, timeout: float | None = None) -> Any:
        self.helper.awaited = True
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self.helper.awaited = True
        return super().exception(timeout)


class Gate:
    """Where a thread that is one of several waits for its turn to ask.

    Args:
        attempt: for which it works.
        thread: it.
    """

    def __init__(self, attempt: Attempt, thread: threading.Thread) -> None:
        self.attempt = attempt
        self.thread = thread
        self.alone = False
        """Whether none of the others asks anything."""
        self._asked = 0
        self.waits = False
        """Whether it has something to ask."""
        self.arrived, self._opened = threading.Event(), threading.Event()

    def __call__(self, op: Op) -> None:
        """The thread is about to ask."""
        self.waits = True
        self.arrived.set()
        self._opened.wait()
        if self.attempt.refused:
            raise Stopped
        self._asked += op.kind not in {"connect", "setting"}
        if self._asked > 1 and not self.alone:
            self.attempt.refuse(
                "threads beside each other ask more than once each; that is not explored yet"
            )

    def wait(self) -> None:
        """Until the thread is about to ask, or has ended."""
        if not self.arrived.wait(_PATIENCE):
            self.attempt.refuse(
                f"the thread {self.thread.name} waits for another; that is not explored yet"
            )

    def open(self) -> None:
        """Let it go on, and end."""
        self._opened.set()
        _join(self.thread, _PATIENCE)


def _run(attempt: Attempt, thread: threading.Thread) -> Helper:
    """Start it, and let it end."""
    mine = _begin(attempt, thread)
    _join(thread, _PATIENCE)
    if thread.is_alive():
        attempt.refuse(
            f"the thread {thread.name} waits for the one that has started it; that is not explored yet"
        )
    if attempt.refused:
        raise Stopped
    return mine


def _begin(attempt: Attempt, thread: threading.Thread, gate: Gate | None = None) -> Helper:
    """Start it, as one that works for the attempt."""
    mine = Helper(helper.get())
    mine.gate = gate
    attempt.helpers.append(mine)
    context = copy_context()
    context.run(helper.set, mine)
    run = thread.run

    def carried() -> None:
        try:
            with suppress(Stopped):
                context.run(run)
        finally:
            if gate is not None:
                gate.arrived.set()

    thread.run = carried  # type: ignore[method-assign]
    thread.daemon = True  # one that hangs must not keep the test's process
    _start(thread)
    return mine


def _lab_start(self: threading.Thread) -> None:
    attempt = current.get()
    if attempt is None or attempt.refused or _is_a_worker(self):
        _start(self)
    else:
        vars(self)["_lab_helper"] = _run(attempt, self)


def _lab_join(self: threading.Thread, timeout: float | None = None) -> None:
    if (mine := vars(self).get("_lab_helper")) is not None:
        mine.awaited = True
    _join(self, timeout)


def _lab_submit(
    self: futures.ThreadPoolExecutor, function: Callable[..., Any], /, *args: Any, **kwargs: Any
) -> futures.Future[Any]:
    attempt = current.get()
    if attempt is None or attempt.refused or _for_the_loop.get():
        return _submit(self, function, *args, **kwargs)
    made, thread = _handed(self, partial(function, *args, **kwargs))
    made.helper = _run(attempt, thread)
    vars(self).setdefault("_lab_handed", []).append(made.helper)
    return made


def _handed(
    executor: futures.ThreadPoolExecutor, function: Callable[[], Any]
) -> tuple[Handed, threading.Thread]:
    """What an executor gives out for a function, and a thread that does it."""
    if executor._shutdown:  # noqa: SLF001  (as its own `submit` does)
        raise RuntimeError("cannot schedule new futures after shutdown")
    made = Handed()

    def work() -> None:
        made.set_running_or_notify_cancel()
        try:
            if initialize := getattr(executor, "_initializer", None):
                initialize(*getattr(executor, "_initargs", ()))
            made.set_result(function())
        except Exception as error:  # noqa: BLE001  (whoever waits gets it)
            made.set_exception(error)

    return made, threading.Thread(target=work)


def _lab_map(
    self: futures.ThreadPoolExecutor,
    function: Callable[..., Any],
    *iterables: Any,
    timeout: float | None = None,
    chunksize: int = 1,
) -> Iterator[Any]:
    attempt = current.get()
    calls = list(zip(*iterables, strict=False))
    if attempt is None or attempt.refused or len(calls) < 2 or _for_the_loop.get():
        return _map(self, function, *zip(*calls, strict=True), timeout=timeout, chunksize=chunksize)
    made = [_handed(self, partial(function, *call)) for call in calls]
    fanned = fanout(attempt, [thread for _, thread in made], self._max_workers)
    for (future, _), mine in zip(made, fanned, strict=True):
        future.helper = mine
        vars(self).setdefault("_lab_handed", []).append(mine)
    if len(calls) > self._max_workers and any(_base.Future.exception(one) for one, _ in made):
        attempt.refuse(
            "of the calls of map, some would not be made when one has failed; that is not explored yet"
        )
    return (future.result() for future, _ in made)


def fanout(attempt: Attempt, threads: list[threading.Thread], at_once: int) -> list[Helper]:
    """Run threads that are beside each other, in an order that the lab chooses. Each comes as far as its first question, then they take turns."""
    gates = [Gate(attempt, thread) for thread in threads]
    helpers = []
    try:
        for one in gates:
            helpers.append(_begin(attempt, one.thread, one))
            one.wait()
        asking = [one for one in gates if one.waits]
        if len(asking) > MOST_AT_ONCE:
            attempt.refuse(
                f"{len(asking)} threads act beside each other; up to {MOST_AT_ONCE} are explored"
            )
        turns: Any = range(len(asking))
        if len(asking) > 1 and at_once > 1:
            turns = attempt.ask(Op("order", params=(len(asking), at_once))).value
        for turn in turns:
            asking[turn].alone = len(asking) == 1 or at_once == 1
            asking[turn].open()
            for mine in helpers:
                mine.awaited = True
    finally:
        for one in gates:
            one.open()
    if attempt.refused:
        raise Stopped
    for mine in helpers:
        mine.awaited = False
    return helpers


def _lab_shutdown(self: futures.ThreadPoolExecutor, wait: bool = True, **options: Any) -> None:
    if wait:
        for one in vars(self).get("_lab_handed", ()):
            one.awaited = True
    _shutdown(self, wait, **options)


def _waiting(real: Callable[..., Any]) -> Callable[..., Any]:
    def waited(given: Any, *args: Any, **kwargs: Any) -> Any:
        listed = list(given)
        for one in listed:
            if isinstance(one, Handed):
                one.helper.awaited = True
        return real(listed, *args, **kwargs)

    return waited


def _in_executor(real: Any) -> Any:
    """A function that a loop hands to an executor has the context of its caller, who waits for it."""

    def run_in_executor(self: Any, executor: Any, function: Any, *args: Any) -> Any:
        if current.get() is None:
            return real(self, executor, function, *args)
        mine, context = strand.get(), copy_context()
        token = _for_the_loop.set(True)
        try:
            future = real(self, executor, partial(context.run, function), *args)
        finally:
            _for_the_loop.reset(token)
        if mine is not None:
            mine.threads += 1

            def over(_: Any) -> None:
                mine.threads -= 1

            future.add_done_callback(over)
        return future

    return run_in_executor


def _is_a_worker(thread: threading.Thread) -> bool:
    """Workers of anyio and of executors run what was handed to them in the caller's context, and it waits."""
    target = getattr(thread, "_target", None)
    module = type(thread).__module__ + "," + getattr(target, "__module__", "")
    return "anyio" in module or "concurrent.futures.thread" in module


@contextmanager
def caught() -> Iterator[None]:
    """Threads belong to their attempt while the context lasts."""
    loop = asyncio.base_events.BaseEventLoop
    with replaced({
        (threading.Thread, "start"): _lab_start,
        (threading.Thread, "join"): _lab_join,
        (futures.ThreadPoolExecutor, "submit"): _lab_submit,
        (futures.ThreadPoolExecutor, "map"): _lab_map,
        (futures.ThreadPoolExecutor, "shutdown"): _lab_shutdown,
        (futures, "wait"): _waiting(_wait),
        (futures, "as_completed"): _waiting(_as_completed),
        (_base, "wait"): _waiting(_wait),
        (loop, "run_in_executor"): _in_executor(loop.run_in_executor),
    }):  # fmt: skip
        yield
