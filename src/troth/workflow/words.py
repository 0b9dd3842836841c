"""What workflow code says to `troth` beside its steps, with the types that depend on what is asked.

Each is a `staticmethod` spelled out, since `staticmethod(f)` has only the first overload of f for a type checker.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import timedelta
from typing import Any, Literal, NoReturn, TypeVar, overload

from troth.workflow import context, family, mapping, racing
from troth.workflow.calls import TimedOut
from troth.workflow.definition import StepDefinition, Workflow
from troth.workflow.mapping_model import Mapped, Page
from troth.workflow.topics import Received, Topic

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
T = TypeVar("T")
R = TypeVar("R")
OnError = Literal["stop", "continue"]
Seconds = timedelta | float


class Words:
    """Messages, limits, races and progress; and how a `def` waits for them."""

    @staticmethod
    def wait(awaitable: Awaitable[A]) -> A:
        """What `await` is in an `async def`, for the body of a `def` workflow: `user = troth.wait(find_user(1))`.

        It takes whatever could be awaited, such as `asyncio.gather(a(), b())`. Raises what that raises, and `UsageError`
        anywhere else than in such a body.
        """
        return context.wait(awaitable)

    @overload
    @staticmethod
    def receive(topic: Topic[A], *, timeout: Seconds) -> Coroutine[Any, Any, A | TimedOut]: ...
    @overload
    @staticmethod
    def receive(topic: Topic[A], *, timeout: None = None) -> Coroutine[Any, Any, A]: ...
    @overload
    @staticmethod
    def receive(
        topic: str, kind: type[A], *, timeout: Seconds
    ) -> Coroutine[Any, Any, A | TimedOut]: ...
    @overload
    @staticmethod
    def receive(topic: str, kind: type[A], *, timeout: None = None) -> Coroutine[Any, Any, A]: ...
    @overload
    @staticmethod
    def receive(topic: str, *, timeout: Seconds | None = None) -> Coroutine[Any, Any, Any]: ...
    @staticmethod
    def receive(
        topic: Topic[Any] | str, kind: Any = Any, *, timeout: Seconds | None = None
    ) -> Coroutine[Any, Any, Any]:
        """The next message of *topic* for this run, as its type; `TimedOut` if none comes in time."""
        return context.receive(topic, kind, timeout=timeout)

    @overload
    @staticmethod
    def receive_any(
        first: Topic[A], second: Topic[B], /, *, timeout: None = None
    ) -> Coroutine[Any, Any, Received[A] | Received[B]]: ...
    @overload
    @staticmethod
    def receive_any(
        first: Topic[A], second: Topic[B], /, *, timeout: Seconds
    ) -> Coroutine[Any, Any, Received[A] | Received[B] | TimedOut]: ...
    @overload
    @staticmethod
    def receive_any(
        first: Topic[A], second: Topic[B], third: Topic[C], /, *, timeout: None = None
    ) -> Coroutine[Any, Any, Received[A] | Received[B] | Received[C]]: ...
    @overload
    @staticmethod
    def receive_any(
        first: Topic[A], second: Topic[B], third: Topic[C], /, *, timeout: Seconds
    ) -> Coroutine[Any, Any, Received[A] | Received[B] | Received[C] | TimedOut]: ...
    @overload
    @staticmethod
    def receive_any(
        *topics: Topic[Any] | str, timeout: None = None
    ) -> Coroutine[Any, Any, Received[Any]]: ...
    @overload
    @staticmethod
    def receive_any(
        *topics: Topic[Any] | str, timeout: Seconds
    ) -> Coroutine[Any, Any, Received[Any] | TimedOut]: ...
    @staticmethod
    def receive_any(
        *topics: Topic[Any] | str, timeout: Seconds | None = None
    ) -> Coroutine[Any, Any, Any]:
        """The oldest message of any of these topics, with its topic; `TimedOut` if none comes in time.

        One call with one answer: messages of the other topics stay for later receives.
        """
        return context.receive_any(*topics, timeout=timeout)

    @overload
    @staticmethod
    def map(
        workflow: Workflow[[T], R],
        items: Sequence[T],
        *,
        key: Callable[[T], str] | None = None,
        concurrency: int = 100,
        on_error: OnError = "stop",
        results: bool = False,
    ) -> Coroutine[Any, Any, Mapped[R]]: ...
    @overload
    @staticmethod
    def map(
        workflow: Workflow[[T], R],
        items: StepDefinition[[C | None], Page[T, C]],
        *,
        concurrency: int = 100,
        on_error: OnError = "stop",
    ) -> Coroutine[Any, Any, Mapped[R]]: ...
    @staticmethod
    def map(
        workflow: Workflow[[Any], Any],
        items: Sequence[Any] | StepDefinition[[Any], Any],
        *,
        key: Callable[[Any], str] | None = None,
        concurrency: int = 100,
        on_error: OnError = "stop",
        results: bool = False,
    ) -> Coroutine[Any, Any, Mapped[Any]]:
        """Run *workflow* for each of the items, *concurrency* at once, and say what became of them.

        *items*: a sequence of up to 10,000, or a step or transaction that takes a cursor (None: the beginning) and gives a
        `Page`. *key*: makes of an item the start key of its run; an item whose run exists is not done again, and its
        outcome counts. *on_error*: "stop" cancels what is going when an item fails, and raises `MapError`; "continue"
        counts failures and tells the first 100. *results*: bring home what the runs returned; only of a sequence. Its
        progress is that of the run that waits for it, if this one says nothing itself. Raises `UsageError`.
        """
        return mapping.map_here(
            workflow, items, key=key, concurrency=concurrency, on_error=on_error, results=results
        )

    @staticmethod
    def continue_as(*args: Any) -> NoReturn:
        """End this run's code, and go on as a new run of the same workflow with these arguments, in one commit.

        It keeps the key, the place in line, the parent, the deadline and the messages that were not heard; who waits for
        this run waits for that one. What was done until now is done: no later failure undoes it. For loops that would make
        one journal grow for ever. Raises `UsageError` while something is under way.
        """
        family.continue_here(args)

    @staticmethod
    def progress(value: Any) -> None:
        """Say how far this run is, to whoever reads `run.progress()` or `run.watch()`; the latest word counts."""
        context.progress(value)

    @staticmethod
    def patch(name: str) -> bool:
        """`if troth.patch("reserve-first"):` lets code change under runs that are alive; true for those that come new to it.

        A run that has done something behind this place under the older code answers False, and stays with the `else`. The
        answer is recorded: it is the same wherever and whenever this run asks. `troth check` tells when no run needs the
        old branch any more. Raises `UsageError` for a name that is not up to 100 letters, digits, _ . -
        """
        return context.patch(name)

    @staticmethod
    def timeout(duration: Seconds) -> racing.Limit:
        """`async with troth.timeout(5) as limit:` ends the block with `TimeoutError` when the recorded time has passed."""
        return context.limit(duration)

    @overload
    @staticmethod
    def first(
        first: Awaitable[A], second: Awaitable[B], /
    ) -> Coroutine[Any, Any, tuple[int, A | B]]: ...
    @overload
    @staticmethod
    def first(
        first: Awaitable[A], second: Awaitable[B], third: Awaitable[C], /
    ) -> Coroutine[Any, Any, tuple[int, A | B | C]]: ...
    @overload
    @staticmethod
    def first(
        first: Awaitable[A],
        second: Awaitable[A],
        third: Awaitable[A],
        fourth: Awaitable[A],
        /,
        *more: Awaitable[A],
    ) -> Coroutine[Any, Any, tuple[int, A]]: ...
    @overload
    @staticmethod
    def first(first: Awaitable[A], /) -> Coroutine[Any, Any, tuple[int, A]]: ...
    @staticmethod
    def first(*racers: Awaitable[Any]) -> Coroutine[Any, Any, tuple[int, Any]]:
        """The number and the value of the one that ends first; the others are cancelled, and waited for.

        What a loser has sent is followed to its outcome, as in a run that is cancelled.
        """
        return racing.first(*racers)

    @staticmethod
    def as_completed(*racers: Awaitable[A]) -> racing.Completions[A]:
        """`async for number, value in troth.as_completed(a, b, c):` as they end, in the recorded order."""
        return racing.Completions(racers)
