"""The runs of a mapping: workflows that every program has, in bounded memory and with journals that do not grow.

The items are cut into chunks. Each chunk is a run that starts its items' runs, so many at once, and keeps nothing of them
but a tally; the mapping run adds up the tallies. Items that come by pages are read one page after another, each in a run
of its own, by a run that knows no more than the cursor and the tally, and that goes on as a new one now and then.
"""

from __future__ import annotations

import asyncio
import copy
import functools
import itertools
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from troth.base import codec
from troth.base.errors import (
    KeyConflictError,
    Refused,
    RunCancelledError,
    RunFailedError,
    UsageError,
)
from troth.workflow import context, family
from troth.workflow.definition import StepDefinition, Workflow
from troth.workflow.failures import is_answer, message_of, name_of
from troth.workflow.mapping import (
    MAP,
    PAGES,
    SEQUENCE_LIMIT,
    branch_here,
    item_of,
    part_of,
    workflow_named,
)
from troth.workflow.mapping_model import Failure, Item, MapError, Page, Plan, Result, Tally, Turn
from troth.workflow.runloop import Branch

if TYPE_CHECKING:
    from troth.workflow.decorators import Definitions

PAGE, CHUNK_RUN, UNDO = "troth.map.page", "troth.map.chunk", "troth.map.undo"

CHUNK = 200  # items of one run
STREAM = 25  # children at once that are worth a chunk of their own
PAGES_OF_ONE_RUN = 200  # then the mapping goes on as a new run


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


async def map_items(plan: Plan, items: list[Item], first: int) -> Tally:
    """All items of a sequence, or of a page; *first* is the number of the first one."""
    if len(items) <= CHUNK:
        return await map_chunk(plan, items, first)
    starts = range(0, len(items), CHUNK)
    streams = max(1, min(plan.concurrency // STREAM, len(starts)))
    waiting, tally = iter(starts), Tally()

    async def stream(number: int) -> None:
        nonlocal tally
        share = plan.concurrency // streams + (number < plan.concurrency % streams)
        part = msgspec.structs.replace(plan, concurrency=share)
        for start in waiting:
            arguments = (part, items[start : start + CHUNK], first + start)
            done: Tally = await _part(CHUNK_RUN, arguments)
            tally += done  # not in one line: it would add to what the tally was before the wait
            _say(tally, len(items))

    await _together([stream(number) for number in range(streams)])
    return tally


async def map_chunk(plan: Plan, items: list[Item], first: int) -> Tally:
    """The items of a chunk, so many at once."""
    workflow = workflow_named(plan.workflow)
    waiting = iter(enumerate(items, first))
    done, failed = 0, 0
    failures: list[Failure] = []
    results: list[Result] = []

    async def stream() -> None:
        nonlocal done, failed
        for number, item in waiting:
            try:
                value, own = await _run_item(plan, workflow, item)
            except Exception as error:
                failure = _failure(number, item, error)
                if failure is None:
                    raise
                if plan.stop:
                    raise MapError(workflow.name, failure) from error
                failed += 1
                failures.append(failure)
            else:
                done += 1
                if plan.keep:
                    results.append(Result(number, msgspec.Raw(workflow.result.encode(value)), own))
            context.progress({"done": done, "failed": failed, "total": len(items)})

    await _together([stream() for _ in range(min(plan.concurrency, len(items)))])
    return Tally() + Tally(done, failed, failures, results)


async def map_pages(plan: Plan, cursor: Any, tally: Tally) -> Tally:
    """One page after another. What is kept of them is the cursor and the tally, here and in the next run."""
    for _ in range(PAGES_OF_ONE_RUN):
        turn: Turn = await _part(PAGE, (plan, cursor, tally.total))
        tally += turn.tally
        _say(tally, tally.total)
        cursor = turn.next
        if cursor is None:
            return tally
    return family.continue_here((plan, cursor, tally))


async def map_page(plan: Plan, cursor: Any, first: int) -> Turn:
    """Read a page, and do it."""
    workflow, pages = workflow_named(plan.workflow), step_named(plan.pages or "")
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
    items = [item_of(workflow, item, key) for item, key in zip(page.items, keys, strict=True)]
    undone = msgspec.structs.replace(plan, keep=workflow.undoing is not None)  # if this page fails
    tally = await map_items(undone, items, first)
    return Turn(msgspec.structs.replace(tally, results=[]), page.next)


async def undo_items(tally: Tally, plan: Plan, items: list[Item], first: int) -> None:
    """Undo what the items of a mapping have done, the latest first; not what was found to be done before."""
    workflow = workflow_named(plan.workflow)
    undoing = workflow.undoing
    if undoing is None:
        msg = f"what {plan.workflow} did must be undone, and nothing says how: attach @{plan.workflow}.undo"
        raise Refused(msg)
    own = [result for result in tally.results if result.own]
    waiting = iter(sorted(own, key=lambda result: result.number, reverse=True))

    async def stream() -> None:
        for result in waiting:
            args, kwargs = workflow.arguments.decode(bytes(items[result.number - first].arguments))
            value = workflow.result.decode(bytes(result.value))
            request = undoing.arguments.encode((value, *args, *kwargs.values()), {})
            await _undo_item(plan, undoing, request, result.number)

    await _together([stream() for _ in range(min(plan.concurrency, len(own)))])


async def _undo_item(plan: Plan, undoing: Workflow[Any, Any], request: bytes, number: int) -> None:
    """Once, however often a person lets the undoing be tried again: only what has failed is done by a new run."""
    for attempt in itertools.count(1):
        key = f"{plan.origin}/undo/{number}/{attempt}"
        order = family.Order(
            undoing, request, key=key, priority=plan.priority, partition=plan.partition
        )
        started = await family.start_here(branch_here(), order)
        found, own = started.future.result()
        try:
            await family.result_here(branch_here(), found, undoing, started.end, None)
        except (RunFailedError, RunCancelledError):
            if own:
                raise
        else:
            return


async def _part(name: str, arguments: tuple[Any, ...]) -> Any:
    branch = branch_here()
    return await family.joined(branch.run, part_of(branch, branch.path(name), name, arguments))


async def _run_item(plan: Plan, workflow: Workflow[Any, Any], item: Item) -> tuple[Any, bool]:
    """What it returned, and whether it was this mapping that has started it."""
    branch, arguments = branch_here(), bytes(item.arguments)
    if item.key is None:
        return await family.joined(branch.run, ItemCall(plan, workflow, arguments, branch)), True
    order = family.Order(
        workflow, arguments, key=item.key, priority=plan.priority, partition=plan.partition
    )
    started = await family.start_here(branch, order)
    found, own = started.future.result()
    return await family.result_here(branch, found, workflow, started.end, None), own


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


def step_named(name: str) -> StepDefinition[Any, Any]:
    """The step of this program that has the name. Raises `UsageError`."""
    home = branch_here().run.workflow.home
    found = home.program.steps.get(name) if home is not None else None
    if found is None:
        raise UsageError(f"this program has no step {name}, which gives the pages of a mapping")
    return found


def mapping_workflows(home: Definitions) -> dict[str, Workflow[Any, Any]]:
    """What the program *home* has beside its own workflows, by name."""
    made = {name: copy.copy(workflow) for name, workflow in _prototypes().items()}
    for workflow in made.values():
        workflow.home = home
    made[MAP].undoing = made[CHUNK_RUN].undoing = made[UNDO]
    return made


@functools.cache
def _prototypes() -> dict[str, Workflow[Any, Any]]:
    """Made once in a process: their types take 10 ms to look at."""
    functions: dict[str, Callable[..., Any]] = {
        MAP: map_items, CHUNK_RUN: map_chunk, PAGES: map_pages, PAGE: map_page, UNDO: undo_items,
    }  # fmt: skip
    return {
        name: Workflow(function, name=name, fails_on=MapError)
        for name, function in functions.items()
    }
