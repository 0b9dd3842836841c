"""Going on as another run: one commit, and whoever waits, sends or cancels follows."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest

from tests.workflow.place import QUICK, Place, soon
from tests.workflow.test_children import children, nothing_is_left, shop
from troth import NotInRunError, Refused, Run, RunCancelledError, RunFailedError, Troth
from troth.journal.model import Batch, Reply
from troth.worker.node import NodeOptions


def chain(place: Place, first: UUID) -> list[UUID]:
    """A run and what it went on as."""
    found, last = [first], first
    while following := place.value("SELECT continued FROM {s}.run_history WHERE id = %s", last):
        found.append(following)
        last = following
    return found


async def test_whoever_waits_is_told_the_end_of_the_last(place: Place, troth: Troth) -> None:
    @troth.workflow
    async def loop(n: int, total: int) -> int:
        if n == 0:
            return total
        return troth.continue_as(n - 1, total + n)

    @troth.workflow
    async def outer() -> int:
        return await loop(4, 0) + await (await troth.start(loop, 3, 0)).result()

    async with troth.worker(QUICK):
        run = await troth.start(loop, 3, 0, key="loop")
        states = [update.state async for update in run.watch()]
        assert await soon(run.result()) == 6
        assert states[-1] == "succeeded"
        again = await troth.start(loop, 3, 0, key="loop")
        assert await soon(again.result()) == 6
        assert await soon((await troth.start(outer)).result()) == 16
    ids = chain(place, run.id)
    assert len(ids) == 4
    assert again.id == ids[-1], "the key is the last one's"
    assert nothing_is_left(place)


@pytest.mark.parametrize("key", [None, "k"])
async def test_messages_that_were_not_heard_go_with_it(
    place: Place, troth: Troth, key: str | None
) -> None:
    @troth.workflow
    async def loop(heard: list[str]) -> list[str]:
        heard = [*heard, await troth.receive("word", str)]
        if len(heard) == 3:
            return heard
        return troth.continue_as(heard)

    async with troth.client():
        run = await troth.start(loop, [], key=key)
        for word in "abc":
            await troth.send(run, "word", word, key=word)
        await troth.send(run, "word", "a", key="a")  # the same message
    async with troth.worker(QUICK):
        assert await soon(run.result()) == ["a", "b", "c"]
    assert len(chain(place, run.id)) == 3
    assert nothing_is_left(place)
    assert not place.rows("SELECT 1 FROM {s}.message_once")


async def test_who_sends_and_cancels_reaches_the_last(place: Place, troth: Troth) -> None:
    @troth.workflow
    async def loop(n: int) -> str:
        if n:
            troth.continue_as(n - 1)
        return str(await troth.receive("word", str))

    @troth.workflow
    async def outer() -> str:
        return await loop(2)

    async with troth.worker(QUICK):
        told, stopped, parent = (
            await troth.start(loop, 2),
            await troth.start(loop, 2),
            await troth.start(outer),
        )
        for run in (told, stopped):
            await place.until(lambda run=run: len(chain(place, run.id)) == 3, "the last is there")
            await place.until_state(chain(place, run.id)[-1], "waiting")
        await troth.send(told, "word", "hello")
        assert await soon(told.result()) == "hello"
        await stopped.cancel()
        with pytest.raises(RunCancelledError):
            await soon(stopped.result())
        await place.until_state(parent, "waiting")
        await parent.cancel()
        with pytest.raises(RunCancelledError):
            await soon(parent.result())
    assert nothing_is_left(place)


async def test_what_is_under_way_must_be_awaited_first(place: Place, troth: Troth) -> None:
    @troth.workflow
    async def inner() -> None: ...

    @troth.workflow
    async def loop(how: str) -> None:
        if how == "sleep":
            asyncio.create_task(troth.sleep(100))  # noqa: RUF006
            await asyncio.sleep(0)
        elif how == "child":
            await troth.start(inner)
        elif how == "task":

            async def nested() -> None:
                troth.continue_as("")

            await asyncio.create_task(nested())
        troth.continue_as("")

    async with troth.worker(QUICK):
        for how, said in (
            ("sleep", "while sleep is under way"),
            ("child", "while start.inner/end is under way"),
            ("task", "in no task"),
        ):
            reason, detail = await place.attention(await troth.start(loop, how))
            assert reason == "bug"
            assert said in detail["message"]
    with pytest.raises(NotInRunError):
        troth.continue_as()


async def test_what_was_done_before_is_done(place: Place, troth: Troth) -> None:
    @troth.workflow
    async def loop(first: bool) -> None:
        if first:
            troth.continue_as(False)
        raise Refused("no")

    async with troth.worker(QUICK):
        run = await troth.start(loop, True)
        with pytest.raises(RunFailedError):
            await soon(run.result())
    assert [place.state(each) for each in chain(place, run.id)] == ["succeeded", "failed"]


@pytest.mark.parametrize("waits", [False, True])
async def test_a_parent_that_fails_hears_of_what_the_first_of_a_chain_has_done(
    place: Place, troth: Troth, waits: bool
) -> None:
    """It is carried in memory, and read from the journal by a worker that takes the last one up."""
    did: list[str] = []
    reserve = shop(troth, did)

    @troth.workflow
    async def loop(left: int) -> None:
        if left == 3:
            await reserve(1)
        if left:
            troth.continue_as(left - 1)
        if waits:
            await troth.receive("word")

    @troth.workflow
    async def outer() -> None:
        await loop(3)
        raise Refused("no")

    async with troth.worker(QUICK):
        run = await troth.start(outer)
        if waits:
            await place.until(lambda: children(place, run.id), "the chain has begun")
            ((child, _),) = children(place, run.id)[:1]
            await place.until(lambda: len(chain(place, child)) == 4, "the last is there")
            last = chain(place, child)[-1]
            await place.until_state(last, "waiting")
            await troth.send(last, "word")
        reason, detail = await place.attention(run)
        assert (reason, detail["at"]) == ("undo_failed", "!undo/loop")
        place.settle(run, "!undo/loop")
        with pytest.raises(RunFailedError):
            await soon(run.result())
    assert did == ["reserve 1"]
    assert place.value("SELECT count(*) FROM {s}.journal WHERE path = '!origin'") == 3


async def test_a_chain_that_owes_nothing_records_nothing_of_it(place: Place, troth: Troth) -> None:
    @troth.workflow
    async def loop(left: int) -> int:
        return troth.continue_as(left - 1) if left else 0

    @troth.workflow
    async def outer() -> None:
        await loop(3)
        raise Refused("no")

    async with troth.worker(QUICK):
        with pytest.raises(RunFailedError):
            await soon((await troth.start(outer)).result())
    assert not place.rows("SELECT 1 FROM {s}.journal WHERE path = '!origin'")


async def test_a_cancellation_that_comes_first_wins(place: Place, troth: Troth) -> None:
    """It is sent when the end is in a flush already: the flush answers so, and there is no successor."""
    sent = asyncio.Event()

    @troth.workflow
    async def loop() -> None:
        troth.continue_as()

    async with troth.worker(QUICK):
        writer = troth.node.writer
        flush = writer._flush

        async def held(batch: Batch) -> Reply:
            if batch.continuations and not sent.is_set():
                sent.set()
                run_id = batch.continuations[0].run_id
                place.rows(
                    "SELECT {s}.send_message(gen_random_uuid(), %s, NULL, '!cancel', 'null', NULL)",
                    run_id,
                )
            return await flush(batch)

        writer._flush = held  # type: ignore[method-assign]
        run: Run[None] = await troth.start(loop)
        with pytest.raises(RunCancelledError):
            await soon(run.result())
        assert troth.node.claims.reserved == 0
    assert len(chain(place, run.id)) == 1
    assert nothing_is_left(place)


# ── journals that grow too long ─────────────────────────────────────────────────────────────────


async def test_a_journal_that_grows_too_long_is_warned_of_and_parks_its_run(
    place: Place, troth: Troth, caplog: pytest.LogCaptureFixture
) -> None:
    did: list[int] = []

    @troth.step
    async def step(n: int) -> None:
        did.append(n)

    @troth.workflow
    async def long() -> str:
        for n in range(30):
            await step(n)
        return "done"

    async with troth.worker(NodeOptions(journal_warning=10, journal_limit=20)):
        run = await troth.start(long)
        reason, detail = await place.attention(run)
    assert reason == "journal_limit"
    assert "troth.continue_as" in detail["message"]
    assert did == list(range(20))
    warnings = [r for r in caplog.records if "has recorded 10 entries" in r.getMessage()]
    assert len(warnings) == 1
    async with troth.worker(NodeOptions(journal_limit=40)):
        place.resume(run)
        assert await soon(run.result()) == "done"
    assert did == list(range(30))


async def test_what_was_done_is_undone_beyond_the_limit(place: Place, troth: Troth) -> None:
    did: list[str] = []
    reserve = shop(troth, did)

    @troth.workflow
    async def work() -> None:
        for n in range(3):
            await reserve(n)
        raise Refused("no")

    async with troth.worker(NodeOptions(journal_warning=2, journal_limit=7)):
        with pytest.raises(RunFailedError):
            await soon((await troth.start(work)).result())
    assert did[3:] == ["free 2", "free 1", "free 0"]
