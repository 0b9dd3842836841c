"""Code that changed under a run, and code that replay cannot repeat."""

from __future__ import annotations

import asyncio
import inspect
import os
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from tests.workflow.place import QUICK, Place, soon
from troth import RunFailedError, Troth, WorkflowCodeError

HERE = Path(__file__).name
AN_HOUR = 3600


async def old(call: Callable[[str, int], Coroutine[Any, Any, int]], wait: Any) -> list[int]:
    first = await call("a", 1)
    await wait()
    return [first, await call("b", 2)]


async def without_a(call: Any, wait: Any) -> list[int]:
    await wait()
    return [0, await call("b", 2)]


async def other_arguments(call: Any, wait: Any) -> list[int]:
    first = await call("a", 100)
    await wait()
    return [first, await call("b", 2)]


async def one_more_before(call: Any, wait: Any) -> list[int]:
    await call("b", 1)
    first = await call("a", 1)
    await wait()
    return [first, 0]


async def ends_early(call: Any, wait: Any) -> list[int]:
    return []


async def raises_early(call: Any, wait: Any) -> list[int]:
    raise ValueError


async def later_part_only(call: Any, wait: Any) -> list[int]:
    first = await call("a", 1)
    await wait()
    return [first, await call("b", 2), await call("b", 3)]


async def run_old_then(
    place: Place, new: Callable[..., Coroutine[Any, Any, list[int]]]
) -> tuple[Troth, Any, list[str]]:
    """A run that waits under the old code, and is woken under the new code."""
    code = [old]
    performed: list[str] = []
    troth = place.troth()

    @troth.step
    async def a(n: int) -> int:
        performed.append("a")
        return n

    @troth.step
    async def b(n: int) -> int:
        performed.append("b")
        return n

    async def call(name: str, n: int) -> int:
        return await {"a": a, "b": b}[name](n)

    @troth.workflow
    async def work() -> list[int]:
        return await code[0](call, lambda: troth.receive("go"))

    async with troth.worker(QUICK):
        run = await troth.start(work)
        await place.until_state(run, "waiting")
    code[0] = new
    performed.clear()
    troth.restore_code = lambda: code.__setitem__(0, old)  # type: ignore[attr-defined]
    return troth, run, performed


@pytest.mark.parametrize(
    ("new", "at"),
    [
        (without_a, "a, which the code did not call"),
        (other_arguments, "a was recorded with other arguments"),
        (one_more_before, "a, which the code did not call"),
        (ends_early, "a, which the code did not call"),
        (raises_early, "a, which the code did not call"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_a_run_is_parked_with_a_readable_difference_and_goes_on_with_its_code(
    place: Place, new: Any, at: str
) -> None:
    troth, run, performed = await run_old_then(place, new)
    async with troth.worker(QUICK):
        await troth.send(run, "go")
        reason, detail = await place.attention(run)
        assert reason == "code_changed"
        assert at in detail["message"]
        assert ["-", "a"] in [line[:2] for line in detail["diff"]]
        assert performed == []  # nothing was done under a guess
        claims = place.value("SELECT claim FROM {s}.run WHERE id = %s", run.id)
        troth.restore_code()  # type: ignore[attr-defined]
        place.resume(run)
        assert await soon(run.result()) == [1, 2]
    assert claims == 2, "it does not loop"
    assert performed == ["b"]


async def test_what_was_not_executed_yet_may_change(place: Place) -> None:
    troth, run, performed = await run_old_then(place, later_part_only)
    async with troth.worker(QUICK):
        await troth.send(run, "go")
        assert await soon(run.result()) == [1, 2, 3]
    assert performed == ["b", "b"]


async def test_a_result_type_that_does_not_fit_the_record_any_more_is_a_change(
    place: Place,
) -> None:
    kinds: list[Any] = [int, str]
    performed = []
    for kind in kinds:
        troth = place.troth()

        async def step() -> Any:
            performed.append(1)
            return 1

        step.__annotations__["return"] = kind
        recorded = troth.step(step)

        @troth.workflow
        async def work() -> str:
            value = await recorded()  # noqa: B023
            await troth.receive("go")  # noqa: B023
            return str(value)

        async with troth.worker(QUICK):
            if kind is int:
                run = await troth.start(work)
                await place.until_state(run, "waiting")
            else:
                await troth.send(run, "go")
                reason, detail = await place.attention(run)
    assert reason == "code_changed"
    assert "does not fit" in detail["message"]
    assert performed == [1]


# ── forbidden things ────────────────────────────────────────────────────────────────────────────


async def sleeps() -> None:
    await asyncio.sleep(AN_HOUR)  # forbidden here


async def limits() -> None:
    async with asyncio.timeout(AN_HOUR):  # forbidden here
        await asyncio.sleep(0)


async def waits_for() -> None:
    await asyncio.wait_for(asyncio.get_running_loop().create_future(), AN_HOUR)  # forbidden here


async def waits_with_a_limit() -> None:
    task = asyncio.create_task(asyncio.Event().wait())
    await asyncio.wait([task], timeout=AN_HOUR)  # forbidden here (at run time; # troth: ok)


async def uses_an_executor() -> None:
    await asyncio.get_running_loop().run_in_executor(None, os.getpid)  # forbidden here


async def uses_a_thread() -> None:
    await asyncio.to_thread(os.getpid)  # forbidden here


async def connects() -> None:
    await asyncio.open_connection("127.0.0.1", 1)  # forbidden here


async def serves() -> None:
    await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)  # forbidden here


async def resolves() -> None:
    await asyncio.get_running_loop().getaddrinfo("localhost", 1)  # forbidden here


async def reads_a_socket() -> None:
    left, right = socket.socketpair()
    with left, right:
        await asyncio.get_running_loop().sock_recv(left, 1)  # forbidden here


async def starts_a_process() -> None:
    await asyncio.create_subprocess_exec("true")  # forbidden here


async def asks_the_loop_for_the_time() -> None:
    asyncio.get_running_loop().time()  # forbidden here


async def sets_a_timer() -> None:
    asyncio.get_running_loop().call_later(1, print)  # forbidden here


FORBIDDEN = [
    sleeps, limits, waits_for, waits_with_a_limit, uses_an_executor, uses_a_thread, connects,
    serves, resolves, reads_a_socket, starts_a_process, asks_the_loop_for_the_time, sets_a_timer,
]  # fmt: skip


def forbidden_line(function: Callable[..., Any]) -> int:
    """The number of the marked line in the source of *function*."""
    lines, first = inspect.getsourcelines(function)
    return next(n for n, line in enumerate(lines, first) if "# forbidden here" in line)


async def test_what_replay_cannot_repeat_is_refused_with_file_and_line(
    place: Place, troth: Troth
) -> None:
    @troth.workflow
    async def work(name: str) -> None:
        try:
            await globals()[name]()
        except WorkflowCodeError as error:
            raise AssertionError(str(error)) from error

    async with troth.worker(QUICK):
        runs = {f.__name__: await troth.start(work, f.__name__) for f in FORBIDDEN}
        for function in FORBIDDEN:
            reason, detail = await place.attention(runs[function.__name__])
            line = forbidden_line(function)
            assert reason == "bug"
            assert detail["type"] == "builtins.AssertionError", detail
            assert f"{HERE}:{line}: " in detail["message"], (function.__name__, detail["message"])
            assert "put it into a step" in detail["message"] or "use troth." in detail["message"]


async def test_what_is_forbidden_outside_is_allowed_inside_a_step(troth: Troth) -> None:
    @troth.step
    async def everything() -> int:
        async with asyncio.timeout(AN_HOUR):
            return await asyncio.to_thread(os.getpid)

    @troth.workflow
    async def work() -> int:
        return await everything()

    async with troth.worker(QUICK):
        assert await soon((await troth.start(work)).result()) == os.getpid()


async def test_a_workflow_that_spawns_and_returns_does_not_wait_for_what_only_waits(
    place: Place, troth: Troth
) -> None:
    @troth.workflow(fails_on=LookupError)
    async def work() -> None:
        task = asyncio.create_task(troth.receive("never"))
        await troth.sleep(0)
        raise LookupError(str(task.done()))

    async with troth.worker(QUICK):
        with pytest.raises(RunFailedError, match="False"):
            await soon((await troth.start(work)).result())
