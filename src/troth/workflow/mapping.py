"""`troth.map`, as the workflow that calls it sees it: one run for each of many items.

A mapping is a child run of a workflow that every program has, see `mapping_runs`. Here the items become what is stored of
them, and a tally becomes what the caller is told.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, TypeVar

import msgspec

from troth.base.errors import NotInRunError, UnknownWorkflowError, UsageError
from troth.workflow import family
from troth.workflow.definition import StepDefinition, Workflow
from troth.workflow.given import check_callable, check_key
from troth.workflow.mapping_model import Item, Mapped, Plan, Tally
from troth.workflow.run import ActiveRun
from troth.workflow.runloop import Branch, current_branch

R = TypeVar("R")

MAP, PAGES = "troth.map", "troth.map.pages"  # their progress is the caller's, see `watched_runs`

SEQUENCE_LIMIT = 10_000  # items that lie in one journal
CONCURRENCY_LIMIT = 10_000


class PartCall(family.ChildCall):
    """A run that does a part of a mapping: it is undone only if its items owe something."""

    __slots__ = ()

    def follow(self, run: ActiveRun, value: Any, error: BaseException | None) -> None:
        """Remembered if it owes: most mappings have nothing to be undone."""
        if self.owes:
            super().follow(run, value, error)


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
    branch = branch_here()
    _check(workflow, concurrency, on_error)
    check_callable(f"troth.map({workflow.name}, …)", "key", key)
    family.require_known(branch, workflow)
    run = branch.run
    pages = items if isinstance(items, StepDefinition) else None
    # What was done must be brought home to be undone; pages are not undone by themselves.
    keep = results or (pages is None and workflow.undoing is not None)
    path = branch.path(MAP if pages is None else PAGES)
    plan = Plan(
        f"{run.id}/{path}", workflow.name, concurrency, on_error == "stop", keep, run.partition, run.priority,
        None if pages is None else pages.name,
    )  # fmt: skip
    if pages is not None:
        _check_pages(branch, pages, key, results)
        call = part_of(branch, path, PAGES, (plan, None, Tally()))
        return _mapped(run, call, workflow, results)
    made = list(_items(workflow, items, key))
    return _mapped(run, part_of(branch, path, MAP, (plan, made, 0)), workflow, results)


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
        if key is not None:
            _check_named(workflow, number, named)
        yield item_of(workflow, item, named)


def _check_named(workflow: Workflow[Any, Any], number: int, named: object) -> None:
    said = f"troth.map({workflow.name}, …): key= gave {named!r} for item {number}, which is no start key"
    if named is None:
        raise UsageError(said)
    try:
        check_key(named)
    except UsageError as error:
        raise UsageError(f"{said}: {error}") from None


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


# Here and in the runs of a mapping --------------------------------------------------------------------------------------


def item_of(workflow: Workflow[Any, Any], item: Any, key: str | None) -> Item:
    """An item, as it is stored. Raises `PayloadError` if it is not what the workflow takes."""
    encoded = workflow.arguments.encode((item,), {})
    if not workflow.arguments.are_plain((item,), {}):
        workflow.arguments.decode(encoded)  # a wrong type is told to the caller, not to the run
    return Item(msgspec.Raw(encoded), key)


def part_of(branch: Branch, path: str, name: str, arguments: tuple[Any, ...]) -> PartCall:
    """The call of a run that does a part of a mapping, or all of it."""
    workflow = workflow_named(name)
    encoded = workflow.arguments.encode(arguments, {})
    return PartCall(path, workflow, encoded, branch.run.loop, branch.scope)


def workflow_named(name: str) -> Workflow[Any, Any]:
    """The workflow of this program that has the name. Raises `UnknownWorkflowError`."""
    home = branch_here().run.workflow.home
    found = home.program.every_workflow.get(name) if home is not None else None
    if found is None:
        raise UnknownWorkflowError(f"this program has no workflow {name}, which is being mapped")
    return found


def branch_here() -> Branch:
    """Where this code is. Raises `NotInRunError` outside workflow code."""
    branch = current_branch.get()
    if branch is None:
        msg = "troth.map belongs into workflow code: write a workflow that calls it, and start that"
        raise NotInRunError(msg)
    return branch
