"""`troth.map`: one workflow for each of many items, in bounded memory and with journals that do not grow with them.

The items are cut into chunks. Each chunk is a run that starts its items' runs, so many at once, and keeps nothing of them
but a tally; the mapping run adds up the tallies. Items that come by pages are read one page after another, each in a run
of its own, by a run that knows no more than the cursor and the tally, and that goes on as a new one now and then.

What is here on the way in is said by the caller (`map_here`); the rest is workflow code that every program has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import msgspec

from troth.base import codec
from troth.base.errors import (
    KeyConflictError,
    NotInRunError,
    Refused,
    RunCancelledError,
    RunFailedError,
    TrothError,
    UnknownWorkflowError,
    UsageError,
)
from troth.workflow import context, family
from troth.workflow.definition import StepDefinition, Workflow
from troth.workflow.failures import is_answer, message_of, name_of
from troth.workflow.run import ActiveRun
from troth.workflow.runloop import Branch, current_branch

T = TypeVar("T")
C = TypeVar("C")
R = TypeVar("R")

SEQUENCE_LIMIT = 10_000  # items that lie in one journal
CHUNK = 200  # items of one run
STREAM = 25  # children at once that are worth a chunk of their own
PAGES_OF_ONE_RUN = 200  # then the mapping goes on as a new run
FAILURES_TOLD = 100
CONCURRENCY_LIMIT = 10_000


class MapError(TrothError):
    """An item of a `troth.map` has failed, and so the mapping has. A business answer, as that of a child.

    `number` is the item's (from 0), `key` its key, `error_type` and `message` say what its run failed with.
    """

    def __init__(self, workflow: str, failure: Failure) -> None:
        key = f" (key {failure.key!r})" if failure.key is not None else ""
        super().__init__(
            f"item {failure.number}{key} of {workflow}: {failure.error_type}: {failure.message}"
        )
        self.number = failure.number
        self.key = failure.key
        self.error_type = failure.error_type
        self.message = failure.message


class Page(msgspec.Struct, Generic[T, C], frozen=True):
    """Some of the items, and where the next ones are: a cursor, or None after the last page.

    *keys*: one start key for each item, in the same order; None: the items have none.
    """

    items: list[T]
    next: C | None = None
    keys: list[str] | None = None


class Failure(msgspec.Struct, frozen=True):
    """An item that failed: its number (from 0), its key, and what its run said."""

    number: int
    key: str | None
    error_type: str
    message: str


@dataclass(frozen=True, slots=True)
class Mapped(Generic[R]):
    """What became of a mapping. *failures* tells the first 100; *results*, if asked for: of what was done, in order."""

    total: int
    done: int
    failed: int
    failures: list[Failure] = field(default_factory=list)
    results: list[R] = field(default_factory=list)


# What travels between the runs ------------------------------------------------------------------------------------------


class Plan(msgspec.Struct, frozen=True):
    """What is to be done with every item. *keep*: bring the results home."""

    workflow: str
    concurrency: int
    stop: bool
    keep: bool
    partition: str | None
    priority: int | None
    pages: str | None = None  # the step that gives them


class Item(msgspec.Struct, frozen=True, array_like=True):
    """The arguments of one run, as they are stored, and its key."""

    arguments: msgspec.Raw
    key: str | None


class Result(msgspec.Struct, frozen=True, array_like=True):
    """What the run of an item returned."""

    number: int
    value: msgspec.Raw


class Tally(msgspec.Struct, frozen=True):
    """How many, and what is worth telling of them."""

    done: int = 0
    failed: int = 0
    failures: list[Failure] = []
    results: list[Result] = []

    def __add__(self, other: Tally) -> Tally:
        first = sorted([*self.failures, *other.failures], key=lambda failure: failure.number)
        return Tally(
            self.done + other.done,
            self.failed + other.failed,
            first[:FAILURES_TOLD],
            self.results + other.results,
        )

    @property
    def total(self) -> int:
        """Items that have come to an end."""
        return self.done + self.failed


class Turn(msgspec.Struct, frozen=True):
    """What became of one page, and where the next one is, as JSON of the step's cursor."""

    tally: Tally
    next: Any


class PartCall(family.ChildCall):
    """A run that does a part of a mapping: it is undone only if its items owe something."""

    __slots__ = ()

    def follow(self, run: ActiveRun, value: Any, error: BaseException | None) -> None:
        """Remembered if it owes: most mappings have nothing to be undone."""
        if self.owes:
            super().follow(run, value, error)


class ItemCall(family.ChildCall):
    """The run of an item: it stands in line where the caller does."""

    __slots__ = ("partition", "priority")

    def __init__(
        self, plan: Plan, workflow: Workflow[Any, Any], encoded: bytes, at: Branch
    ) -> None:
        super().__init__(at.path(workflow.name), workflow, encoded, at.run.loop, at.scope)
        self.partition, self.priority = plan.partition, plan.priority

    @property
    def order(self) -> family.Order:
        """What to start."""
        assert self.workflow is not None
        return family.Order(
            self.workflow, self.encoded, priority=self.priority, partition=self.partition
        )


# In the caller ----------------------------------------------------------------------------------------------------------


def map_here(
    workflow: Workflow[Any, R],
    items: Sequence[Any] | StepDefinition[Any, Any],
    *,
    key: Callable[[Any], str] | None,
    concurrency: int,
    on_error: str,
    results: bool,
) -> Coroutine[Any, Any, Mapped[R]]:
    """Fix the identity of a mapping; it begins when it is awaited. Raises `UsageError` for what cannot be mapped."""
    branch = _branch()
    _check(workflow, concurrency, on_error)
    family.require_known(branch, workflow)
    run = branch.run
    pages = items if isinstance(items, StepDefinition) else None
    # What was done must be brought home to be undone; pages are not undone by themselves.
    keep = results or (pages is None and workflow.undoing is not None)
    plan = Plan(
        workflow.name, concurrency, on_error == "stop", keep, run.partition, run.priority,
        None if pages is None else pages.name,
    )  # fmt: skip
    if pages is not None:
        _check_pages(branch, pages, key, results)
        call = _part(branch, PAGES, (plan, None, Tally()))
        return _mapped(run, call, workflow, results)
    made = list(_items(workflow, items, key))
    return _mapped(run, _part(branch, MAP, (plan, made, 0)), workflow, results)


async def _mapped(
    run: ActiveRun, call: PartCall, workflow: Workflow[Any, R], results: bool
) -> Mapped[R]:
    tally: Tally = await family.joined(run, call)
    values: list[R] = []
    if results:
        ordered = sorted(tally.results, key=lambda result: result.number)
        values = [workflow.result.decode(bytes(result.value)) for result in ordered]
    return Mapped(tally.total, tally.done, tally.failed, tally.failures, values)


def _items(
    workflow: Workflow[Any, Any], items: Any, key: Callable[[Any], str] | None
) -> Iterator[Item]:
    if isinstance(items, str | bytes) or not isinstance(items, Sequence):
        msg = (
            f"troth.map({workflow.name}, …) takes a list or another sequence, or a step that gives pages, not a "
            f"{type(items).__qualname__}"
        )
        raise UsageError(msg)
    if len(items) > SEQUENCE_LIMIT:
        msg = (
            f"troth.map({workflow.name}, …): {len(items)} items are too many for one journal, which holds "
            f"{SEQUENCE_LIMIT}: give a step that reads them by pages instead"
        )
        raise UsageError(msg)
    for number, item in enumerate(items):
        named = None if key is None else key(item)
        if key is not None and (not isinstance(named, str) or not named):
            msg = f"troth.map({workflow.name}, …): key= gave {named!r} for item {number}, which is no start key"
            raise UsageError(msg)
        yield _item(workflow, item, named)


def _item(workflow: Workflow[Any, Any], item: Any, key: str | None) -> Item:
    encoded = workflow.arguments.encode((item,), {})
    if not workflow.arguments.are_plain((item,), {}):
        workflow.arguments.decode(encoded)  # a wrong type is told to the caller, not to the run
    return Item(msgspec.Raw(encoded), key)


def _check(workflow: object, concurrency: int, on_error: str) -> None:
    if not isinstance(workflow, Workflow):
        msg = f"troth.map: {workflow!r} is not a workflow: decorate it with @troth.workflow"
        raise UsageError(msg)
    if type(concurrency) is not int or not 1 <= concurrency <= CONCURRENCY_LIMIT:
        msg = f"troth.map({workflow.name}, …): concurrency={concurrency!r} is not a number from 1 to {CONCURRENCY_LIMIT}"
        raise UsageError(msg)
    if on_error not in {"stop", "continue"}:
        msg = (
            f"troth.map({workflow.name}, …): on_error={on_error!r} is neither 'stop' nor 'continue'"
        )
        raise UsageError(msg)


def _check_pages(
    branch: Branch, pages: StepDefinition[Any, Any], key: object, results: bool
) -> None:
    if results:
        msg = f"troth.map over the pages of {pages.name} brings no results home: have the items' runs store them"
        raise UsageError(msg)
    if key is not None:
        msg = f"troth.map over the pages of {pages.name} takes the keys from the pages: Page(items, next, keys=[…])"
        raise UsageError(msg)
    home = branch.run.workflow.home
    if home is not None and home.program.steps.get(pages.name) is not pages:
        msg = f"{pages.name} is a step of another program than {branch.run.workflow.name}"
        raise UsageError(msg)


# In the runs of a mapping -----------------------------------------------------------------------------------------------

MAP, PAGES, PAGE, CHUNK_RUN, UNDO = (
    "troth.map", "troth.map.pages", "troth.map.page", "troth.map.chunk", "troth.map.undo",
)  # fmt: skip


async def map_items(plan: Plan, items: list[Item], first: int) -> Tally:
    """All items of a sequence, or of a page; *first* is the number of the first one."""
    if len(items) <= CHUNK:
        return await map_chunk(plan, items, first)
    starts = range(0, len(items), CHUNK)
    streams = max(1, min(plan.concurrency // STREAM, len(starts)))
    waiting, tally, run = iter(starts), Tally(), _branch().run

    async def stream(number: int) -> None:
        nonlocal tally
        share = plan.concurrency // streams + (number < plan.concurrency % streams)
        part = msgspec.structs.replace(plan, concurrency=share)
        for start in waiting:
            arguments = (part, items[start : start + CHUNK], first + start)
            done: Tally = await family.joined(run, _part(_branch(), CHUNK_RUN, arguments))
            tally += done  # not in one line: it would add to what the tally was before the wait
            _say(tally, len(items))

    await _together([stream(number) for number in range(streams)])
    return tally


async def map_chunk(plan: Plan, items: list[Item], first: int) -> Tally:
    """The items of a chunk, so many at once."""
    workflow = _workflow(plan.workflow)
    waiting = iter(enumerate(items, first))
    done, failed = 0, 0
    failures: list[Failure] = []
    results: list[Result] = []

    async def stream() -> None:
        nonlocal done, failed
        for number, item in waiting:
            try:
                value = await _run_item(plan, workflow, item)
            except Exception as error:
                failure = _failure(number, item, error)
                if failure is None:
                    raise
                if plan.stop:
                    raise MapError(workflow.name, failure) from error
                failed += 1
                if len(failures) < FAILURES_TOLD:
                    failures.append(failure)
            else:
                done += 1
                if plan.keep:
                    results.append(Result(number, msgspec.Raw(workflow.result.encode(value))))
            context.progress({"done": done, "failed": failed, "total": len(items)})

    await _together([stream() for _ in range(min(plan.concurrency, len(items)))])
    return Tally(done, failed, failures, results)


async def map_pages(plan: Plan, cursor: Any, tally: Tally) -> Tally:
    """One page after another. What is kept of them is the cursor and the tally, here and in the next run."""
    for _ in range(PAGES_OF_ONE_RUN):
        branch = _branch()
        call = _part(branch, PAGE, (plan, cursor, tally.total))
        turn: Turn = await family.joined(branch.run, call)
        tally += turn.tally
        _say(tally, tally.total)
        cursor = turn.next
        if cursor is None:
            return tally
    return family.continue_here((plan, cursor, tally))


async def map_page(plan: Plan, cursor: Any, first: int) -> Turn:
    """Read a page, and do it."""
    workflow, pages = _workflow(plan.workflow), _step(plan.pages or "")
    page: Any = await pages(cursor)
    if not isinstance(page, Page):  # its annotation says something else
        msg = f"{pages.name} is to give pages to troth.map, and returned a {type(page).__qualname__}: annotate it -> Page[…]"
        raise UsageError(msg)
    if len(page.items) > SEQUENCE_LIMIT:
        msg = f"{pages.name} gave a page of {len(page.items)} items: {SEQUENCE_LIMIT} at most, 1,000 to 5,000 are good"
        raise UsageError(msg)
    if page.keys is not None and len(page.keys) != len(page.items):
        msg = f"{pages.name} gave {len(page.items)} items and {len(page.keys)} keys"
        raise UsageError(msg)
    if page.next is not None and codec.encode(page.next) == codec.encode(cursor):
        msg = f"{pages.name} gave {cursor!r} as the cursor after {cursor!r}: it would be read for ever"
        raise UsageError(msg)
    keys: Sequence[str | None] = page.keys or [None] * len(page.items)
    items = [_item(workflow, item, key) for item, key in zip(page.items, keys, strict=True)]
    undone = msgspec.structs.replace(plan, keep=workflow.undoing is not None)  # if this page fails
    tally = await map_items(undone, items, first)
    return Turn(msgspec.structs.replace(tally, results=[]), page.next)


async def undo_items(tally: Tally, plan: Plan, items: list[Item], first: int) -> None:
    """Undo what the items of a mapping have done, the latest first."""
    undoing = _workflow(plan.workflow).undoing
    if undoing is None:
        msg = f"what {plan.workflow} did must be undone, and nothing says how: attach @{plan.workflow}.undo"
        raise Refused(msg)
    waiting = iter(sorted(tally.results, key=lambda result: result.number, reverse=True))

    async def stream() -> None:
        for result in waiting:
            await undo_one(result)

    async def undo_one(result: Result) -> None:
        item = items[result.number - first]
        workflow = _workflow(plan.workflow)
        args, kwargs = workflow.arguments.decode(bytes(item.arguments))
        value = workflow.result.decode(bytes(result.value))
        await undoing(value, *args, **kwargs)

    await _together([stream() for _ in range(min(plan.concurrency, len(tally.results)))])


async def _run_item(plan: Plan, workflow: Workflow[Any, Any], item: Item) -> Any:
    branch, arguments = _branch(), bytes(item.arguments)
    if item.key is None:
        return await family.joined(branch.run, ItemCall(plan, workflow, arguments, branch))
    order = family.Order(
        workflow, arguments, key=item.key, priority=plan.priority, partition=plan.partition
    )
    started = await family.start_here(branch, order)
    return await family.result_here(branch, started.future.result()[0], workflow, started.end, None)


def _failure(number: int, item: Item, error: Exception) -> Failure | None:
    """What is told of an item's answer; None for what is no answer, but a bug."""
    if not is_answer(error, (RunCancelledError, RunFailedError, KeyConflictError)):
        return None
    if isinstance(error, RunFailedError):
        return Failure(number, item.key, error.error_type, error.message)
    return Failure(number, item.key, name_of(type(error)), message_of(error))


async def _together(streams: list[Coroutine[Any, Any, None]]) -> None:
    """All of them; the first that fails cancels the others, and is raised when these have ended."""
    try:
        async with asyncio.TaskGroup() as group:
            for stream in streams:
                group.create_task(stream)
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from failed.exceptions[0].__cause__


def _say(tally: Tally, total: int) -> None:
    context.progress({"done": tally.done, "failed": tally.failed, "total": total})


def _part(branch: Branch, name: str, arguments: tuple[Any, ...]) -> PartCall:
    workflow = _workflow(name)
    encoded = workflow.arguments.encode(arguments, {})
    return PartCall(branch.path(name), workflow, encoded, branch.run.loop, branch.scope)


def _workflow(name: str) -> Workflow[Any, Any]:
    home = _branch().run.workflow.home
    found = home.program.every_workflow.get(name) if home is not None else None
    if found is None:
        raise UnknownWorkflowError(f"this program has no workflow {name}, which is being mapped")
    return found


def _step(name: str) -> StepDefinition[Any, Any]:
    home = _branch().run.workflow.home
    found = home.program.steps.get(name) if home is not None else None
    if found is None:
        raise UsageError(f"this program has no step {name}, which gives the pages of a mapping")
    return found


def _branch() -> Branch:
    branch = current_branch.get()
    if branch is None:
        msg = "troth.map belongs into workflow code: write a workflow that calls it, and start that"
        raise NotInRunError(msg)
    return branch


def mapping_workflows() -> dict[str, Workflow[Any, Any]]:
    """What a program has beside its own workflows, by name."""
    made: dict[str, Workflow[Any, Any]] = {
        name: Workflow(function, name=name, fails_on=MapError)
        for name, function in (
            (MAP, map_items), (CHUNK_RUN, map_chunk), (PAGES, map_pages), (PAGE, map_page),
            (UNDO, undo_items),
        )
    }  # fmt: skip
    made[MAP].undoing = made[CHUNK_RUN].undoing = made[UNDO]
    return made
