"""Sleeping, receiving and being cancelled: nothing is missed, early, late or twice."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.workflow.place import QUICK, Place, soon, unknown_run
from troth import (
    KeyConflictError,
    Run,
    RunCancelledError,
    RunEndedError,
    RunNotFoundError,
    TimedOut,
    Troth,
    UsageError,
)
from troth.journal.model import Batch, Kind, Message
from troth.journal.store import EMPTY_REPLY
from troth.store.connect import connect_async
from troth.workflow.run import CallState

# ── sleep ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("seconds", [0, 0.2])
async def test_a_short_sleep_stays_in_memory(place: Place, troth: Troth, seconds: float) -> None:
    @troth.workflow
    async def work() -> float:
        before = troth.now()
        await troth.sleep(seconds)
        return (troth.now() - before).total_seconds()

    async with troth.worker(QUICK):
        run = await troth.start(work)
        slept_s = await soon(run.result())
    assert seconds <= slept_s < seconds + 5
    assert place.value("SELECT claim FROM {s}.run_history WHERE id = %s", run.id) == 1


async def test_a_long_sleep_lets_go_of_the_run_and_is_kept_by_the_journal(
    place: Place, troth: Troth
) -> None:
    @troth.workflow
    async def work() -> float:
        before = troth.now()
        await troth.sleep(timedelta(seconds=2.5))
        return (troth.now() - before).total_seconds()

    async with troth.worker(QUICK):
        runs = troth.node.engine.runs
        run = await troth.start(work)
        await place.until_state(run, "waiting")
        await place.until(lambda: not runs, "its memory is free")
    async with troth.worker(QUICK):  # another one wakes it
        slept_s = await soon(run.result())
    assert 2.5 <= slept_s < 10
    assert place.value("SELECT claim FROM {s}.run_history WHERE id = %s", run.id) == 2
    (wait, _) = place.journal(run.id)
    assert wait[:3] == ("sleep", Kind.WAIT, 0)


async def test_a_sleep_that_is_overdue_is_over_at_once(place: Place, troth: Troth) -> None:
    @troth.workflow
    async def work() -> str:
        await troth.sleep(timedelta(days=1000))
        return "awake"

    async with troth.worker(QUICK):
        run = await troth.start(work)
        await place.until_state(run, "waiting")
    place.rows(
        "UPDATE {s}.journal SET payload = convert_to(extract(epoch FROM now() - interval '1 s')::text, 'UTF8')"
        " WHERE run_id = %s",
        run.id,
    )
    place.rows("UPDATE {s}.run SET wake_at = now() WHERE id = %s", run.id)
    async with troth.worker(QUICK):
        assert await soon(run.result()) == "awake"


@pytest.mark.parametrize("wrong", [-1, timedelta(seconds=-1), float("nan"), float("inf"), 10**10])
async def test_waits_that_are_none_are_refused(place: Place, troth: Troth, wrong: Any) -> None:
    @troth.workflow
    async def work() -> str:
        for wait in (lambda: troth.sleep(wrong), lambda: troth.receive("t", timeout=wrong)):
            with pytest.raises(UsageError, match="is not possible"):
                wait()
        return "refused"

    async with troth.worker(QUICK):
        assert await soon((await troth.start(work)).result()) == "refused"


# ── receive ─────────────────────────────────────────────────────────────────────────────────────


async def test_messages_are_received_in_the_order_in_which_they_were_sent(
    place: Place, troth: Troth
) -> None:
    @troth.step
    async def pass_on(n: int) -> int:
        return n

    @troth.workflow
    async def work() -> list[int]:
        return [await pass_on(await troth.receive("n", int)) for _ in range(5)]

    async with troth.worker(QUICK):
        run = await troth.start(work)
        for n in range(5):
            await troth.send(run.id if n % 2 else run, "n", n)
        assert await soon(run.result()) == [0, 1, 2, 3, 4]
    assert place.rows("SELECT * FROM {s}.message") == []


async def test_a_message_may_come_before_its_receiver_and_before_its_run(
    place: Place, troth: Troth
) -> None:
    gate = asyncio.Event()

    @troth.step
    async def hold() -> None:
        await gate.wait()

    @troth.workflow
    async def work() -> list[str]:
        first = await troth.receive("t", str)
        await hold()
        return [first, await troth.receive("t", str)]

    async with troth.worker(QUICK):
        await troth.send("order-1", "t", "before the run")
        run = await troth.start(work, key="order-1")
        await troth.send("order-1", "t", "before the receiver")
        gate.set()
        assert await soon(run.result()) == ["before the run", "before the receiver"]


async def test_a_receive_times_out(place: Place, troth: Troth) -> None:
    @troth.workflow
    async def work(timeout: float) -> str:
        message = await troth.receive("t", str, timeout=timeout)
        assert message == TimedOut()
        return "nothing" if not message else "something"

    async with troth.worker(QUICK):
        for timeout in (0, 0.1, 1.5):
            run = await troth.start(work, timeout)
            assert await soon(run.result()) == "nothing"
            assert place.results(run.id) == ["receive.t"]


async def test_two_receivers_of_a_topic_are_served_in_the_order_in_which_they_began(
    place: Place, troth: Troth
) -> None:
    @troth.workflow
    async def work() -> list[int]:
        return await asyncio.gather(troth.receive("t", int), troth.receive("t", int))

    async with troth.worker(QUICK):
        run = await troth.start(work)
        await place.until_state(run, "waiting")
        await troth.send(run, "t", 1)
        await place.until(lambda: len(place.results(run.id)) == 1, "the first is served")
        await troth.send(run, "t", 2)
        assert await soon(run.result()) == [1, 2]


async def test_a_receiver_that_was_cancelled_takes_no_message(place: Place, troth: Troth) -> None:
    """Whoever gave up waiting must not swallow what comes afterwards."""

    @troth.workflow
    async def work() -> str:
        waiting = asyncio.create_task(troth.receive("t", str))
        await troth.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])  # troth: ok
        await troth.receive("go")
        return await troth.receive("t", str)

    async with troth.worker(QUICK):
        run = await troth.start(work)
        await place.until_state(run, "waiting")
        await troth.send(run, "t", "hello")
        await troth.send(run, "go")
        assert await soon(run.result()) == "hello"


async def test_mail_for_a_cancelled_receiver_does_not_keep_the_run_busy(
    place: Place, troth: Troth
) -> None:
    @troth.workflow
    async def work() -> str:
        waiting = asyncio.create_task(troth.receive("t", str))
        await troth.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])  # troth: ok
        await troth.receive("go")
        return "done"

    async with troth.worker(QUICK):
        run = await troth.start(work)
        await place.until_state(run, "waiting")
        await troth.send(run, "t", "nobody wants it")
        writer = troth.node.writer
        before = writer.flushes
        await troth.send(run, "other", "nobody wants it, either")
        await troth.send(run, "go")
        assert await soon(run.result()) == "done"
        assert writer.flushes - before < 20


async def test_a_sleep_that_ends_while_a_sender_holds_the_run_is_not_missed(
    place: Place, troth: Troth
) -> None:
    """The run is being let go of, and then kept for the message: its timer must go on."""

    gate = asyncio.Event()

    @troth.step
    async def hold() -> None:
        await gate.wait()

    @troth.workflow
    async def work() -> list[Any]:
        await hold()
        return await asyncio.gather(troth.receive("t", str), troth.sleep(2))

    async with troth.worker(QUICK), await connect_async(place.url) as sender:
        async with sender.transaction():
            run = await troth.start(work)
            await troth.send(run, "t", "hello", tx=sender)  # holds the run until it commits
            (active,) = troth.node.engine.runs.values()
            gate.set()
            await place.until(lambda: active.releasing, "it is being let go of")
            (sleep,) = [call for call in active.calls.values() if call.path == "sleep"]
            assert sleep.due is not None
            due = sleep.due
            # What an earlier flush found is not handed out any more: the release would overtake the answer.
            early = Message(unknown_run(), "t", b'"too early"')
            mail = EMPTY_REPLY._replace(kept=frozenset({run.id}), mail={run.id: [early]})
            troth.node.engine.flushed(Batch(), mail)
            assert active.calls["receive.t"].state is CallState.WAITING
            node = troth.node
            await place.until(lambda: node.clock.now() > due + 0.1, "its sleep is over")
            assert active.releasing
        assert await soon(run.result()) == ["hello", None]


async def test_messages_of_other_topics_stay_for_later(place: Place, troth: Troth) -> None:
    @troth.workflow
    async def work() -> list[str]:
        return [await troth.receive("a", str), await troth.receive("b", str)]

    async with troth.worker(QUICK):
        run = await troth.start(work)
        await place.until_state(run, "waiting")
        await troth.send(run, "b", "second")
        await troth.send(run, "a", "first")
        assert await soon(run.result()) == ["first", "second"]


async def test_a_message_of_the_wrong_type_stands_in_attention_and_is_not_lost(
    place: Place, troth: Troth
) -> None:
    @troth.workflow
    async def work() -> int:
        return await troth.receive("n", int)

    async with troth.worker(QUICK):
        run = await troth.start(work)
        await troth.send(run, "n", "not a number")
        reason, detail = await place.attention(run)
    assert (reason, detail["at"]) == ("poison", "receive.n")
    assert "a message of n" in detail["message"]
    assert place.value("SELECT count(*) FROM {s}.message") == 1


async def test_messages_to_no_run_and_to_an_ended_run_are_refused(
    place: Place, troth: Troth
) -> None:
    @troth.workflow
    async def work() -> None:
        pass

    async with troth.worker(QUICK):
        with pytest.raises(RunNotFoundError, match="there is no run"):
            await troth.send(unknown_run(), "t")
        run = await troth.start(work, key="k")
        await soon(run.result())
        with pytest.raises(RunEndedError, match="takes no more messages"):
            await troth.send(run, "t")
        with pytest.raises(RunEndedError):
            await troth.send("k", "t")
        with pytest.raises(RunEndedError):
            await run.cancel()


@pytest.mark.parametrize("topic", ["", "!cancel", "a,b", "a b", "x" * 101])
async def test_topics_that_cannot_be_are_refused(troth: Troth, topic: str) -> None:
    async with troth.client():
        with pytest.raises(UsageError, match="cannot be a topic"):
            await troth.send("key", topic)


# ── cancel ──────────────────────────────────────────────────────────────────────────────────────


async def cancelled(run: Run[Any]) -> None:
    with pytest.raises(RunCancelledError):
        await soon(run.result())


async def test_a_waiting_run_is_cancelled(place: Place, troth: Troth) -> None:
    @troth.workflow
    async def work() -> None:
        await troth.sleep(timedelta(days=1))

    async with troth.worker(QUICK):
        run = await troth.start(work)
        await place.until_state(run, "waiting")
        await run.cancel()
        await cancelled(run)
    assert place.state(run.id) == "cancelled"
    assert place.results(run.id) == ["!cancel"]


async def test_a_running_run_is_cancelled_when_its_step_has_ended(
    place: Place, troth: Troth
) -> None:
    gate, begun = asyncio.Event(), asyncio.Event()
    performed: list[str] = []

    @troth.step
    async def hold() -> None:
        begun.set()
        await gate.wait()
        performed.append("hold")

    @troth.step
    async def after() -> None:
        performed.append("after")

    @troth.workflow
    async def work() -> None:
        try:
            await hold()
        finally:
            performed.append("finally")
        await after()

    async with troth.worker(QUICK):
        run = await troth.start(work)
        await soon(begun.wait())
        await run.cancel()
        await place.until(lambda: not place.rows("SELECT 1 FROM {s}.message"), "it is heard")
        gate.set()
        await cancelled(run)
    assert sorted(performed) == ["finally", "hold"]


async def test_a_run_that_is_cancelled_before_it_began_performs_nothing(
    place: Place, troth: Troth
) -> None:
    performed: list[str] = []

    @troth.step
    async def work_hard() -> None:
        performed.append("step")

    @troth.workflow
    async def work() -> None:
        await work_hard()

    async with troth.client():
        run = await troth.start(work)
        await run.cancel()
        await run.cancel()  # asking twice is one cancellation
    async with troth.worker(QUICK):
        later = await troth.start(work, at=datetime.now(UTC) + timedelta(days=1))
        await later.cancel()
        await cancelled(run)
        await cancelled(later)
    assert performed == []


async def test_a_cancellation_by_key_reaches_a_run_that_starts_later(
    place: Place, troth: Troth
) -> None:
    performed: list[str] = []

    @troth.step
    async def work_hard() -> None:
        performed.append("step")

    @troth.workflow
    async def work() -> None:
        await work_hard()
        await troth.receive("never")

    async with troth.worker(QUICK):
        run = await troth.start(work, key="k")
        await place.until_state(run, "waiting")
        await run.cancel()
        await cancelled(run)
        again = await troth.start(work, key="k")
        assert again.id == run.id
        await cancelled(again)
        with pytest.raises(KeyConflictError):
            await troth.start(other(troth), key="k")


def other(troth: Troth) -> Any:
    @troth.workflow
    async def another() -> None:
        pass

    return another


async def test_a_cancellation_that_races_the_end_is_either_heard_or_refused(
    place: Place, troth: Troth
) -> None:
    """Whoever was told yes sees a cancelled run; whoever was told no sees a result."""

    @troth.step
    async def quick(n: int) -> int:
        return n

    @troth.workflow
    async def work(n: int) -> int:
        return await quick(n)

    told: dict[str, int] = {"accepted": 0, "refused": 0}

    async def race(n: int) -> None:
        run = await troth.start(work, n)
        for _ in range(n):
            await asyncio.sleep(0)
        try:
            await run.cancel()
        except RunEndedError:
            told["refused"] += 1
            assert await soon(run.result()) == n
        else:
            told["accepted"] += 1
            await cancelled(run)

    async with troth.worker(QUICK):
        await asyncio.gather(*(race(n) for n in range(40)))
        run = await troth.start(work, 1)
        await soon(run.result())
        with pytest.raises(RunEndedError):
            await run.cancel()
    assert told["accepted"] > 0


async def test_a_workflow_cleans_up_with_steps_when_it_is_cancelled(
    place: Place, troth: Troth
) -> None:
    performed: list[str] = []

    @troth.step
    async def clean_up() -> None:
        performed.append("cleaned up")

    @troth.workflow
    async def work() -> None:
        try:
            await troth.receive("never")
        finally:
            await clean_up()

    async with troth.worker(QUICK):
        run = await troth.start(work)
        await place.until_state(run, "waiting")
        await run.cancel()
        await cancelled(run)
    assert performed == ["cleaned up"]


async def test_a_result_is_waited_for_no_longer_than_asked(place: Place, troth: Troth) -> None:
    @troth.workflow
    async def work() -> None:
        await troth.receive("never")

    async with troth.worker(QUICK):
        run = await troth.start(work)
        before = time.monotonic()
        with pytest.raises(TimeoutError):
            await run.result(timeout=0.1)
        with pytest.raises(TimeoutError):
            await run.result(timeout=timedelta(milliseconds=100))
        assert time.monotonic() - before < 5


async def test_workflow_code_that_waits_for_nothing_needs_a_person(
    place: Place, troth: Troth
) -> None:
    """Nobody will ever set this event: it must not look like an ordinary wait."""

    @troth.workflow
    async def work() -> None:
        await asyncio.Event().wait()

    async with troth.worker(QUICK):
        run = await troth.start(work)
        reason, detail = await place.attention(run)
        assert reason == "bug"
        assert "waits for something" in detail["message"]
        await run.cancel()
        await cancelled(run)
