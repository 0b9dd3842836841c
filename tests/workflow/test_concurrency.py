"""asyncio inside a workflow: gather, TaskGroup and create_task, live and replayed."""

from __future__ import annotations

import asyncio
import random
from typing import Any
from uuid import UUID

import pytest

from tests.workflow.place import QUICK, Place, soon
from troth import Refused, RunFailedError, TimedOut, Troth


class Gates:
    """Steps that end when and in the order in which the test says so."""

    def __init__(self, troth: Troth) -> None:
        self._events: dict[str, asyncio.Event] = {}
        self.performed: list[str] = []

        @troth.step(fails_on=KeyError)
        async def gated(name: str) -> str:
            self.performed.append(name)
            await self._event(name).wait()
            if name.startswith("bad"):
                raise KeyError(name)
            return name.upper()

        self.step = gated

    def _event(self, name: str) -> asyncio.Event:
        return self._events.setdefault(name, asyncio.Event())

    async def open(self, place: Place, run_id: UUID, *names: str) -> None:
        """One after the other: each is recorded before the next one ends."""
        for name in names:
            recorded = len(place.results(run_id))
            self._event(name).set()
            await place.until(
                lambda before=recorded: len(place.results(run_id)) > before, f"{name} is recorded"
            )


async def test_each_branch_names_its_calls(place: Place, troth: Troth) -> None:
    @troth.step
    async def echo(text: str) -> str:
        return text

    async def branch(text: str) -> list[str]:
        inner = asyncio.create_task(two(text))
        return [await echo(text), *await inner]

    async def two(text: str) -> list[str]:
        return list(await asyncio.gather(echo(text), echo(text)))

    @troth.workflow
    async def work() -> list[Any]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(branch(text)) for text in "ab"]
        return [await echo("x"), *(task.result() for task in tasks), await echo("y")]

    async with troth.worker(QUICK):
        run = await troth.start(work)
        assert await soon(run.result()) == ["x", ["a"] * 3, ["b"] * 3, "y"]
    assert sorted(place.results(run.id)) == sorted(
        [
            "0:echo", "0.0:echo", "0.0:echo#2",  # a call is named where it is made, not by gather
            "1:echo", "1.0:echo", "1.0:echo#2",
            "echo", "echo#2",
        ]
    )  # fmt: skip


async def test_the_order_of_deliveries_is_recorded_and_replayed(place: Place, troth: Troth) -> None:
    """Two branches each append a result and then pass what they see: 90 live must not become 100 replayed."""
    gates = Gates(troth)
    seen_by_sum: list[int] = []

    @troth.step
    async def note(total: int) -> int:
        seen_by_sum.append(total)
        return total

    @troth.workflow
    async def work() -> list[Any]:
        balance = [100]
        trace: list[str] = []

        async def withdraw(name: str, change: int) -> int:
            trace.append(await gates.step(name))
            balance[0] = balance[0] // 2 if change == 0 else balance[0] + change
            return await note(balance[0])

        results = await asyncio.gather(withdraw("first", -10), withdraw("second", 0))
        await troth.receive("go")
        return [trace, results]

    async with troth.worker(QUICK):
        run = await troth.start(work)
        await place.until(lambda: len(gates.performed) == 2, "both have begun")
        await gates.open(place, run.id, "second", "first")  # not the order of the calls
        await place.until_state(run, "waiting")
        await troth.send(run, "go")
        trace, results = await soon(run.result())
    assert trace == ["SECOND", "FIRST"]
    assert results == [40, 50]
    assert seen_by_sum == [50, 40]  # each once: the replay performed nothing
    assert place.value("SELECT claim FROM {s}.run_history WHERE id = %s", run.id) == 2
    assert place.results(run.id)[0] == "1:gated"


@pytest.mark.parametrize("seed", range(3))
async def test_any_order_of_completion_replays_as_it_was(
    place: Place, troth: Troth, seed: int
) -> None:
    gates = Gates(troth)
    names = [f"n{i}" for i in range(6)]
    order = random.Random(seed).sample(names, len(names))

    @troth.workflow
    async def work() -> list[list[str]]:
        trace: list[str] = []

        async def branch(name: str) -> None:
            trace.append(await gates.step(name))

        async with asyncio.TaskGroup() as group:
            for name in names:
                group.create_task(branch(name))
        live = list(trace)
        await troth.receive("go")
        return [live, trace]

    async with troth.worker(QUICK):
        run = await troth.start(work)
        await place.until(lambda: len(gates.performed) == len(names), "all have begun")
        await gates.open(place, run.id, *order)
        await place.until_state(run, "waiting")
        await troth.send(run, "go")
        live, replayed = await soon(run.result())
    assert live == replayed == [name.upper() for name in order]


async def test_a_business_answer_in_a_group_cancels_its_siblings(
    place: Place, troth: Troth
) -> None:
    gates = Gates(troth)

    @troth.workflow
    async def work() -> list[str]:
        trace: list[str] = []

        async def branch(*names: str) -> None:
            try:
                for name in names:
                    trace.append(await gates.step(name))  # noqa: PERF401
            except asyncio.CancelledError:
                trace.append(f"cancelled in {names}")
                raise

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(branch("a", "never"))
                group.create_task(branch("bad"))
                group.create_task(branch("slow"))
        except* KeyError as errors:
            trace.append(repr(errors.exceptions[0]))
        await troth.receive("go")
        return trace

    async with troth.worker(QUICK):
        run = await troth.start(work)
        await place.until(lambda: len(gates.performed) == 3, "all have begun")
        await gates.open(place, run.id, "a")
        await place.until(lambda: "never" in gates.performed, "a's next step has begun")
        await gates.open(place, run.id, "bad", "slow", "never")  # what was begun is recorded, too
        await place.until_state(run, "waiting")
        await troth.send(run, "go")
        trace = await soon(run.result())
    assert trace == [
        "A",
        "cancelled in ('a', 'never')",
        "cancelled in ('slow',)",
        "KeyError('bad')",
    ]


async def test_answers_of_a_group_fail_the_run(troth: Troth) -> None:
    @troth.step
    async def refuse(text: str) -> None:
        raise Refused(text)

    @troth.workflow
    async def work() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(refuse("no"))

    async with troth.worker(QUICK):
        run = await troth.start(work)
        with pytest.raises(RunFailedError, match="no") as failed:
            await soon(run.result())
    assert isinstance(failed.value.__cause__, Refused)


async def test_gather_returns_exceptions_if_asked(place: Place, troth: Troth) -> None:
    gates = Gates(troth)

    @troth.workflow
    async def work() -> list[str]:
        got = await asyncio.gather(gates.step("a"), gates.step("bad"), return_exceptions=True)
        return [repr(item) for item in got]

    async with troth.worker(QUICK):
        run = await troth.start(work)
        await place.until(lambda: len(gates.performed) == 2, "both have begun")
        await gates.open(place, run.id, "bad", "a")
        assert await soon(run.result()) == ["'A'", "KeyError('bad')"]


async def test_locks_queues_events_and_wait_work_as_ever(troth: Troth) -> None:
    @troth.step
    async def double(n: int) -> int:
        return n * 2

    @troth.workflow
    async def work() -> list[int]:
        queue: asyncio.Queue[int] = asyncio.Queue(maxsize=1)
        lock, semaphore, ready = asyncio.Lock(), asyncio.Semaphore(2), asyncio.Event()
        got: list[int] = []

        async def produce() -> None:
            await ready.wait()
            for n in range(4):
                async with semaphore:
                    await queue.put(await double(n))

        async def consume() -> None:
            while len(got) < 4:
                n = await queue.get()
                async with lock:
                    got.append(n)

        tasks = [asyncio.create_task(produce()), asyncio.create_task(consume())]
        await asyncio.sleep(0)
        ready.set()
        done, pending = await asyncio.wait(tasks)  # troth: ok
        assert len(done) == 2
        assert not pending
        return got

    async with troth.worker(QUICK):
        assert await soon((await troth.start(work)).result()) == [0, 2, 4, 6]


async def test_the_first_of_several_wins_and_the_rest_is_cancelled(
    place: Place, troth: Troth
) -> None:
    @troth.workflow
    async def work() -> str:
        message = asyncio.create_task(troth.receive("t", str))
        timer = asyncio.create_task(troth.sleep(3600))
        done, pending = await asyncio.wait(
            {message, timer}, return_when=asyncio.FIRST_COMPLETED
        )  # troth: ok
        for task in pending:
            task.cancel()
        return message.result() if message in done else "too late"

    async with troth.worker(QUICK):
        run = await troth.start(work)
        await place.until_state(run, "waiting")
        await troth.send(run, "t", "in time")
        assert await soon(run.result()) == "in time"


async def test_a_message_that_meets_a_receiver_just_given_up_is_not_lost(
    place: Place, troth: Troth
) -> None:
    """Two answers are there at once: the first one makes the workflow give up the receive that got the second."""
    gates = Gates(troth)

    @troth.workflow
    async def work() -> str | None:
        waiting = asyncio.create_task(troth.receive("t", str))
        await gates.step("a")
        waiting.cancel()
        await asyncio.wait([waiting])  # troth: ok
        message = await troth.receive("t", str, timeout=0.5)
        return None if isinstance(message, TimedOut) else message

    async with troth.worker(QUICK):
        run = await troth.start(work)
        await place.until(lambda: gates.performed, "the step has begun")
        (active,) = troth.node.engine.runs.values()
        settled: asyncio.Queue[Any] = asyncio.Queue()
        settle = active.settle

        def settle_and_tell(*args: Any) -> None:
            settle(*args)
            settled.put_nowait(args)

        active.settle = settle_and_tell  # type: ignore[method-assign]
        active.dirty = True  # as if the engine had not come to its turn yet
        gates._event("a").set()
        await soon(settled.get())
        await troth.send(run, "t", "hello")
        await soon(settled.get())
        active.dirty = False
        troth.node.engine.schedule(active)
        assert await soon(run.result()) == "hello"
