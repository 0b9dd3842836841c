"""Typed topics, messages with keys of their own, several topics at once, and messages between runs."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg
import pytest

from tests.workflow.place import QUICK, Place, soon
from troth import KeyConflictError, PayloadError, RunEndedError, TimedOut, Troth, UsageError
from troth.journal.model import Kind
from troth.store.connect import connect_async
from troth.workflow.topics import Received, Topic

T = TypeVar("T")


@dataclass
class Approval:
    by: str
    limit: int = 0


approved = Topic[Approval]("approved")
rejected = Topic[str]("rejected")


# ── topics ──────────────────────────────────────────────────────────────────────────────────────


def test_a_topic_is_checked_when_it_is_made() -> None:
    assert approved == Topic("approved", Approval)
    with pytest.raises(UsageError, match="cannot be a topic"):
        Topic[int]("!cancel")
    with pytest.raises(UsageError, match="cannot be stored"):
        Topic[asyncio.Lock]("locks")
    with pytest.raises(UsageError, match="say of which type"):
        Topic[T]("t")  # type: ignore[valid-type]
    with pytest.raises(AttributeError):
        approved.name = "other"  # type: ignore[misc]
    assert isinstance(Topic[int] | None, object)


async def test_a_value_of_another_type_is_told_to_the_sender(place: Place, troth: Troth) -> None:
    async with troth.client():
        with pytest.raises(PayloadError, match="a message of approved"):
            await troth.send("k", approved, "ada")  # type: ignore[call-overload]
    assert place.rows("SELECT * FROM {s}.message") == []


async def test_a_typed_message_is_received_as_its_type(troth: Troth) -> None:
    @troth.workflow
    async def work() -> str:
        message = await troth.receive(approved, timeout=30)
        assert isinstance(message, Approval)
        late = await troth.receive(approved, timeout=0.05)
        assert isinstance(late, TimedOut)
        return message.by

    async with troth.worker(QUICK):
        run = await troth.start(work)
        await troth.send(run, approved, Approval("ada"))
        assert await soon(run.result()) == "ada"


# ── a message's own key ─────────────────────────────────────────────────────────────────────────


async def test_the_same_key_is_the_same_message_also_after_it_was_heard(
    place: Place, troth: Troth
) -> None:
    @troth.workflow
    async def work() -> list[Any]:
        first = await troth.receive(approved)
        return [first.by, await troth.receive("end", str)]

    async with troth.worker(QUICK):
        await troth.send("order", approved, Approval("ada"), key="1")  # before there is a run
        run = await troth.start(work, key="order")
        await place.until_state(run, "waiting")  # and has heard it
        for target in (run, "order", run.id):
            await troth.send(target, approved, Approval("ada"), key="1")
            with pytest.raises(KeyConflictError, match="another message of approved"):
                await troth.send(target, approved, Approval("bob"), key="1")
        assert place.rows("SELECT * FROM {s}.message") == []
        await troth.send(run, "end", "2", key="1")  # another topic, another message
        assert await soon(run.result()) == ["ada", "2"]
    assert place.rows("SELECT * FROM {s}.message_once") == []


async def test_two_sends_with_one_key_from_two_processes_are_one(
    place: Place, troth: Troth
) -> None:
    """One is in an open transaction: the other waits for its outcome without stalling anybody."""

    @troth.workflow
    async def work() -> list[str]:
        return [await troth.receive("t", str), await troth.receive("end", str)]

    async with troth.worker(QUICK):
        run = await troth.start(work)
        async with await connect_async(place.url) as user:
            async with user.transaction():
                await troth.send(run, "t", "said", key="k", tx=user)
                second = asyncio.ensure_future(troth.send(run, "t", "said", key="k"))
                third = asyncio.ensure_future(troth.send(run, "t", "other", key="k"))
                await troth.send("nobody", "t", "x")  # flushes go on
                assert not second.done()
            await soon(second)
            with pytest.raises(KeyConflictError):
                await soon(third)
        await troth.send(run, "end", "end")
        assert await soon(run.result()) == ["said", "end"]


async def test_a_key_of_a_transaction_that_was_rolled_back_is_free(
    place: Place, troth: Troth
) -> None:
    @troth.workflow
    async def work() -> str:
        return await troth.receive("t", str)

    async with troth.worker(QUICK):
        run = await troth.start(work)
        async with await connect_async(place.url) as user:
            with pytest.raises(ZeroDivisionError):  # noqa: PT012
                async with user.transaction():
                    await troth.send(run, "t", "never", key="k", tx=user)
                    raise ZeroDivisionError
        await troth.send(run, "t", "said", key="k")
        assert await soon(run.result()) == "said"


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
async def test_on_an_older_snapshot_a_twin_is_a_serialization_failure(
    place: Place, troth: Troth, level: str
) -> None:
    async with troth.client(), await connect_async(place.url) as user:
        await user.execute(f"BEGIN ISOLATION LEVEL {level}")
        await user.execute("SELECT 1 FROM pg_class LIMIT 1")
        await troth.send("k", "t", 1, key="once")
        with pytest.raises(psycopg.errors.SerializationFailure):
            await troth.send("k", "t", 1, key="once", tx=user)
    assert place.value("SELECT count(*) FROM {s}.message") == 1


@pytest.mark.parametrize("wrong", ["", "x" * 501, "a\0"])
async def test_keys_that_are_none_are_refused(troth: Troth, wrong: str) -> None:
    async with troth.client():
        with pytest.raises(UsageError, match="the key of a message"):
            await troth.send("run", "t", 1, key=wrong)


# ── several topics ──────────────────────────────────────────────────────────────────────────────


async def test_the_oldest_of_several_topics_is_heard_and_the_rest_stays(
    place: Place, troth: Troth
) -> None:
    @troth.workflow
    async def work() -> list[Any]:
        one = await troth.receive_any(approved, rejected)
        two = await troth.receive_any(approved, rejected, timeout=60)
        three = await troth.receive_any(approved, rejected, timeout=0.05)
        await troth.sleep(2)  # leaves memory: all of it is replayed
        assert isinstance(two, Received)
        assert isinstance(three, TimedOut)
        assert one.topic is rejected
        return [one.value, two.topic.name, two.value, await troth.receive("rest", int)]

    async with troth.worker(QUICK):
        await troth.send("k", "rest", 7)
        await troth.send("k", rejected, "no")
        await troth.send("k", approved, Approval("ada", 5))
        run = await troth.start(work, key="k")
        answer = await soon(run.result())
    assert answer == ["no", "approved", {"by": "ada", "limit": 5}, 7]
    assert place.results(run.id) == [
        "receive_any", "receive_any#2", "receive_any#3", "sleep", "receive.rest"
    ]  # fmt: skip


async def test_a_message_wakes_a_run_that_waits_for_several_topics(
    place: Place, troth: Troth
) -> None:
    @troth.workflow
    async def work() -> str:
        return (await troth.receive_any(approved, rejected)).topic.name

    async with troth.worker(QUICK):
        run = await troth.start(work)
        await place.until_state(run, "waiting")
        await troth.send(run, rejected, "no")
        assert await soon(run.result()) == "rejected"


async def test_a_message_whose_receiver_was_given_up_goes_to_who_listens_next(
    place: Place, troth: Troth
) -> None:
    """The answer and the cancellation of its receiver meet: the message comes back, live and in a replay."""

    @troth.step
    async def quick() -> None: ...

    @troth.workflow
    async def work() -> str:
        for _ in range(3):
            waiting = asyncio.ensure_future(troth.receive_any(approved, rejected))
            await quick()
            if waiting.done():
                return waiting.result().value
            waiting.cancel()
        got = await troth.receive_any(rejected, approved)
        await troth.sleep(1.5)
        return str(got.value)

    async with troth.worker(QUICK):
        await troth.send("k", rejected, "no")
        run = await troth.start(work, key="k")
        assert await soon(run.result()) == "no"


# ── from a workflow ─────────────────────────────────────────────────────────────────────────────


async def test_a_message_of_a_workflow_is_a_recorded_step(place: Place, troth: Troth) -> None:
    @troth.workflow
    async def tell(key: str) -> str:
        await asyncio.gather(*(troth.send(key, "t", n) for n in range(2)))
        await troth.sleep(1.5)  # replayed: nothing is sent again
        await troth.send(key, approved, Approval("ada"), key="a")
        return "told"

    @troth.workflow
    async def hear() -> list[int]:
        heard = [await troth.receive("t", int), await troth.receive("t", int)]
        await troth.receive(approved)
        return sorted(heard)

    async with troth.worker(QUICK):
        other = await troth.start(hear, key="other")
        run = await troth.start(tell, "other")
        assert await soon(run.result()) == "told"
        assert await soon(other.result()) == [0, 1]
    sent = [e for e in place.journal(run.id) if "send." in e[0]]
    # The first two are sent at once, and either may be recorded first.
    assert sorted((path.rpartition(":")[2], kind, ok) for path, kind, _, _, ok, _ in sent) == [
        ("send.approved", Kind.RESULT, True),
        ("send.t", Kind.RESULT, True), ("send.t#2", Kind.RESULT, True),
    ]  # fmt: skip
    commits = place.rows(
        "SELECT DISTINCT kind FROM {s}.journal WHERE run_id = %s AND path LIKE '%%send%%'", run.id
    )
    assert commits == [(Kind.RESULT,)]


async def test_to_a_run_that_has_ended_is_an_answer_that_a_workflow_may_catch(
    troth: Troth,
) -> None:
    @troth.workflow
    async def brief() -> None: ...

    @troth.workflow
    async def tell(key: str) -> str:
        try:
            await troth.send(key, "t", 1)
        except RunEndedError:
            return "too late"
        return "told"

    async with troth.worker(QUICK):
        await (await troth.start(brief, key="brief")).result()
        assert await soon((await troth.start(tell, "brief")).result()) == "too late"


async def test_a_message_of_a_workflow_is_sent_once_though_its_worker_dies(
    place: Place, troth: Troth
) -> None:
    """Sent and recorded are one commit: taken over after it, the run does not send again."""

    @troth.workflow
    async def tell() -> None:
        await troth.send("heir", "t", 1)
        await troth.receive("go", int)

    async with troth.worker(QUICK):
        run = await troth.start(tell)
        await place.until(lambda: place.results(run.id) == ["send.t"], "it is recorded")
        await place.die(troth)
    async with troth.worker(QUICK):
        await troth.send(run, "go", 1)
        await soon(run.result())
    assert place.value("SELECT count(*) FROM {s}.message WHERE topic = 't'") == 1


# ── races ───────────────────────────────────────────────────────────────────────────────────────


async def test_sent_while_the_run_ends_is_heard_or_told_as_late(place: Place, troth: Troth) -> None:
    @troth.workflow
    async def work() -> bool:
        return isinstance(await troth.receive("t", int, timeout=0.0), int)

    async def once(number: int) -> None:
        run = await troth.start(work)
        try:
            await troth.send(run, "t", number, key="k")
        except RunEndedError:
            assert await soon(run.result()) is False
        else:
            await soon(run.result())

    async with troth.worker(QUICK):
        await asyncio.gather(*map(once, range(100)))
    assert place.rows("SELECT * FROM {s}.message") == []
    assert place.rows("SELECT * FROM {s}.message_once") == []


async def test_taken_over_between_heard_and_delivered(place: Place, troth: Troth) -> None:
    """The answer is durable, and the worker dies before its workflow has gone on: the heir goes on from the answer."""

    @troth.workflow
    async def work() -> list[str]:
        got = await troth.receive_any(approved, rejected)
        return [got.topic.name, await troth.receive("end", str)]

    async with troth.worker(QUICK):
        run = await troth.start(work)
        await troth.send(run, rejected, "no", key="k")
        await place.until(lambda: place.results(run.id) == ["receive_any"], "it was heard")
        await place.die(troth)
    async with troth.worker(QUICK):
        await troth.send(run, rejected, "no", key="k")  # the sender, who was not sure
        await troth.send(run, "end", "end")
        assert await soon(run.result()) == ["rejected", "end"]
    assert place.rows("SELECT * FROM {s}.message") == []
