"""`def` workflows: what holds for an `async def` holds for them."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import subprocess
import sys
import threading
import weakref
from typing import Any

import pytest

from tests.workflow.place import QUICK, Place, soon
from troth import (
    Call,
    NotInRunError,
    Refused,
    RunCancelledError,
    RunFailedError,
    TimedOut,
    Troth,
    Tx,
    UsageError,
    WorkflowCodeError,
)
from troth.workflow.definition import Workflow


class Shop:
    """Steps, and what they really did."""

    def __init__(self, troth: Troth) -> None:
        self.troth = troth
        self.did: list[str] = []
        self.gate = asyncio.Event()
        self.begun = asyncio.Event()

        @troth.step
        async def quote(n: int) -> int:
            self.did.append(f"quote {n}")
            return n * 100

        @troth.transaction
        async def count(tx: Tx, n: int) -> int:
            row = await (await tx.execute("SELECT %s::int + 1", (n,))).fetchone()
            assert row is not None
            return int(row[0])

        @troth.effect(delivery="at_least_once", timeout=10)
        async def charge(call: Call, n: int) -> str:
            self.did.append(f"charge {n}")
            if n < 0:
                raise Refused("no")
            return f"charge-{n}"

        @charge.undo
        async def refund(call: Call, charged: str, n: int) -> None:
            self.did.append(f"refund {n}")

        @troth.step
        async def held(n: int) -> int:
            self.begun.set()
            await self.gate.wait()
            return n

        self.quote, self.count, self.charge, self.held = quote, count, charge, held


@pytest.fixture
def shop(troth: Troth) -> Shop:
    return Shop(troth)


async def result(troth: Troth, workflow: Workflow[Any, Any], *args: Any) -> Any:
    async with troth.worker(QUICK):
        return await soon((await troth.start(workflow, *args)).result())


# It says the same to the journal as an `async def` -----------------------------------------------------------------------


def both_forms(shop: Shop) -> tuple[Workflow[[int], Any], Workflow[[int], Any]]:
    """One operation, written twice."""
    troth = shop.troth

    @troth.workflow
    async def awaiting(n: int) -> list[Any]:
        one, two = await asyncio.gather(shop.quote(n), shop.quote(n + 1))
        async with troth.saga():
            charged = await shop.charge(await shop.count(one))
        await troth.sleep(0.01)
        nothing = await troth.receive("never", timeout=0.01)
        try:
            await shop.charge(-1)
        except Refused as no:
            refused = str(no)
        try:
            async with troth.timeout(0.02):
                await troth.receive("never")
        except TimeoutError:
            charged += " late"
        ended = [value async for _, value in troth.as_completed(shop.quote(7), shop.quote(8))]
        place, first = await troth.first(shop.quote(5), troth.sleep(600))
        drawn = troth.random().random()
        return [two, charged, not nothing, refused, sorted(ended), place, first, drawn > 1]

    @troth.workflow
    def waiting(n: int) -> list[Any]:
        one, two = troth.wait(asyncio.gather(shop.quote(n), shop.quote(n + 1)))
        with troth.saga():
            charged = troth.wait(shop.charge(troth.wait(shop.count(one))))
        troth.wait(troth.sleep(0.01))
        nothing = troth.wait(troth.receive("never", timeout=0.01))
        try:
            troth.wait(shop.charge(-1))
        except Refused as no:
            refused = str(no)
        try:
            with troth.timeout(0.02):
                troth.wait(troth.receive("never"))
        except TimeoutError:
            charged += " late"
        ended = [value for _, value in troth.as_completed(shop.quote(7), shop.quote(8))]
        place, first = troth.wait(troth.first(shop.quote(5), troth.sleep(600)))
        drawn = troth.random().random()
        return [two, charged, not nothing, refused, sorted(ended), place, first, drawn > 1]

    return awaiting, waiting


async def test_both_forms_write_the_same_journal(place: Place, shop: Shop) -> None:
    awaiting, waiting = both_forms(shop)
    async with shop.troth.worker(QUICK):
        runs = [await shop.troth.start(workflow, 1) for workflow in (awaiting, waiting)]
        said = [await soon(run.result()) for run in runs]
    assert said[0] == said[1] == [200, "charge-101 late", True, "no", [700, 800], 0, 500, False]
    journals = [sorted(entry[:2] for entry in place.journal(run.id)) for run in runs]
    assert journals[0] == journals[1]
    assert len(journals[0]) > 12


async def test_a_replay_takes_the_same_way(place: Place, shop: Shop) -> None:
    troth = shop.troth

    @troth.workflow
    def order(n: int) -> list[Any]:
        numbers = troth.wait(asyncio.gather(shop.quote(n), shop.quote(n + 1), troth.sleep(0)))
        drawn = [str(troth.uuid()), troth.random().random()]
        charged = troth.wait(shop.charge(n))
        return [*numbers, *drawn, charged, troth.wait(shop.held(n))]

    async with troth.worker(QUICK):
        run = await troth.start(order, 1)
        await soon(shop.begun.wait())
        before = place.journal(run.id)
        await place.die(troth)
    shop.gate.set()
    async with troth.worker(QUICK):
        said = await soon(run.result())
    assert shop.did == ["quote 1", "quote 2", "charge 1"]
    assert place.journal(run.id)[: len(before)] == before
    assert said[:2] == [100, 200]
    assert said[-2:] == ["charge-1", 1]


async def test_changed_code_parks_it_with_the_difference(place: Place, shop: Shop) -> None:
    troth = shop.troth

    @troth.workflow(name="order")
    def before(n: int) -> int:
        return troth.wait(shop.quote(n)) + troth.wait(shop.held(n))

    async with troth.worker(QUICK):
        run = await troth.start(before, 1)
        await soon(shop.begun.wait())
        await place.die(troth)
    other = Shop(place.troth())

    @other.troth.workflow(name="order")
    def after(n: int) -> str:
        return other.troth.wait(other.charge(n))

    async with other.troth.worker(QUICK):
        reason, detail = await place.attention(run)
    assert reason == "code_changed"
    assert "quote" in str(detail)


# Failures, cancellation, undoing ---------------------------------------------------------------------------------------


async def test_a_failed_run_is_undone(shop: Shop) -> None:
    troth = shop.troth

    @troth.workflow
    def order() -> None:
        troth.wait(shop.charge(1))
        troth.wait(shop.charge(2))
        raise Refused("sold out")

    with pytest.raises(RunFailedError, match="sold out"):
        await result(troth, order)
    assert shop.did == ["charge 1", "charge 2", "refund 2", "refund 1"]


async def test_a_saga_undoes_its_block_alone(shop: Shop) -> None:
    troth = shop.troth

    @troth.workflow
    def order() -> str:
        troth.wait(shop.charge(1))
        try:
            with troth.saga():
                troth.wait(shop.charge(2))
                troth.wait(shop.charge(-1))
        except Refused as no:
            shop.did.append("caught")
            return str(no)
        return "not refused"

    assert await result(troth, order) == "no"
    assert shop.did == ["charge 1", "charge 2", "charge -1", "refund 2", "caught"]


async def test_a_cancellation_is_raised_in_the_wait(place: Place, shop: Shop) -> None:
    troth = shop.troth

    @troth.workflow
    def order() -> None:
        troth.wait(shop.charge(1))
        try:
            troth.wait(troth.receive("never"))
        except asyncio.CancelledError:
            shop.did.append("told")
            raise

    async with troth.worker(QUICK):
        run = await troth.start(order)
        await place.until_state(run, "waiting")
        await run.cancel()
        with pytest.raises(RunCancelledError):
            await soon(run.result())
    assert shop.did == ["charge 1", "told", "refund 1"]


async def test_a_bug_parks_it_with_its_own_line(place: Place, shop: Shop) -> None:
    troth = shop.troth

    @troth.workflow
    def order() -> int:
        return troth.wait(shop.quote(1)) // 0  # the line

    async with troth.worker(QUICK):
        reason, detail = await place.attention(await troth.start(order))
    assert reason == "bug"
    assert "# the line" in str(detail)
    assert "ZeroDivisionError" in str(detail)


# What it costs while it waits --------------------------------------------------------------------------------------------


async def test_waiting_takes_no_thread_and_leaves_memory(place: Place, shop: Shop) -> None:
    troth = shop.troth
    left: list[str] = []

    class Held:
        pass

    held: list[weakref.ref[Held]] = []

    @troth.workflow
    def order(n: int) -> str:
        mine = Held()
        held.append(weakref.ref(mine))
        try:
            word = troth.wait(troth.receive("go", str, timeout=3600))
            return "nothing" if isinstance(word, TimedOut) else f"{word} {n}"
        finally:
            left.append(f"finally {n}")

    async with troth.worker(QUICK):
        runs = [await troth.start(order, n) for n in range(50)]
        for run in runs:
            await place.until_state(run, "waiting")
        assert not [t for t in threading.enumerate() if t.name.startswith("troth step")]
        assert not troth.node.engine.runs
        gc.disable()  # reference counts alone free it
        try:
            assert [ref() for ref in held] == [None] * 50
        finally:
            gc.enable()
        for run in runs:
            await troth.send(run, "go", "went")
        said = [await soon(run.result()) for run in runs]
    assert said == [f"went {n}" for n in range(50)]


async def test_leaving_memory_is_not_the_end_of_the_run(place: Place, shop: Shop) -> None:
    """As in an `async def`: a `finally` runs, but whatever it asks for is asked when the run really gets there."""
    troth = shop.troth
    raised: list[str] = []

    @troth.workflow
    def order() -> str:
        try:
            try:
                troth.wait(troth.receive("go"))
            except BaseException as error:
                raised.append(type(error).__name__)
                raise
            finally:
                troth.wait(shop.charge(1))
        except ValueError as error:
            raised.append(f"handled {type(error).__name__}")
        finally:
            if not shop.did:
                raise ValueError("an error of its own while it leaves")
        return "done"

    async with troth.worker(QUICK):
        run = await troth.start(order)
        await place.until_state(run, "waiting")
        assert shop.did == []
        assert raised == ["RunLeftMemoryError"]
        await troth.send(run, "go")
        assert await soon(run.result()) == "done"
    assert shop.did == ["charge 1"]
    assert place.state(run.id) == "succeeded"


async def test_a_worker_that_is_left_takes_leave_of_bodies_that_wait(shop: Shop) -> None:
    troth = shop.troth

    @troth.workflow
    def order(n: int) -> int:
        return troth.wait(shop.held(n))

    async with troth.worker(QUICK):
        runs = [await troth.start(order, n) for n in range(3)]
        await soon(shop.begun.wait())
        shop.gate.set()
    async with troth.worker(QUICK):
        assert [await soon(run.result()) for run in runs] == [0, 1, 2]


async def test_many_at_once_keep_apart(shop: Shop) -> None:
    troth = shop.troth
    mine: contextvars.ContextVar[int] = contextvars.ContextVar("mine")

    @troth.workflow
    def order(n: int) -> list[int]:
        mine.set(n)
        seen = []
        for _ in range(5):
            troth.wait(shop.quote(n))
            seen.append(mine.get())
        return seen

    async with troth.worker(QUICK):
        runs = [await troth.start(order, n) for n in range(100)]
        assert [await soon(run.result()) for run in runs] == [[n] * 5 for n in range(100)]


async def test_a_helper_that_awaits_shares_the_context(shop: Shop) -> None:
    troth = shop.troth
    mine: contextvars.ContextVar[str] = contextvars.ContextVar("mine", default="")

    async def helper() -> int:
        mine.set("set by the helper")
        return await shop.quote(1)

    def function() -> int:
        return troth.wait(helper())

    @troth.workflow
    def order() -> list[Any]:
        return [function(), mine.get()]

    assert await result(troth, order) == [100, "set by the helper"]


# Where it does not belong ------------------------------------------------------------------------------------------------


async def test_wait_elsewhere_says_what_to_do(shop: Shop) -> None:
    troth = shop.troth

    @troth.step
    def step() -> str:
        with pytest.raises(NotInRunError, match=r"troth\.blocking"):
            troth.wait(asyncio.sleep(0))
        return "refused"

    @troth.workflow
    async def awaiting() -> str:
        with pytest.raises(UsageError, match="in an `async def`, await"):
            troth.wait(shop.quote(1))
        with pytest.raises(UsageError, match="write `async with`"), troth.saga():
            pass
        return await step()

    @troth.workflow
    def waiting() -> str:
        async def helper() -> None:
            troth.wait(shop.quote(1))

        with pytest.raises(UsageError, match="in an `async def`, await"):
            troth.wait(helper())
        with pytest.raises(UsageError, match="like a call of a step, not 5"):
            troth.wait(5)  # type: ignore[arg-type]
        return troth.wait(step())

    with pytest.raises(NotInRunError, match=r"troth\.blocking"):
        troth.wait(shop.gate.wait())
    assert await result(troth, awaiting) == "refused"
    assert await result(troth, waiting) == "refused"
    assert shop.did == []


def test_a_generator_is_no_workflow(troth: Troth) -> None:
    with pytest.raises(UsageError, match="it yields"):

        @troth.workflow
        def order() -> Any:
            yield 1


def test_the_same_is_forbidden_in_it(troth: Troth) -> None:
    with pytest.raises(WorkflowCodeError, match=r"time\.time .*Use troth\.now"):

        @troth.workflow
        def order() -> None:
            import time

            time.time()


def test_a_step_that_nobody_waits_for_is_found(shop: Shop) -> None:
    charge = shop.charge
    with pytest.raises(WorkflowCodeError, match=r"calls charge .* use troth\.wait"):

        @shop.troth.workflow
        def order() -> None:
            charge(1)

    with pytest.raises(WorkflowCodeError, match=r"calls charge .* use await"):

        @shop.troth.workflow
        async def other() -> None:
            charge(1)


def test_without_greenlet_a_def_says_what_to_install() -> None:
    program = """
import sys
sys.modules["greenlet"] = None
from troth import Troth
troth = Troth()

@troth.workflow
async def fine() -> None: ...

for make in (lambda: troth.workflow(lambda: 1), lambda: troth.wait(None)):
    try:
        make()
    except Exception as error:
        print(type(error).__name__, "troth[sync]" in str(error))
"""
    printed = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert printed == "UsageError True\nUsageError True\n"


def test_who_has_no_def_workflow_does_not_load_greenlet() -> None:
    program = (
        "import sys, troth; t = troth.Troth()\n"
        "@t.workflow\nasync def w() -> None: ...\n"
        "print('greenlet' in sys.modules)"
    )
    command = [sys.executable, "-W", "error", "-c", program]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False\n"
