"""Effects against a provider of this process: what is sent, how often, and what is done when nobody knows."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any

import pytest

from tests.workflow.place import QUICK, Place, soon
from troth import Call, Judgement, Outcome, Provider, Refused, Retry, RunFailedError, Troth
from troth.base import codec
from troth.journal.model import Kind

DEDUPES = Provider("dedupes", key_lifetime=timedelta(hours=24))
AT_ONCE = Retry(attempts=4, first=timedelta(0))


class Far:
    """The other side: what it got, and what it does with the next requests."""

    def __init__(self, *answers: object) -> None:
        self.calls: list[Call] = []
        self._answers = list(answers)

    async def request(self, call: Call) -> str:
        self.calls.append(call)
        answer = self._answers.pop(0) if self._answers else "done"
        if answer is NEVER:
            await asyncio.Event().wait()
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    @property
    def keys(self) -> list[str]:
        return [call.key for call in self.calls]


NEVER = object()


def intents(place: Place, run: Any) -> list[int]:
    return [e[2] for e in place.journal(run.id) if e[1] == Kind.INTENT]


@pytest.mark.parametrize("blocking", [False, True])
async def test_done(place: Place, troth: Troth, *, blocking: bool) -> None:
    far = Far()

    async def charge(call: Call, cents: int) -> str:
        assert intents(place, run) == [1], "its intent is durable before it is sent"
        return f"{await far.request(call)} {cents}"

    def charge_blocking(call: Call, cents: int) -> str:
        assert intents(place, run) == [1], "its intent is durable before it is sent"
        far.calls.append(call)
        return f"done {cents}"

    body = charge_blocking if blocking else charge
    step = troth.effect(provider=DEDUPES, timeout=30)(body)

    @troth.workflow
    async def work(cents: int) -> str:
        await troth.receive("go")
        return str(await step(cents))

    async with troth.worker(QUICK):
        run = await troth.start(work, 5)
        await troth.send(run, "go")
        assert await soon(run.result()) == "done 5"
    (call,) = far.calls
    assert call.key == f"{run.id}/{body.__name__}"
    assert (call.attempt, call.fence) >= (1, 1)
    assert time.time() + 20 < call.deadline < time.time() + 40


async def test_refused_is_a_business_answer_and_is_not_tried_again(
    place: Place, troth: Troth
) -> None:
    far = Far(Refused("card declined"))

    @troth.effect(provider=DEDUPES, timeout=30)
    async def charge(call: Call) -> str:
        return await far.request(call)

    @troth.workflow
    async def work() -> str:
        return await charge()

    async with troth.worker(QUICK):
        run = await troth.start(work)
        with pytest.raises(RunFailedError, match="card declined") as failed:
            await soon(run.result())
    assert isinstance(failed.value.__cause__, Refused)
    assert len(far.calls) == 1


async def test_a_timeout_is_unknown_and_is_sent_again_with_the_same_key(
    place: Place, troth: Troth
) -> None:
    far = Far(NEVER, ConnectionResetError())

    @troth.effect(provider=DEDUPES, timeout=0.2, retry=AT_ONCE)
    async def charge(call: Call) -> str:
        return await far.request(call)

    @troth.workflow
    async def work() -> str:
        return await charge()

    async with troth.worker(QUICK):
        run = await troth.start(work)
        assert await soon(run.result()) == "done"
    assert [call.attempt for call in far.calls] == [1, 2, 3]
    assert set(far.keys) == {f"{run.id}/charge"}
    assert intents(place, run) == [1, 2, 3]
    ended = [e[5] for e in place.journal(run.id) if e[1] == Kind.ATTEMPT]
    assert [b'"outcome":"unknown"' in (payload or b"") for payload in ended] == [True, True]


@pytest.mark.parametrize(
    "trouble",
    [NEVER, ConnectionResetError("cut"), ValueError("after it")],
    ids=["timeout", "reset", "bug"],
)
async def test_unknown_and_not_repeatable_is_in_doubt(
    place: Place, troth: Troth, trouble: object
) -> None:
    far = Far(trouble)

    @troth.effect(delivery="at_most_once", timeout=0.2, retry=AT_ONCE)
    async def send_mail(call: Call, to: str) -> str:
        return await far.request(call)

    @troth.workflow
    async def work(to: str) -> str:
        return await send_mail(to)

    async with troth.worker(QUICK):
        before = time.time()
        run = await troth.start(work, "ada@example.com")
        reason, detail = await place.attention(run)
        after = time.time()
    assert reason == "in_doubt"
    assert len(far.calls) == 1
    assert detail["at"] == "send_mail"
    assert detail["sent"] == {"to": "ada@example.com"}
    assert detail["key"] == f"{run.id}/send_mail" == far.calls[0].key
    (sent_at,) = detail["sent_at"]
    assert before - 1 < sent_at < after + 1
    assert "may or may not have happened" in detail["message"]
    if isinstance(trouble, Exception):
        assert str(trouble) in detail["message"]
        assert len(detail["answers"]) == 1


async def test_a_person_who_says_that_it_did_not_happen_has_it_sent_again(
    place: Place, troth: Troth
) -> None:
    far = Far(ConnectionResetError())

    @troth.effect(delivery="at_most_once", timeout=5, retry=AT_ONCE)
    async def send_mail(call: Call) -> str:
        return await far.request(call)

    @troth.workflow
    async def work() -> str:
        return await send_mail()

    async with troth.worker(QUICK):
        run = await troth.start(work)
        await place.attention(run)
        place.resume(run)  # "go on" says nothing about what happened
        await place.until(
            lambda: place.value("SELECT claim FROM {s}.run WHERE id = %s", run.id) == 2,
            "it is taken up",
        )
        assert (await place.attention(run))[0] == "in_doubt"
        assert len(far.calls) == 1
        place.resume(run, settled="send_mail")
        assert await soon(run.result()) == "done"
    assert [call.attempt for call in far.calls] == [1, 2]


async def test_a_refused_connection_did_not_happen_and_is_tried_again_even_at_most_once(
    place: Place, troth: Troth
) -> None:
    far = Far(ConnectionRefusedError(), ConnectionRefusedError())

    @troth.effect(delivery="at_most_once", timeout=5, retry=AT_ONCE)
    async def send_mail(call: Call) -> str:
        return await far.request(call)

    @troth.workflow
    async def work() -> str:
        return await send_mail()

    async with troth.worker(QUICK):
        run = await troth.start(work)
        assert await soon(run.result()) == "done"
    assert [call.attempt for call in far.calls] == [1, 2, 3]


async def test_attempts_that_are_used_up_need_a_person_and_did_not_happen(
    place: Place, troth: Troth
) -> None:
    far = Far(*[ConnectionRefusedError()] * 4)

    @troth.effect(provider=DEDUPES, timeout=5, retry=AT_ONCE)
    async def charge(call: Call) -> str:
        return await far.request(call)

    @troth.workflow
    async def work() -> str:
        return await charge()

    async with troth.worker(QUICK):
        run = await troth.start(work)
        reason, detail = await place.attention(run)
        assert reason == "retries_exhausted"
        assert "did not happen" in detail["message"]
        assert (detail["provider"], len(detail["sent_at"])) == ("dedupes", 4)
        place.resume(run)
        assert await soon(run.result()) == "done"
    assert [call.attempt for call in far.calls] == [1, 2, 3, 4, 5]
    assert len(set(far.keys)) == 1


async def test_an_effect_whose_worker_died_is_waited_out_before_it_is_sent_again(
    place: Place, troth: Troth
) -> None:
    far = Far(NEVER)
    sent = asyncio.Event()

    @troth.effect(provider=DEDUPES, timeout=0.3, retry=AT_ONCE)
    async def charge(call: Call) -> str:
        sent.set()
        return await far.request(call)

    @troth.workflow
    async def work() -> str:
        return await charge()

    async with troth.worker(QUICK):
        run = await troth.start(work)
        await soon(sent.wait())
        await place.die(troth)
    died_at = time.monotonic()
    async with troth.worker(QUICK):
        assert await soon(run.result()) == "done"
    assert (
        time.monotonic() - died_at > 0.3 + 2.0 + 1.0 - 0.5
    )  # timeout, send_by, margin; less what was before
    assert [(call.attempt, call.fence) for call in far.calls] == [(1, 1), (2, 2)]
    assert len(set(far.keys)) == 1


async def test_code_that_passes_other_arguments_does_not_use_the_key_of_the_first_request(
    place: Place, troth: Troth
) -> None:
    """An unknown request of 100 must not be "repeated" as one of 200 under the same key."""
    far = Far(ConnectionResetError())
    price = [100]

    @troth.effect(provider=DEDUPES, timeout=5, retry=Retry(attempts=4, first=timedelta(seconds=3)))
    async def charge(call: Call, cents: int) -> str:
        return await far.request(call)

    @troth.workflow
    async def work() -> str:
        return await charge(price[0])

    async with troth.worker(QUICK):
        run = await troth.start(work)
        await place.until_state(run, "waiting")
    price[0] = 200
    async with troth.worker(QUICK):
        reason, _ = await place.attention(run)
    assert reason == "code_changed"
    assert len(far.calls) == 1


async def test_code_that_does_not_make_the_call_any_more_does_not_forget_an_unknown_request(
    place: Place, troth: Troth
) -> None:
    far = Far(ConnectionResetError())
    code = ["old"]

    @troth.effect(provider=DEDUPES, timeout=5, retry=Retry(attempts=4, first=timedelta(seconds=3)))
    async def charge(call: Call) -> str:
        return await far.request(call)

    @troth.workflow
    async def work() -> str:
        return await charge() if code == ["old"] else "nothing"

    async with troth.worker(QUICK):
        run = await troth.start(work)
        await place.until_state(run, "waiting")
    code[0] = "new"
    async with troth.worker(QUICK):
        reason, _ = await place.attention(run)
    assert reason == "code_changed"


async def test_a_cancelled_run_does_not_end_while_an_effect_of_it_is_unknown(
    place: Place, troth: Troth
) -> None:
    """It may have happened: the run may end as cancelled only when that is known."""
    far = Far(ConnectionResetError())

    @troth.effect(provider=DEDUPES, timeout=5, retry=Retry(attempts=4, first=timedelta(seconds=3)))
    async def charge(call: Call) -> str:
        return await far.request(call)

    @troth.workflow
    async def work() -> str:
        return await charge()

    async with troth.worker(QUICK):
        run = await troth.start(work)
        await place.until_state(run, "waiting")
        await run.cancel()
        await place.until(
            lambda: place.state(run.id) in {"cancelled", "attention"}, "it comes to rest"
        )
    assert len(far.calls) == 2 or place.state(run.id) == "attention"


@pytest.mark.parametrize(("asked_s", "waits_s"), [(1.5, 1.5), (1e9, 86_400.0)])
async def test_a_provider_that_asks_for_time_gets_it_but_not_for_ever(
    place: Place, troth: Troth, *, asked_s: float, waits_s: float
) -> None:
    far = Far(RuntimeError("busy"))
    busy = Judgement(Outcome.NOT_DONE, "busy", retry_after_s=asked_s)
    patient = Provider("patient", key_lifetime=timedelta(hours=24), judge=lambda _: busy)

    @troth.effect(provider=patient, timeout=60, retry=AT_ONCE)
    async def charge(call: Call) -> str:
        return await far.request(call)

    @troth.workflow
    async def work() -> str:
        return await charge()

    async with troth.worker(QUICK):
        run = await troth.start(work)
        await place.until_state(run, "waiting")
        [(ended_at, payload)] = place.rows(
            "SELECT extract(epoch FROM at)::float8, payload FROM {s}.journal"
            " WHERE run_id = %s AND kind = 4",
            run.id,
        )
        due = codec.decode(bytes(payload))["due"]
        assert due - ended_at == pytest.approx(waits_s, abs=0.1)
        if waits_s < 10:
            assert await soon(run.result()) == "done"


async def test_attempts_end_with_the_total_deadline(place: Place, troth: Troth) -> None:
    far = Far(*[ConnectionRefusedError()] * 50)
    hasty = Retry(
        attempts=50,
        first=timedelta(milliseconds=200),
        longest=timedelta(milliseconds=200),
        within=timedelta(milliseconds=700),
    )

    @troth.effect(provider=DEDUPES, timeout=60, retry=hasty)
    async def charge(call: Call) -> str:
        return await far.request(call)

    @troth.workflow
    async def work() -> str:
        return await charge()

    async with troth.worker(QUICK):
        run = await troth.start(work)
        assert (await place.attention(run))[0] == "retries_exhausted"
    assert 2 <= len(far.calls) <= 8
