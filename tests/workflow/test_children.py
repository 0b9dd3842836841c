"""Runs that start runs: exactly once, awaited at no cost, cancelled and undone with their parents."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from tests.workflow.place import PATIENCE_S, QUICK, Place, soon
from tests.workflow.test_rewind import Mended, go_back
from troth import (
    Call,
    KeyConflictError,
    Refused,
    RunCancelledError,
    RunFailedError,
    Troth,
    Tx,
    UsageError,
)
from troth.workflow.queue import Queue


class NoRoomError(Exception):
    """A business answer of a child."""


def children(place: Place, parent: UUID) -> list[tuple[UUID, str]]:
    """The ids and states of the runs that a run has started, in order."""
    return place.rows(
        "SELECT id, state::text FROM {s}.run WHERE parent = %s"
        " UNION ALL SELECT id, state::text FROM {s}.run_history WHERE parent = %s ORDER BY id",
        parent,
        parent,
    )


def nothing_is_left(place: Place) -> bool:
    """No run, no message and no waiter."""
    return not (
        place.rows("SELECT 1 FROM {s}.run")
        or place.rows("SELECT 1 FROM {s}.message")
        or place.rows("SELECT 1 FROM {s}.run_waiter")
    )


# ── await other(…) ──────────────────────────────────────────────────────────────────────────────


async def test_a_child_gives_its_result(place: Place, troth: Troth) -> None:
    @troth.step
    async def double(n: int) -> int:
        return 2 * n

    @troth.workflow
    async def inner(n: int) -> int:
        return await double(n)

    @troth.workflow
    async def outer(n: int) -> int:
        return await inner(n) + await inner(n + 1)

    async with troth.worker(QUICK):
        run = await troth.start(outer, 1)
        assert await soon(run.result()) == 6
    assert [state for _, state in children(place, run.id)] == ["succeeded", "succeeded"]
    assert place.results(run.id) == ["inner", "inner#2"]
    assert nothing_is_left(place)


async def test_outside_workflow_code_a_workflow_is_not_called(troth: Troth) -> None:
    @troth.workflow
    async def work() -> None: ...

    with pytest.raises(UsageError, match=r"troth\.start"):
        await work()


async def test_a_business_answer_of_a_child_is_raised_as_what_it_is(
    place: Place, troth: Troth
) -> None:
    @troth.workflow(fails_on=NoRoomError)
    async def inner() -> None:
        raise NoRoomError("full")

    @troth.workflow
    async def caught() -> str:
        try:
            await inner()
        except NoRoomError as error:
            return str(error)
        return "?"

    @troth.workflow
    async def uncaught() -> None:
        await inner()

    async with troth.worker(QUICK):
        assert await soon((await troth.start(caught)).result()) == "full"
        with pytest.raises(RunFailedError) as failed:
            await soon((await troth.start(uncaught)).result())
    assert isinstance(failed.value.__cause__, NoRoomError)


async def test_a_child_that_was_cancelled_is_a_bug_of_its_parent_unless_declared(
    place: Place, troth: Troth
) -> None:
    @troth.workflow
    async def inner() -> None:
        await troth.receive("never")

    @troth.workflow(fails_on=RunCancelledError)
    async def declared() -> None:
        await inner()

    @troth.workflow
    async def silent() -> None:
        await inner()

    async with troth.worker(QUICK):
        for workflow in (declared, silent):
            run = await troth.start(workflow)
            await place.until(lambda run=run: children(place, run.id), "the child is there")
            ((child, _),) = children(place, run.id)
            await troth.run(child).cancel()
            if workflow is declared:
                with pytest.raises(RunFailedError):
                    await soon(run.result())
            else:
                reason, detail = await place.attention(run)
                assert reason == "bug"
                assert "was cancelled" in detail["message"]


async def test_a_parent_that_waits_costs_a_row_and_no_memory(place: Place, troth: Troth) -> None:
    @troth.workflow
    async def inner() -> str:
        return str(await troth.receive("go", str))

    @troth.workflow
    async def outer() -> str:
        return await inner()

    async with troth.worker(QUICK):
        runs = troth.node.engine.runs
        run = await troth.start(outer)
        await place.until_state(run, "waiting")
        await place.until(lambda: not runs, "both are out of memory")
    async with troth.worker(QUICK):
        ((child, _),) = children(place, run.id)
        await troth.send(child, "go", "on")
        assert await soon(run.result()) == "on"
    assert nothing_is_left(place)


async def test_one_slot_is_enough_for_any_depth(place: Place, troth: Troth) -> None:
    @troth.workflow
    async def nest(depth: int) -> int:
        return 0 if depth == 0 else 1 + await nest(depth - 1)

    async with troth.worker(type(QUICK)(concurrency=1, connections=1, threads=1)):
        assert await soon((await troth.start(nest, 4)).result()) == 4


async def test_many_children_at_once(place: Place, troth: Troth) -> None:
    @troth.workflow
    async def inner(n: int) -> int:
        if n % 7 == 0:
            await troth.sleep(0.01)
        return n

    @troth.workflow
    async def outer(n: int) -> int:
        return sum(await asyncio.gather(*(inner(k) for k in range(n))))

    async with troth.worker(QUICK):
        assert await soon((await troth.start(outer, 200)).result()) == sum(range(200))
    assert nothing_is_left(place)


async def test_a_child_in_attention_is_waited_for(place: Place, troth: Troth) -> None:
    broken = True

    @troth.step
    async def step() -> str:
        if broken:
            raise ValueError("a bug")
        return "mended"

    @troth.workflow
    async def inner() -> str:
        return await step()

    @troth.workflow
    async def outer() -> str:
        return await inner()

    async with troth.worker(QUICK):
        run = await troth.start(outer)
        await place.until(lambda: children(place, run.id), "the child is there")
        ((child, _),) = children(place, run.id)
        await place.attention(child)
        await place.until_state(run, "waiting")
        broken = False
        place.resume(child)
        assert await soon(run.result()) == "mended"


# ── troth.start in workflow code ────────────────────────────────────────────────────────────────


async def test_a_handle_in_workflow_code(place: Place, troth: Troth) -> None:
    @troth.workflow
    async def inner(n: int) -> str:
        return f"{n}: {await troth.receive('word', str)}"

    @troth.workflow
    async def outer() -> list[str]:
        one, two = await troth.start(inner, 1), await troth.start(inner, 2)
        await troth.send(two, "word", "b")
        await troth.send(one, "word", "a")
        return [await one.result(), await two.result(), await two.result()]

    async with troth.worker(QUICK):
        run = await troth.start(outer)
        assert await soon(run.result()) == ["1: a", "2: b", "2: b"]
    assert nothing_is_left(place)


async def test_a_handle_cancels(place: Place, troth: Troth) -> None:
    @troth.workflow
    async def inner() -> None:
        await troth.receive("never")

    @troth.workflow
    async def outer() -> str:
        run = await troth.start(inner)
        await run.cancel()
        try:
            await run.result()
        except RunCancelledError:
            return "cancelled"
        return "?"

    async with troth.worker(QUICK):
        assert await soon((await troth.start(outer)).result()) == "cancelled"


async def test_a_run_ends_after_the_children_that_it_has_started(
    place: Place, troth: Troth
) -> None:
    @troth.workflow
    async def inner() -> str:
        return str(await troth.receive("go", str))

    @troth.workflow
    async def outer(detached: bool) -> str:
        run = await troth.start(inner, detached=detached)
        return str(run.id)

    async with troth.worker(QUICK):
        free = await troth.start(outer, True)
        child = await soon(free.result())  # it does not wait
        await troth.send(UUID(child), "go", "x")
        bound = await troth.start(outer, False)
        await place.until_state(bound, "waiting")
        ((child_id, _),) = children(place, bound.id)
        await troth.send(child_id, "go", "x")
        assert await soon(bound.result()) == str(child_id)
    ((child_end, parent_end),) = place.rows(
        "SELECT c.ended_at, p.ended_at FROM {s}.run_history c JOIN {s}.run_history p ON p.id = c.parent"
        " WHERE p.id = %s",
        bound.id,
    )
    assert child_end <= parent_end


async def test_a_key_gives_the_same_run_and_a_conflict_is_an_answer(
    place: Place, troth: Troth
) -> None:
    @troth.workflow
    async def inner(n: int) -> int:
        return n

    @troth.workflow
    async def outer(n: int) -> list[Any]:
        run = await troth.start(inner, n, key="one")
        return [str(run.id), await run.result()]

    async with troth.worker(QUICK):
        first = await soon((await troth.start(outer, 5)).result())
        second = await soon((await troth.start(outer, 5)).result())
        assert first == second
        assert first[1] == 5
        with pytest.raises(RunFailedError) as failed:
            await soon((await troth.start(outer, 6)).result())
    assert failed.value.error_type.endswith("KeyConflictError")
    assert "5 then, 6 now" in failed.value.message
    assert issubclass(KeyConflictError, Exception)
    assert nothing_is_left(place)


async def test_a_child_takes_the_place_of_its_parent_in_line(place: Place, troth: Troth) -> None:
    line = Queue("line")

    @troth.workflow(queue=line)
    async def inner() -> None: ...

    @troth.workflow(queue=line)
    async def outer() -> None:
        await inner()
        await (await troth.start(inner, priority=3, partition="z")).result()

    async with troth.worker(QUICK):
        run = await troth.start(outer, priority=-5, partition="a")
        await soon(run.result())
    rows = place.rows(
        "SELECT partition, priority FROM {s}.run_history WHERE parent = %s ORDER BY id", run.id
    )
    assert rows == [("a", -5), ("z", 3)]


# ── cancelling ──────────────────────────────────────────────────────────────────────────────────


async def test_children_are_cancelled_with_their_parent_and_end_before_it(
    place: Place, troth: Troth
) -> None:
    @troth.workflow
    async def leaf() -> None:
        await troth.receive("never")

    @troth.workflow
    async def inner() -> None:
        await leaf()

    @troth.workflow
    async def outer() -> None:
        await troth.start(inner)
        await inner()

    async with troth.worker(QUICK):
        run = await troth.start(outer)
        await place.until(
            lambda: place.value("SELECT count(*) FROM {s}.run WHERE state = 'waiting'") == 5,
            "all wait",
        )
        await run.cancel()
        with pytest.raises(RunCancelledError):
            await soon(run.result())
    assert [state for _, state in children(place, run.id)] == ["cancelled", "cancelled"]
    late = place.value(
        "SELECT count(*) FROM {s}.run_history c JOIN {s}.run_history p ON p.id = c.parent"
        " WHERE c.ended_at > p.ended_at"
    )
    assert late == 0
    assert nothing_is_left(place)


async def test_a_parent_that_fails_cancels_what_is_going(place: Place, troth: Troth) -> None:
    @troth.workflow
    async def inner() -> None:
        await troth.receive("never")

    @troth.workflow
    async def outer() -> None:
        await troth.start(inner)
        await troth.start(inner, detached=True)
        raise Refused("no")

    async with troth.worker(QUICK):
        run = await troth.start(outer)
        with pytest.raises(RunFailedError):
            await soon(run.result())
    assert sorted(state for _, state in children(place, run.id)) in (
        ["cancelled", "waiting"],
        ["cancelled", "ready"],
    )


async def test_who_waits_for_a_child_and_is_cancelled_cancels_it(
    place: Place, troth: Troth
) -> None:
    @troth.workflow
    async def inner() -> None:
        await troth.receive("never")

    @troth.workflow
    async def outer() -> str:
        try:
            async with troth.timeout(0.2):
                await inner()
        except TimeoutError:
            return "too late"
        return "?"

    async with troth.worker(QUICK):
        run = await troth.start(outer)
        assert await soon(run.result()) == "too late"
    assert [state for _, state in children(place, run.id)] == ["cancelled"]
    assert place.results(run.id) == ["timeout", "inner"]


async def test_a_child_that_is_never_begun_is_none(place: Place, troth: Troth) -> None:
    @troth.workflow
    async def inner() -> None: ...

    @troth.workflow
    async def outer() -> str:
        task = asyncio.create_task(inner())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])  # troth: ok
        return "done"

    async with troth.worker(QUICK):
        run = await troth.start(outer)
        assert await soon(run.result()) == "done"
    assert children(place, run.id) == []


# ── undoing ─────────────────────────────────────────────────────────────────────────────────────


def shop(troth: Troth, did: list[str]) -> Any:
    """An effect that has an undo."""

    @troth.effect(delivery="at_least_once", timeout=5)
    async def reserve(call: Call, n: int) -> int:
        did.append(f"reserve {n}")
        return n

    @reserve.undo
    async def free(call: Call, result: int, n: int) -> None:
        did.append(f"free {n}")

    return reserve


async def test_a_child_is_undone_by_the_workflow_that_says_how(place: Place, troth: Troth) -> None:
    did: list[str] = []
    reserve = shop(troth, did)

    @troth.workflow
    async def inner(n: int) -> str:
        return f"order {await reserve(n)}"

    @inner.undo
    async def take_back(result: str, n: int) -> None:
        await note(result, n)

    @troth.step
    async def note(result: str, n: int) -> None:
        did.append(f"take back {result} ({n})")

    @troth.workflow
    async def outer() -> None:
        await reserve(1)
        await inner(2)
        handle = await troth.start(inner, 3)
        await handle.result()
        raise Refused("no")

    async with troth.worker(QUICK):
        run = await troth.start(outer)
        with pytest.raises(RunFailedError):
            await soon(run.result())
    assert did == [
        "reserve 1", "reserve 2", "reserve 3", "take back order 3 (3)", "take back order 2 (2)", "free 1",
    ]  # fmt: skip
    assert nothing_is_left(place)


async def test_a_child_that_owes_and_has_no_undo_asks_for_a_person(
    place: Place, troth: Troth
) -> None:
    did: list[str] = []
    reserve = shop(troth, did)

    @troth.workflow
    async def owing(n: int) -> None:
        await reserve(n)

    @troth.workflow
    async def between(n: int) -> None:
        await owing(n)

    @troth.workflow
    async def harmless() -> None: ...

    @troth.workflow
    async def outer() -> None:
        await between(1)
        await harmless()
        raise Refused("no")

    async with troth.worker(QUICK):
        run = await troth.start(outer)
        reason, detail = await place.attention(run)
        child = children(place, run.id)[0][0]
        assert (reason, detail["at"]) == ("undo_failed", "!undo/between")
        assert str(child) in detail["message"]
        place.settle(run, "!undo/between")
        with pytest.raises(RunFailedError):
            await soon(run.result())
    assert did == ["reserve 1"]


async def test_an_undo_that_fails_asks_for_a_person_and_is_tried_again(
    place: Place, troth: Troth
) -> None:
    tries: list[int] = []

    @troth.workflow
    async def inner() -> int:
        return 7

    @troth.step
    async def attempt(n: int) -> None:
        tries.append(n)
        if len(tries) == 1:
            raise Refused("not now")

    @inner.undo
    async def back(result: int) -> None:
        await attempt(result)

    @troth.workflow
    async def outer() -> None:
        await inner()
        raise Refused("no")

    async with troth.worker(QUICK):
        run = await troth.start(outer)
        reason, detail = await place.attention(run)
        assert (reason, detail["at"]) == ("undo_failed", "!undo/inner")
        place.resume(run)
        with pytest.raises(RunFailedError):
            await soon(run.result())
    assert tries == [7, 7]


# ── workers come and go ─────────────────────────────────────────────────────────────────────────


async def test_a_parent_goes_on_elsewhere(place: Place, troth: Troth) -> None:
    started = asyncio.Event()
    go = asyncio.Event()

    @troth.step
    async def step() -> str:
        started.set()
        await go.wait()
        return "x"

    @troth.workflow
    async def inner() -> str:
        return await step()

    @troth.workflow
    async def outer() -> list[str]:
        return list(await asyncio.gather(inner(), inner()))

    async with troth.worker(QUICK):
        run = await troth.start(outer)
        await soon(started.wait())
        await place.die(troth)
    go.set()
    async with troth.worker(QUICK):
        assert await soon(run.result()) == ["x", "x"]
    assert len(children(place, run.id)) == 2
    assert nothing_is_left(place)


async def test_a_transaction_commits_beside_a_child(place: Place, troth: Troth) -> None:
    @troth.transaction
    async def look(tx: Tx) -> int:
        await tx.execute("SELECT 1")
        return 1

    @troth.workflow
    async def inner() -> int:
        return await look()

    @troth.workflow
    async def outer() -> int:
        return sum(await asyncio.gather(look(), inner(), look(), inner()))

    async with troth.worker(QUICK):
        run = await troth.start(outer, key="k")
        assert await run.result(timedelta(seconds=PATIENCE_S)) == 4


# ── going back ──────────────────────────────────────────────────────────────────────────────────


async def test_a_run_that_goes_back_asks_the_same_child_again(place: Place, troth: Troth) -> None:
    begun: list[int] = []
    broken = [True]

    @troth.step
    async def note() -> int:
        begun.append(1)
        return len(begun)

    @troth.workflow
    async def inner() -> int:
        return await note()

    @troth.workflow
    async def outer() -> int:
        told = await inner()
        if broken[0]:
            raise Mended
        return told

    async with troth.worker(QUICK):
        run = await troth.start(outer)
        await place.attention(run)
        broken[0] = False
        await go_back(place, run, "inner")
        assert await soon(run.result()) == 1
    assert len(children(place, run.id)) == 1
    assert nothing_is_left(place)


async def test_a_child_that_failed_is_begun_anew_by_a_run_that_goes_back(
    place: Place, troth: Troth
) -> None:
    broken = [True]

    @troth.step
    async def refuse() -> str:
        if broken[0]:
            raise Refused("no")
        return "yes"

    @troth.workflow
    async def inner() -> str:
        return await refuse()

    @troth.workflow
    async def outer() -> str:
        try:
            return await inner()
        except Refused as no:
            raise Mended from no

    async with troth.worker(QUICK):
        run = await troth.start(outer)
        await place.attention(run)
        broken[0] = False
        await go_back(place, run, "inner")
        assert await soon(run.result()) == "yes"
    assert [state for _, state in children(place, run.id)] == ["failed", "succeeded"]
