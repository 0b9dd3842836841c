"""What workflow code must not call is found by reading it, with its line; nothing else is."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import random
import re
import threading
import time
import uuid
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from time import time as clock
from typing import Any

import psycopg
import pytest

from tests.workflow.place import Place
from troth import Troth, WorkflowCodeError

AN_HOUR = 3600


async def aliased() -> float:
    return clock()  # forbidden here


async def now() -> str:
    return datetime.now().isoformat()  # noqa: DTZ005  # forbidden here


async def today() -> str:
    return str(dt.date.today())  # noqa: DTZ011  # forbidden here


async def draws() -> float:
    return random.random()  # forbidden here


async def chooses() -> int:
    async def inner() -> int:
        return random.choice([1, 2])  # forbidden here

    return await inner()


async def makes_an_id() -> str:
    return str(uuid.uuid4())  # forbidden here


async def reads_a_file() -> str:
    with open("/etc/hostname") as file:  # noqa: PTH123, ASYNC230  # forbidden here
        return file.read()


async def asks_the_system() -> bytes:
    return os.urandom(8)  # forbidden here


async def sleeps() -> None:
    await asyncio.sleep(AN_HOUR)  # forbidden here


async def limits() -> None:
    async with asyncio.timeout(AN_HOUR):  # forbidden here
        await asyncio.sleep(0)


async def waits_for_some() -> None:
    tasks = [asyncio.create_task(asyncio.sleep(0))]
    await asyncio.wait(tasks)  # forbidden here


async def takes_them_as_they_come() -> None:
    for each in asyncio.as_completed([asyncio.sleep(0)]):  # forbidden here
        await each


async def reads_a_path() -> str:
    return Path("/etc/hostname").read_text()  # noqa: ASYNC240  # forbidden here


async def begins_a_thread() -> None:
    threading.Thread(target=print).start()  # forbidden here


async def asks_the_database() -> None:
    await psycopg.AsyncConnection.connect("")  # forbidden here


async def reads_the_environment() -> str | None:
    return os.getenv("HOME")  # forbidden here


async def imports() -> float:
    from time import monotonic

    return monotonic()  # forbidden here


@pytest.mark.parametrize(
    "function",
    [
        aliased, now, today, draws, chooses, makes_an_id, reads_a_file, asks_the_system, sleeps, limits, imports,
        waits_for_some, takes_them_as_they_come, reads_a_path, begins_a_thread, asks_the_database, reads_the_environment,
    ],
)  # fmt: skip
def test_found_at_decoration_with_its_line(troth: Troth, function: Callable[[], Any]) -> None:
    with pytest.raises(WorkflowCodeError) as found:
        troth.workflow(function)
    lines = Path(__file__).read_text().splitlines()
    place = re.search(r"\(([^()]+):(\d+)\)", str(found.value))
    assert place is not None
    file, line = place.groups()
    assert file == __file__
    assert "forbidden here" in lines[int(line) - 1]
    assert "troth" in str(found.value)
    assert not troth.workflows


async def shadows(time: Callable[[], int], open: Callable[[], int]) -> int:  # noqa: A002
    random = [time(), open()]
    return random.pop()


async def methods(order: Any) -> Any:
    return [order.now(), order.time.time(), order.get(), random.Random(7).random()]


async def names_a_path(folder: Path) -> list[str]:
    return [str(Path("a") / "b"), Path("a.txt").with_suffix(".csv").name, folder.read_text.__name__]


async def allowed() -> float:
    return time.time()  # troth: ok (only for a log line)


async def lets_others_run() -> None:
    await asyncio.sleep(0)


async def makes(day: date) -> datetime:
    return datetime(day.year, 1, 1) + dt.timedelta(days=1)  # noqa: DTZ001


async def steps_inside(troth: Any) -> float:
    @troth.step
    def body() -> float:
        return time.time()

    result: float = body()
    return result


@pytest.mark.parametrize(
    "function", [shadows, methods, names_a_path, allowed, lets_others_run, makes, steps_inside]
)
def test_no_false_alarm(troth: Troth, function: Callable[..., Any]) -> None:
    from troth.workflow import lint

    lint.check(function, follow=True)


async def asks_a_helper() -> float:
    return helper()


def helper() -> float:
    return deeper()


def deeper() -> float:
    return time.time()  # in a helper


async def test_helpers_are_read_when_the_program_is_opened(place: Place, troth: Troth) -> None:
    troth.workflow(asks_a_helper)  # the helper may not be defined yet
    with pytest.raises(WorkflowCodeError, match=r"test_lint.py:\d+"):
        async with troth.client():
            pass


def test_code_without_source_is_left_alone(troth: Troth) -> None:
    space: dict[str, Any] = {}
    exec("async def made(): return __import__('time').time()", space)
    troth.workflow(space["made"])


def test_it_is_quick() -> None:
    from troth.workflow import lint

    before = time.perf_counter()
    for _ in range(20):
        lint.check(makes)
    assert (time.perf_counter() - before) / 20 < 0.05
