"""Attempts, the waits between them, and bugs: all of it outlives the worker."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from tests.workflow.place import QUICK, Place, soon
from troth import Call, Retry, Troth, Tx
from troth.base import codec
from troth.journal.model import Kind


def attempts(place: Place, run_id: object) -> list[dict[str, object]]:
    return [
        codec.decode(entry[5] or b"")
        for entry in place.journal(run_id)  # type: ignore[arg-type]
        if entry[1] == Kind.ATTEMPT
    ]


@pytest.mark.parametrize("kind", ["step", "transaction"])
async def test_an_unexpected_exception_is_tried_again(
    place: Place, troth: Troth, kind: str
) -> None:
    tries: list[int] = []
    retry = Retry(attempts=3, first=timedelta(0))

    def flaky() -> str:
        tries.append(len(tries) + 1)
        if len(tries) < 3:
            raise OSError(f"try {len(tries)}")
        return "done"

    @troth.step(retry=retry)
    async def step() -> str:
        return flaky()

    @troth.transaction(retry=retry)
    async def transaction(tx: Tx) -> str:
        try:
            return flaky()
        except OSError as error:
            raise RuntimeError(str(error)) from error

    @troth.workflow
    async def work() -> str:
        return await (step() if kind == "step" else transaction())

    async with troth.worker(QUICK):
        run = await troth.start(work)
        assert await soon(run.result()) == "done"
    assert tries == [1, 2, 3]
    assert [(a["attempt"], a["message"]) for a in attempts(place, run.id)] == [
        (1, "try 1"),
        (2, "try 2"),
    ]


async def test_attempts_and_their_waits_survive_the_worker(place: Place, troth: Troth) -> None:
    """The worker ends between two attempts; the next one waits for the rest, and does not start over."""
    tries: list[float] = []
    loop = asyncio.get_running_loop()
    wait = timedelta(seconds=3)

    @troth.step(retry=Retry(attempts=2, first=wait, longest=wait))
    async def fails() -> None:
        tries.append(loop.time())
        raise OSError(f"try {len(tries)}")

    @troth.workflow
    async def work() -> None:
        await fails()

    async with troth.worker(QUICK):
        run = await troth.start(work)
        await place.until_state(run, "waiting")
    assert len(tries) == 1
    (first,) = attempts(place, run.id)
    wake_at = place.value(
        "SELECT extract(epoch FROM wake_at)::float8 FROM {s}.run WHERE id = %s", run.id
    )
    assert wake_at == pytest.approx(first["due"], abs=0.001)
    async with troth.worker(QUICK):
        reason, detail = await place.attention(run)
    assert len(tries) == 2
    assert tries[1] - tries[0] >= 1.5 - 0.1  # at least half of it, by the jitter
    assert reason == "retries_exhausted"
    assert (detail["attempt"], detail["message"]) == (2, "try 2")


async def test_a_bug_parks_the_run_with_its_traceback_and_goes_on_when_it_is_fixed(
    place: Place, troth: Troth
) -> None:
    fixed: list[bool] = []
    performed: list[str] = []

    @troth.step
    async def before() -> int:
        performed.append("before")
        return 1

    @troth.step
    async def buggy() -> int:
        performed.append("buggy")
        return 1 if fixed else {}["missing"]  # type: ignore[no-any-return,misc]

    @troth.workflow
    async def work() -> int:
        return await before() + await buggy()

    async with troth.worker(QUICK):
        run = await troth.start(work)
        reason, detail = await place.attention(run)
        assert reason == "bug"
        assert (detail["at"], detail["type"], detail["message"]) == (
            "buggy",
            "builtins.KeyError",
            "'missing'",
        )
        assert 'return 1 if fixed else {}["missing"]' in detail["traceback"]
        assert "/troth/workflow/" not in detail["traceback"]
        fixed.append(True)
        place.resume(run)
        assert await soon(run.result()) == 2
    assert performed == ["before", "buggy", "buggy"]


async def test_a_bug_of_the_workflow_itself(place: Place, troth: Troth) -> None:
    fixed: list[bool] = []

    @troth.step
    async def one() -> int:
        return 1

    @troth.workflow
    async def work() -> int:
        return await one() // (1 if fixed else 0)

    async with troth.worker(QUICK):
        run = await troth.start(work)
        reason, detail = await place.attention(run)
        assert (reason, detail["type"]) == ("bug", "builtins.ZeroDivisionError")
        assert "await one() // (1 if fixed else 0)" in detail["traceback"]
        fixed.append(True)
        place.resume(run)
        assert await soon(run.result()) == 1


async def test_resuming_forgives_the_attempts_before(place: Place, troth: Troth) -> None:
    tries: list[int] = []

    @troth.step(retry=Retry(attempts=2, first=timedelta(0)))
    async def fails() -> None:
        tries.append(len(tries) + 1)
        raise OSError(f"try {len(tries)}")

    @troth.workflow
    async def work() -> None:
        await fails()

    async with troth.worker(QUICK):
        run = await troth.start(work)
        await place.attention(run)
        assert tries == [1, 2]
        place.resume(run)
        await place.until(lambda: len(tries) == 4, "two more attempts")
        reason, detail = await place.attention(run)
    assert (reason, detail["attempt"]) == ("retries_exhausted", 4)
    assert [a["attempt"] for a in attempts(place, run.id)] == [1, 2, 3, 4]


class Unreadable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("broken")


@pytest.mark.parametrize(
    "error", [ValueError("\udcff"), Unreadable(), ValueError("\x00"), ValueError("x" * 100_000)],
    ids=["surrogate", "unreadable", "nul", "long"],
)  # fmt: skip
@pytest.mark.parametrize("where", ["step", "workflow", "answer", "effect"])
async def test_no_exception_can_stop_the_engine(
    place: Place, troth: Troth, error: Exception, where: str
) -> None:
    """A file name in a message may not be UTF-8; an exception may be broken itself."""
    declared = (ValueError, Unreadable)

    @troth.step
    async def raises() -> None:
        raise error

    @troth.step(fails_on=declared)
    async def answers() -> None:
        raise error

    @troth.effect(delivery="at_most_once", timeout=5)
    async def sends(call: Call) -> None:
        raise error

    @troth.workflow
    async def work() -> None:
        if where == "workflow":
            raise error
        await {"step": raises, "answer": answers, "effect": sends}[where]()

    @troth.workflow
    async def healthy() -> str:
        return "well"

    async with troth.worker(QUICK):
        run = await troth.start(work)
        state = "failed" if where == "answer" else "attention"
        await place.until_state(run, state)
        assert await soon((await troth.start(healthy)).result()) == "well"


async def test_a_result_that_cannot_be_stored_is_poison_to_its_run_alone(
    place: Place, troth: Troth
) -> None:
    @troth.step
    async def lies() -> int:
        return "not a number"  # type: ignore[return-value]

    @troth.workflow
    async def work() -> int:
        return await lies()

    @troth.workflow
    async def healthy() -> str:
        return "well"

    async with troth.worker(QUICK):
        reason, detail = await place.attention(await troth.start(work))
        assert (reason, detail["at"]) == ("poison", "lies")
        assert "the result of lies: the stored value does not fit" in detail["message"]
        assert await soon((await troth.start(healthy)).result()) == "well"
