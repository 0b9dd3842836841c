"""Time limits and races inside workflow code. What wins is what the journal says came first, so a replay has it win again."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Iterator
from functools import partial
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from troth.base.errors import UsageError
from troth.workflow.calls import SleepCall
from troth.workflow.failures import is_answer
from troth.workflow.runloop import Branch, current_branch

T = TypeVar("T")


class Limit:
    """`async with troth.timeout(5) as limit:` cancels the block when the recorded time has passed, with `TimeoutError`.

    A `def` writes `with`. As `asyncio.timeout`, but the time is a wait in the journal beside the block: it ends when it was to end whoever dies,
    and a replay ends it at the same place.
    """

    def __init__(self, branch: Branch, seconds: float) -> None:
        self._branch = branch
        self._seconds = seconds
        self._task: asyncio.Task[Any] | None = None
        self._wait: asyncio.Future[Any] | None = None
        self._cancelling = 0
        self.expired = False  # the time has passed before the block had ended

    async def __aenter__(self) -> Self:
        return self.__enter__()

    def __enter__(self) -> Self:
        if self._task is not None:
            raise UsageError("a troth.timeout is entered once: make another one")
        self._task = asyncio.current_task()
        assert self._task is not None
        self._cancelling = self._task.cancelling()
        run = self._branch.run
        call = SleepCall(self._branch.path("timeout"), self._seconds, run.loop)
        run.begin_call(call)
        self._wait = call.future
        self._wait.add_done_callback(self._passed)
        return self

    def _passed(self, wait: asyncio.Future[Any]) -> None:
        if not wait.cancelled() and self._wait is not None:
            assert self._task is not None
            self.expired = True
            self._task.cancel()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, tb)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        assert self._wait is not None
        assert self._task is not None
        wait, self._wait = self._wait, None
        wait.cancel()
        # A cancellation that comes from elsewhere, too, goes on as what it is.
        if (
            self.expired
            and self._task.uncancel() <= self._cancelling
            and kind is asyncio.CancelledError
        ):
            msg = f"the block has not ended within {self._seconds:g} s"
            raise TimeoutError(msg) from error


async def first(*racers: Awaitable[Any]) -> tuple[int, Any]:
    """Wait for the first of them; its number and its value, or its exception. The others are cancelled, and waited for.

    A loser's business answer is dropped with it; a bug of a loser is raised.
    """
    if not racers:
        raise UsageError("troth.first takes something to wait for")
    branch = current_branch.get()
    declared = branch.run.workflow.fails_on if branch is not None else ()
    tasks = [asyncio.ensure_future(racer) for racer in racers]
    won: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def ended(number: int, _: asyncio.Future[Any]) -> None:
        if not won.done():
            won.set_result(number)

    for place, task in enumerate(tasks):
        task.add_done_callback(partial(ended, place))
    number: int | None = None
    try:
        number = await won
    finally:
        losers = [task for n, task in enumerate(tasks) if n != number]
        for loser in losers:
            loser.cancel()
        for ending in await asyncio.gather(*losers, return_exceptions=True):
            if isinstance(ending, Exception) and not is_answer(ending, declared):
                raise ending
    return number, tasks[number].result()


class Completions(Generic[T]):
    """`async for number, value in troth.as_completed(a, b, c)`: in the order in which they ended, which is recorded.

    A `def` writes `for`. An exception of one of them is raised where it is its turn; the loop over the rest may go on with `anext`. Leaving the
    loop early cancels nothing.
    """

    def __init__(self, racers: tuple[Awaitable[T], ...]) -> None:
        self._ended: deque[tuple[int, asyncio.Future[T]]] = deque()
        self._news = asyncio.Event()
        self._left = len(racers)
        for number, racer in enumerate(racers):
            task = asyncio.ensure_future(racer)
            task.add_done_callback(partial(self._end, number))

    def __aiter__(self) -> Completions[T]:
        return self

    def __iter__(self) -> Iterator[tuple[int, T]]:
        from troth.workflow.def_bodies import wait

        while self._left:
            yield wait(self.__anext__())

    async def __anext__(self) -> tuple[int, T]:
        if not self._left:
            raise StopAsyncIteration
        while not self._ended:
            self._news.clear()
            await self._news.wait()
        self._left -= 1
        number, task = self._ended.popleft()
        return number, task.result()

    def _end(self, number: int, task: asyncio.Future[T]) -> None:
        self._ended.append((number, task))
        self._news.set()
