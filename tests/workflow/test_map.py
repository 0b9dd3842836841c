"""`troth.map`: one run for each item, in chunks, and what becomes of it when items fail."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest

from tests.workflow.place import QUICK, Place, soon
from troth import (
    Call,
    Failure,
    MapError,
    Mapped,
    Page,
    Refused,
    Run,
    RunCancelledError,
    RunFailedError,
    Troth,
    UsageError,
)
from troth.workflow import mapping_model, mapping_runs
from troth.workflow.queue import Queue


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks, streams and runs so small that few items need several."""
    monkeypatch.setattr(mapping_runs, "CHUNK", 3)
    monkeypatch.setattr(mapping_runs, "STREAM", 2)
    monkeypatch.setattr(mapping_runs, "PAGES_OF_ONE_RUN", 2)


def ended(place: Place, workflow: str) -> list[str]:
    """The states of the runs of a workflow that have ended, in the order of their starts."""
    rows = place.rows(
        "SELECT state::text FROM {s}.run_history WHERE workflow = %s ORDER BY id", workflow
    )
    return [state for (state,) in rows]


def nothing_is_left(place: Place) -> bool:
    """No run, no message and no waiter."""
    return not any(
        place.rows(f"SELECT 1 FROM {{s}}.{table}") for table in ("run", "message", "run_waiter")
    )


# ── sequences ───────────────────────────────────────────────────────────────────────────────────


async def test_every_item_has_a_run_and_its_result_comes_home_in_order(
    place: Place, troth: Troth, small: None
) -> None:
    @troth.workflow
    async def double(n: int) -> int:
        return 2 * n

    @troth.workflow
    async def outer(items: list[int]) -> Mapped[int]:
        return await troth.map(double, items, concurrency=4, results=True)

    async with troth.worker(QUICK):
        mapped = await soon((await troth.start(outer, list(range(10)))).result())
        assert mapped == Mapped(10, 10, 0, [], [2 * n for n in range(10)])
        assert await soon((await troth.start(outer, [])).result()) == Mapped(0, 0, 0)
    assert ended(place, "double") == ["succeeded"] * 10
    assert ended(place, "troth.map.chunk") == ["succeeded"] * 4
    assert nothing_is_left(place)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("concurrency", [1, 5])
async def test_no_more_than_was_said_are_at_work_at_once(
    place: Place, troth: Troth, concurrency: int
) -> None:
    @troth.workflow
    async def wait(n: int) -> None:
        await troth.receive("go")

    @troth.workflow
    async def outer() -> int:
        return (await troth.map(wait, list(range(12)), concurrency=concurrency)).done

    going = "SELECT id FROM {s}.run WHERE workflow = 'wait'"
    async with troth.worker(QUICK):
        run = await troth.start(outer)
        await place.until(lambda: len(place.rows(going)) >= concurrency, "as many as may be")
        for _ in range(12):
            await place.until(lambda: place.rows(going), "another one is at work")
            rows = place.rows(going)
            assert len(rows) <= concurrency
            await troth.send(rows[0][0], "go")
            await place.until(lambda gone=rows[0]: gone not in place.rows(going), "it ends")
        assert await soon(run.result()) == 12


@pytest.mark.usefixtures("small")
async def test_an_item_that_fails_stops_the_mapping_and_what_was_done_is_undone(
    place: Place, troth: Troth
) -> None:
    did: list[str] = []

    @troth.effect(delivery="at_least_once", timeout=5)
    async def pay(call: Call, n: int) -> int:
        if n == 7:
            raise Refused("no money")
        did.append(f"pay {n}")
        return n

    @pay.undo
    async def pay_back(call: Call, result: int, n: int) -> None:
        did.append(f"broken {n}")

    @troth.workflow
    async def payment(n: int) -> str:
        return f"payment {await pay(n)}"

    @troth.step
    async def note(result: str, n: int) -> None:
        did.append(f"take back {result} ({n})")

    @payment.undo
    async def take_back(result: str, n: int) -> None:
        await note(result, n)

    @troth.workflow
    async def outer() -> None:
        await troth.map(payment, list(range(20)), concurrency=1)

    async with troth.worker(QUICK):
        with pytest.raises(RunFailedError) as failed:
            await soon((await troth.start(outer)).result())
    error = failed.value.__cause__
    assert isinstance(error, MapError)
    assert (error.number, error.key) == (7, None)
    assert "item 7 of payment" in str(error)
    assert "no money" in str(error)
    assert did[:7] == [f"pay {n}" for n in range(7)]
    assert sorted(did[7:]) == [f"take back payment {n} ({n})" for n in range(7)]
    assert nothing_is_left(place)


@pytest.mark.usefixtures("small")
async def test_a_mapping_that_is_done_is_undone_with_its_caller(place: Place, troth: Troth) -> None:
    did: list[int] = []

    @troth.effect(delivery="at_least_once", timeout=5)
    async def pay(call: Call, n: int) -> int:
        return n

    @troth.workflow
    async def payment(n: int) -> int:
        return await pay(n)

    @troth.step
    async def note(n: int) -> None:
        did.append(n)

    @payment.undo
    async def take_back(result: int, n: int) -> None:
        await note(n)

    @troth.workflow
    async def free(n: int) -> int:
        return n

    @troth.workflow
    async def outer() -> None:
        await troth.map(free, list(range(8)))
        await troth.map(payment, list(range(8)))
        raise Refused("no")

    async with troth.worker(QUICK):
        with pytest.raises(RunFailedError):
            await soon((await troth.start(outer)).result())
    assert sorted(did) == list(range(8))
    assert ended(place, "troth.map.undo") == ["succeeded"]
    assert nothing_is_left(place)


@pytest.mark.usefixtures("small")
async def test_what_owes_and_has_no_undo_asks_for_a_person(place: Place, troth: Troth) -> None:
    @troth.effect(delivery="at_least_once", timeout=5)
    async def pay(call: Call, n: int) -> int:
        return n

    @troth.workflow
    async def payment(n: int) -> int:
        return await pay(n)

    @troth.workflow
    async def outer() -> None:
        await troth.map(payment, list(range(8)))
        raise Refused("no")

    async with troth.worker(QUICK):
        run = await troth.start(outer)
        reason, _ = await place.attention(run)
    assert reason == "undo_failed"


@pytest.mark.usefixtures("small")
async def test_failures_are_counted_and_the_others_go_on(
    place: Place, troth: Troth, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mapping_model, "FAILURES_TOLD", 2)

    @troth.workflow
    async def odd(n: int) -> int:
        if n % 2 == 0:
            raise Refused(f"{n} is even")
        return n

    @troth.workflow
    async def outer() -> Mapped[int]:
        return await troth.map(odd, list(range(9)), on_error="continue", results=True)

    async with troth.worker(QUICK):
        mapped = await soon((await troth.start(outer)).result())
    told = [Failure(n, None, "troth.base.errors.Refused", f"{n} is even") for n in (0, 2)]
    assert mapped == Mapped(9, 4, 5, told, [1, 3, 5, 7])


async def test_an_item_that_was_done_before_is_not_done_again(place: Place, troth: Troth) -> None:
    did: list[int] = []

    @troth.step
    async def note(n: int) -> int:
        did.append(n)
        return n

    @troth.workflow
    async def work(n: int) -> int:
        if n == 2:
            raise Refused("two")
        return await note(n)

    @troth.workflow
    async def outer(items: list[int]) -> Mapped[int]:
        return await troth.map(
            work, items, key=lambda n: f"item-{n}", on_error="continue", results=True
        )

    async with troth.worker(QUICK):
        await soon((await troth.start(outer, [1, 2, 3])).result())
        mapped = await soon((await troth.start(outer, [1, 2, 3, 4])).result())
    assert sorted(did) == [1, 3, 4]
    failure = Failure(1, "item-2", "troth.base.errors.Refused", "two")
    assert mapped == Mapped(4, 3, 1, [failure], [1, 3, 4])
    assert nothing_is_left(place)


async def test_a_mapping_ends_with_its_caller(place: Place, troth: Troth, small: None) -> None:
    line = Queue("line")

    @troth.workflow(queue=line)
    async def wait(n: int) -> None:
        await troth.receive("never")

    @troth.workflow(queue=line)
    async def outer() -> None:
        await troth.map(wait, list(range(9)), concurrency=6)

    async with troth.worker(QUICK):
        run = await troth.start(outer, priority=-5, partition="a")
        at_work = "SELECT partition, priority FROM {s}.run WHERE workflow = 'wait'"
        await place.until(lambda: place.rows(at_work) == [("a", -5)] * 6, "six wait in its place")
        await run.cancel()
        with pytest.raises(RunCancelledError):
            await soon(run.result())
    assert ended(place, "wait") == ["cancelled"] * 6
    assert nothing_is_left(place)


@pytest.mark.usefixtures("small")
async def test_an_undoing_that_is_tried_again_undoes_nothing_twice(
    place: Place, troth: Troth
) -> None:
    did: list[int] = []
    broken = True

    @troth.effect(delivery="at_least_once", timeout=5)
    async def pay(call: Call, n: int) -> int:
        return n

    @troth.workflow
    async def payment(n: int) -> int:
        return await pay(n)

    @troth.step
    async def note(n: int) -> None:
        if n == 2 and broken:
            raise Refused("the bank is closed")
        did.append(n)

    @payment.undo
    async def take_back(result: int, n: int) -> None:
        await note(n)

    @troth.workflow
    async def earlier() -> None:
        await troth.map(payment, [1], key=lambda n: f"payment-{n}")

    @troth.workflow
    async def outer() -> None:
        await troth.map(payment, list(range(6)), key=lambda n: f"payment-{n}", concurrency=1)
        raise Refused("no")

    async with troth.worker(QUICK):
        await soon((await troth.start(earlier)).result())
        run = await troth.start(outer)
        reason, _ = await place.attention(run)
        assert reason == "undo_failed"
        assert did == [5, 4, 3]
        broken = False
        place.resume(run)
        with pytest.raises(RunFailedError):
            await soon(run.result())
    assert did == [5, 4, 3, 2, 0], "once each, and not what another mapping has done"
    assert nothing_is_left(place)


# ── pages ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("small")
async def test_items_come_by_pages(place: Place, troth: Troth) -> None:
    @troth.step
    async def numbers(cursor: int | None) -> Page[int, int]:
        start = cursor or 0
        items = list(range(start, min(start + 4, 22)))
        return Page(items, start + 4 if start + 4 < 22 else None, [f"n-{n}" for n in items])

    @troth.workflow
    async def work(n: int) -> int:
        if n == 13:
            raise Refused("thirteen")
        return n

    @troth.workflow
    async def outer() -> Mapped[int]:
        return await troth.map(work, numbers, on_error="continue")

    async with troth.worker(QUICK):
        run = await troth.start(outer)
        mapped = await soon(run.result())
    failure = Failure(13, "n-13", "troth.base.errors.Refused", "thirteen")
    assert mapped == Mapped(22, 21, 1, [failure])
    assert len(ended(place, "work")) == 22
    assert len(ended(place, "troth.map.pages")) == 3  # it went on, every two pages
    assert nothing_is_left(place)


@pytest.mark.usefixtures("small")
async def test_progress_is_seen_from_the_caller(place: Place, troth: Troth) -> None:
    @troth.workflow
    async def work(n: int) -> None:
        if n == 5:
            await troth.receive("go")

    @troth.workflow
    async def outer() -> None:
        await troth.map(work, list(range(7)), concurrency=1)

    async with troth.worker(QUICK):
        run = await troth.start(outer)
        held = "SELECT id FROM {s}.run WHERE workflow = 'work' AND state = 'waiting'"
        await place.until(lambda: place.rows(held), "the sixth waits")
        async with asyncio.timeout(20):
            async for update in run.watch():
                if update.progress == {"done": 3, "failed": 0, "total": 7}:
                    break
        assert await run.progress() == {"done": 3, "failed": 0, "total": 7}
        await troth.send(place.value(held), "go")
        await soon(run.result())


# ── what cannot be mapped ───────────────────────────────────────────────────────────────────────


async def test_what_is_wrong_is_said_to_the_caller(place: Place, troth: Troth) -> None:
    @troth.workflow
    async def work(n: int) -> int:
        return n

    @troth.step
    async def pages(cursor: int | None) -> Page[int, int]:
        return Page([], cursor)

    wrong: list[tuple[str, dict[str, object]]] = [
        ("10001 items are too many", {"items": [0] * 10_001}),
        ("or a step that gives pages", {"items": {1, 2}}),
        ("concurrency=0", {"items": [1], "concurrency": 0}),
        ("neither 'stop' nor 'continue'", {"items": [1], "on_error": "ignore"}),
        ("no start key", {"items": [1], "key": lambda n: n}),
        ("stored arguments", {"items": ["a"]}),
        ("brings no results home", {"items": pages, "results": True}),
        ("takes the keys from the pages", {"items": pages, "key": str}),
    ]

    @troth.workflow
    async def outer(number: int) -> str:
        try:
            await troth.map(work, **wrong[number][1])  # type: ignore[call-overload]
        except UsageError as error:
            return str(error)
        return "?"

    async with troth.worker(QUICK):
        for number, (said, _) in enumerate(wrong):
            assert said in await soon((await troth.start(outer, number)).result())
    with pytest.raises(UsageError, match="belongs into workflow code"):
        await troth.map(work, [1])


async def test_a_page_that_leads_to_itself_asks_for_a_person(place: Place, troth: Troth) -> None:
    @troth.workflow
    async def work(n: int) -> int:
        return n

    @troth.step
    async def again(cursor: UUID | None) -> Page[int, UUID]:
        assert cursor in {None, UUID(int=1)}  # restored as what it is
        return Page([1], UUID(int=1))

    @troth.workflow
    async def outer() -> None:
        await troth.map(work, again)

    async with troth.worker(QUICK):
        run: Run[None] = await troth.start(outer)
        stuck = "SELECT id FROM {s}.run WHERE workflow = 'troth.map.page' AND state = 'attention'"
        await place.until(lambda: place.rows(stuck), "a page stands in attention")
        page: UUID = place.value(stuck)
        reason, detail = await place.attention(page)
        assert reason == "bug"
        assert "read for ever" in detail["message"]
        await place.until_state(run, "waiting")
