"""`troth.patch`: a run answers once, and stays with its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from tests.workflow.place import QUICK, Place, soon
from troth import NotInRunError, Retry, Run, Troth
from troth.command.model import Author
from troth.command.rewind import rewind
from troth.store.connect import connect_async

Code = Callable[["Shop"], Awaitable[list[str]]]


class Shop:
    """A program whose workflow runs whatever code is in force, and what its steps have done."""

    def __init__(self, troth: Troth, code: Code) -> None:
        self.troth = troth
        self.code = code
        self.done: list[str] = []

        @troth.step
        async def step(name: str) -> str:
            self.done.append(name)
            return name

        @troth.transaction
        async def commit(tx: Any, name: str) -> str:
            await tx.execute("SELECT 1")
            self.done.append(name)
            return name

        @troth.effect(delivery="at_least_once", timeout=1)
        async def effect(call: Any, name: str) -> str:
            self.done.append(name)
            return name

        self.step, self.commit, self.effect = step, commit, effect

        @troth.workflow
        async def work() -> list[str]:
            return list(await self.code(self))

        self.work = work


@pytest.fixture
def shop(troth: Troth) -> Shop:
    return Shop(troth, old)


async def old(shop: Shop) -> list[str]:
    told = [await shop.step("a")]
    await shop.troth.receive("go")
    told.append(await shop.step("b"))
    await shop.troth.receive("end")
    return told


async def new(shop: Shop) -> list[str]:
    told = [await shop.step("a")]
    if shop.troth.patch("c-first"):
        told.append(await shop.step("c"))
    await shop.troth.receive("go")
    told.append(await shop.step("b"))
    if shop.troth.patch("c-first"):
        told.append(await shop.step("d"))
    await shop.troth.receive("end")
    return told


def answers(place: Place, run: Run[Any]) -> list[tuple[str, bool]]:
    return place.rows(
        "SELECT path, ok FROM {s}.journal WHERE run_id = %s AND kind = 8 ORDER BY path", run.id
    )  # type: ignore[return-value]


async def finish(shop: Shop, run: Run[Any]) -> Any:
    for topic in ("go", "end"):
        await shop.troth.send(run, topic)
    return await soon(run.result())


async def test_a_run_that_comes_new_to_it_takes_the_new_branch(place: Place, shop: Shop) -> None:
    shop.code = new
    async with shop.troth.worker(QUICK):
        run = await shop.troth.start(shop.work)
        assert await finish(shop, run) == ["a", "c", "b", "d"]
    assert answers(place, run) == [("!patch/c-first", True)]


async def test_a_run_that_is_beyond_it_stays_with_the_old_branch_everywhere(
    place: Place, shop: Shop
) -> None:
    async with shop.troth.worker(QUICK):
        run = await shop.troth.start(shop.work)
        await place.until_state(run, "waiting")
    shop.code = new
    async with shop.troth.worker(QUICK):
        assert await finish(shop, run) == ["a", "b"]
    assert answers(place, run) == [("!patch/c-first", False)]


async def test_a_run_that_waits_before_it_takes_the_new_branch(place: Place, shop: Shop) -> None:
    async def later(shop: Shop) -> list[str]:
        told = [await shop.step("a")]
        await shop.troth.receive("go")
        told.append(await shop.step("x" if shop.troth.patch("other") else "b"))
        await shop.troth.receive("end")
        return told

    async with shop.troth.worker(QUICK):
        run = await shop.troth.start(shop.work)
        await place.until_state(run, "waiting")
    shop.code = later
    async with shop.troth.worker(QUICK):
        assert await finish(shop, run) == ["a", "x"]


@pytest.mark.parametrize("kind", ["receive", "effect", "retry"])
async def test_what_was_begun_and_has_no_answer_keeps_a_run_on_the_old_branch(  # noqa: C901  (a way of beginning each)
    place: Place, shop: Shop, kind: str
) -> None:
    """Only a request is recorded behind the patch: a wait, an intent or a failed attempt."""
    reached = asyncio.Event()
    hold = asyncio.Event()

    @shop.troth.effect(delivery="at_least_once", timeout=30)
    async def slow(call: Any) -> str:
        reached.set()
        await hold.wait()
        return "slow"

    @shop.troth.step(retry=Retry(attempts=99, first=timedelta(milliseconds=10)))
    async def fails() -> str:
        if hold.is_set():
            return "at last"
        reached.set()
        raise ValueError

    async def begins(shop: Shop) -> str:
        if kind == "receive":
            return str(await shop.troth.receive("go", str))
        return await (slow() if kind == "effect" else fails())

    async def before(shop: Shop) -> list[str]:
        return [await shop.step("a"), await begins(shop)]

    async def after(shop: Shop) -> list[str]:
        told = [await shop.step("a")]
        if shop.troth.patch("p"):
            return [*told, await shop.step("new")]
        return [*told, await begins(shop)]

    shop.code = before
    async with shop.troth.worker(QUICK):
        run = await shop.troth.start(shop.work)
        if kind == "receive":
            await place.until_state(run, "waiting")
        else:
            await soon(reached.wait())
        if kind == "retry":
            await place.until(
                lambda: place.value("SELECT count(*) FROM {s}.journal WHERE kind = 4") > 0, "retry"
            )
        await place.die(shop.troth)
    hold.set()
    shop.code = after
    async with shop.troth.worker(QUICK):
        runs = shop.troth.node.engine.runs
        if (
            kind == "effect"
        ):  # it is waited out before it is sent again: longer than a test may take
            await place.until(lambda: run.id in runs and "slow" in runs[run.id].calls, "replayed")
            assert runs[run.id].patches.answers == {"p": False}
            return
        if kind == "receive":
            await shop.troth.send(run, "go", "slow")
        assert "new" not in await soon(run.result())
    assert answers(place, run) == [("!patch/p", False)]


async def test_a_lone_patch_costs_no_flush_of_its_own(place: Place, shop: Shop) -> None:
    async def plain(shop: Shop) -> list[str]:
        return [await shop.step("a"), await shop.effect("e")]

    async def patched(shop: Shop) -> list[str]:
        shop.troth.patch("first")
        told = [await shop.step("a")]
        shop.troth.patch("second")
        return [*told, await shop.effect("e")]

    flushes = []
    async with shop.troth.worker(QUICK):
        for code in (plain, plain, patched):
            shop.code = code
            before = shop.troth.node.writer.flushes
            await soon((await shop.troth.start(shop.work)).result())
            flushes.append(shop.troth.node.writer.flushes - before)
    assert flushes[2] <= flushes[1]


async def test_in_a_loop_the_first_answer_holds(place: Place, shop: Shop) -> None:
    async def loop(shop: Shop) -> list[str]:
        told = []
        for n in range(3):
            told.append(await shop.step(f"old{n}"))
            await shop.troth.receive("go")
        return told

    async def patched(shop: Shop) -> list[str]:
        told = []
        for n in range(3):
            name = "new" if shop.troth.patch("name") else "old"
            told.append(await shop.step(f"{name}{n}"))
            await shop.troth.receive("go")
        return told

    shop.code = loop
    async with shop.troth.worker(QUICK):
        run = await shop.troth.start(shop.work)
        await place.until_state(run, "waiting")
    shop.code = patched
    for _ in range(3):  # in another worker each time
        async with shop.troth.worker(QUICK):
            claim = place.value("SELECT claim FROM {s}.run WHERE id = %s", run.id)
            await shop.troth.send(run, "go")
            await place.until(
                lambda claim=claim: (
                    place.state(run.id) in {"waiting", "succeeded"}
                    and place.value("SELECT claim FROM {s}.run WHERE id = %s", run.id) != claim
                ),
                "it has moved",
            )
    async with shop.troth.client():
        assert await soon(run.result()) == ["old0", "old1", "old2"]


@pytest.mark.parametrize("begun_by", ["old", "new"])
async def test_going_back_to_before_it_does_not_change_the_answer(
    place: Place, shop: Shop, begun_by: str
) -> None:
    async def raises(shop: Shop) -> list[str]:
        told = [await shop.step("a")]
        told.append(await shop.step("x" if shop.troth.patch("p") else "b"))
        raise ValueError("a bug")

    async def before(shop: Shop) -> list[str]:
        told = [await shop.step("a"), await shop.step("b")]
        await shop.troth.receive("go")
        return told

    async def mended(shop: Shop) -> list[str]:
        told = [await shop.step("a")]
        told.append(await shop.step("x" if shop.troth.patch("p") else "b"))
        return told

    shop.code = before if begun_by == "old" else raises
    async with shop.troth.worker(QUICK):
        run = await shop.troth.start(shop.work)
        if begun_by == "old":
            await place.until_state(run, "waiting")
    shop.code = raises
    async with shop.troth.worker(QUICK):
        if begun_by == "old":
            await shop.troth.send(run, "go")
        assert (await place.attention(run))[0] == "bug"
    shop.code = mended

    async def back(tx: Any) -> None:
        await rewind(tx, place.schema, run.id, "step", Author("ada", None), redo_transactions=True)

    async with await connect_async(place.url) as session, session.transaction():
        await back(session)
    async with shop.troth.worker(QUICK):
        assert await soon(run.result()) == ["a", "b" if begun_by == "old" else "x"]


async def test_a_patch_belongs_into_workflow_code_and_has_a_name(place: Place, shop: Shop) -> None:
    with pytest.raises(NotInRunError, match=r"troth\.patch"):
        shop.troth.patch("p")

    async def nameless(shop: Shop) -> list[str]:
        shop.troth.patch("a b")
        return []

    shop.code = nameless
    async with shop.troth.worker(QUICK):
        reason, detail = await place.attention(await shop.troth.start(shop.work))
    assert reason == "bug"
    assert "cannot name a patch" in detail["message"]
