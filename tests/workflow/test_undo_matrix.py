"""A saga of six steps on two branches: refused or cancelled at every step, its worker dropped at every commit of the
undoing. What it did is undone once, the last thing first.

As in `test_determinism`, a dropped worker lives on in the same process under another id. `tests.chaos.test_undo_kill`
does the same to processes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.workflow.place import PATIENCE_S, Place, soon
from tests.workflow.test_determinism import take_over
from tests.workflow.undo_saga import LEDGER, STEPS, Case, Commits, Program, World, assert_undone
from troth import FencedError, Run, RunCancelledError, RunFailedError
from troth.effect import model, rules
from troth.worker.node import NodeOptions

ENOUGH = 40  # more commits than any undoing has
SMALL = NodeOptions(connections=2, threads=1)

Lanes = Callable[[str], "Lane"]


class Lane:
    """A worker of its own, for one saga after the other."""

    def __init__(self, place: Place, world: World, name: str) -> None:
        self.place = place
        self.world = world
        self.name = name
        self.program = Program(place.troth(), world, [name], timeout=0.4)

    async def at_every_commit(self, case: Case, *, kept: bool) -> int:
        """Drop the worker at the first commit, at the second, … until there is none; how many there were."""
        for at in range(1, ENOUGH):
            if not await self.dropped(Case(f"{case.mark} {at}", case.refused, case.held), at, kept):
                return at - 1
        raise AssertionError("the undoing does not come to an end")

    async def dropped(self, case: Case, at: int, kept: bool) -> bool:
        """Run one saga to its end and look at what it left; was there a commit to drop the worker at?"""
        troth = self.program.troth
        reached, begun, may_go, over = (asyncio.Event() for _ in range(4))

        async def stop() -> None:
            reached.set()
            await over.wait()  # nobody hears anything of it any more

        async def hold(_case: Case) -> None:
            begun.set()
            await may_go.wait()

        self.program.hold = hold
        commits = Commits(self.program, troth.node, at, stop, kept=kept)
        try:
            run = await troth.start(self.program.sagas[self.name], case)
            ended = asyncio.create_task(run.result(PATIENCE_S))
            if not case.refused:
                await self._cancel(run, case, begun, reached)
                may_go.set()
            waits = asyncio.create_task(reached.wait())
            await asyncio.wait({ended, waits}, return_when=asyncio.FIRST_COMPLETED)
            if (
                commits.count >= at
            ):  # the end may be seen in the database before its commit has been answered
                await soon(waits)
            waits.cancel()
            commits.lift()
            if reached.is_set():
                await asyncio.to_thread(take_over, self.place, troth.node.writer.worker)
                troth.node.fenced(FencedError("dropped by the test"))
            with pytest.raises(RunFailedError if case.refused else RunCancelledError):
                await soon(ended)
        finally:  # or a test that fails would wait for what has stopped
            over.set()
            may_go.set()
        state = "failed" if case.refused else "cancelled"
        done = assert_undone(self.place, self.world, case, run.id, state=state)
        assert case.refused not in done
        assert reached.is_set() == (commits.count >= at), "no commit is left out"
        return reached.is_set()

    async def _cancel(
        self, run: Run[None], case: Case, begun: asyncio.Event, reached: asyncio.Event
    ) -> None:
        """Cancel the run when the step that is held has begun, or all of them are done; return when it was heard."""
        if case.held:
            await soon(begun.wait())
        else:
            await self.place.until(
                lambda: len(self.place.results(run.id)) == len(STEPS), "all is done"
            )
        await run.cancel()
        await self.place.until(
            lambda: reached.is_set() or "!cancel" in self.place.results(run.id), "it is heard"
        )


@pytest.fixture
async def lanes(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Lanes]:
    for module in (model, rules):
        monkeypatch.setattr(module, "MARGIN_S", 0.05)
    monkeypatch.setattr(model, "SEND_WITHIN_S", 0.2)
    place.rows(LEDGER)
    place.rows("TRUNCATE ledger")
    world = World(tmp_path / "world")
    yield lambda name: Lane(place, world, name)
    world.close()


async def at_once(lanes: Lanes, cases: list[Case], *, kept: bool) -> list[int]:
    """Each case on a worker of its own, all at the same time; how many commits each undoing has."""
    async with AsyncExitStack() as opened, asyncio.TaskGroup() as group:
        counts = []
        for case in cases:
            lane = lanes(case.mark.replace(" ", "-"))
            await opened.enter_async_context(lane.program.troth.worker(SMALL))
            counts.append(group.create_task(lane.at_every_commit(case, kept=kept)))
    return [count.result() for count in counts]


@pytest.mark.parametrize("kept", [True, pytest.param(False, marks=pytest.mark.slow)])
async def test_refused_at_every_step_and_dropped_at_every_commit(
    lanes: Lanes, *, kept: bool
) -> None:
    cases = [Case(f"refused {step}", refused=step) for step in STEPS]
    opened, *others, closed = await at_once(lanes, cases, kept=kept)
    assert opened >= 1
    assert min(others) >= 3
    # The refusal with the first intent, five undos, and the end.
    assert closed >= 7


@pytest.mark.parametrize("kept", [True, pytest.param(False, marks=pytest.mark.slow)])
async def test_cancelled_at_every_step_and_dropped_at_every_commit(
    lanes: Lanes, *, kept: bool
) -> None:
    cases = [Case(f"cancelled {step}", held=step) for step in STEPS]
    cases.append(Case("cancelled after all"))
    first, *_, last = await at_once(lanes, cases, kept=kept)
    assert first >= 3
    assert last >= 7
