"""What a worker counts in each minute: by whom, when it is written, and what becomes of it when it cannot be."""

from __future__ import annotations

from typing import Any

import pytest

from tests.workflow.place import QUICK, Place, soon
from troth import Call, Refused, RunFailedError, Troth
from troth.base import ids
from troth.journal import store
from troth.journal.model import RunState
from troth.store.connect import connect_async
from troth.workflow.minutes import ENDS, STARTED, STEP, Minute, Minutes


def test_counts_belong_to_the_minute_in_which_they_were_made() -> None:
    minutes = Minutes()
    assert not minutes.turn(120.5)
    minutes.add("a", STARTED)
    minutes.add("a", STEP)
    minutes.add("a", STEP)
    minutes.add("b", ENDS[RunState.FAILED])
    assert not minutes.turn(179.9)
    assert minutes.turn(180.1)
    minutes.add("a", ENDS[RunState.SUCCEEDED])
    assert minutes.take() == [
        Minute(120.0, "a", 1, 0, 0, 0, 0, 2, 0),
        Minute(120.0, "b", 0, 0, 1, 0, 0, 0, 0),
    ]
    minutes.close()
    assert minutes.take() == [Minute(180.0, "a", 0, 1, 0, 0, 0, 0, 0)]


def test_a_minute_in_which_nothing_happened_is_not_written() -> None:
    minutes = Minutes()
    for second in range(0, 600, 10):
        assert not minutes.turn(second)
    assert minutes.take() == []


def test_what_could_not_be_written_is_given_again_and_does_not_pile_up_for_ever() -> None:
    minutes = Minutes()
    minutes.turn(60)
    minutes.add("a", STEP)
    minutes.turn(120)
    first = minutes.take()
    minutes.add("a", STEP)
    minutes.give_back(first)
    minutes.turn(180)
    assert [each.minute for each in minutes.take()] == [60.0, 120.0]
    minutes.give_back([Minute(float(n), "a", 1, 0, 0, 0, 0, 0, 0) for n in range(20_000)])
    assert len(minutes.take()) == 10_000


async def test_a_worker_writes_what_its_runs_did(place: Place, troth: Troth) -> None:
    @troth.step
    async def step() -> None: ...

    @troth.effect(delivery="at_most_once", timeout=5)
    async def mail(call: Call) -> None:
        raise ConnectionResetError("reset by peer")

    @troth.workflow
    async def fine() -> None:
        await step()
        await step()

    @troth.workflow
    async def refused() -> None:
        raise Refused("no")

    @troth.workflow
    async def doubtful() -> None:
        await mail()

    async with troth.worker(QUICK) as opened:
        worker = opened.node.writer.worker
        for _ in range(2):
            await soon((await troth.start(fine)).result())
        with pytest.raises(RunFailedError):
            await soon((await troth.start(refused)).result())
        await place.attention(await troth.start(doubtful))
    assert totals(place) == {
        "doubtful": (1, 0, 0, 0, 1, 0, 1),
        "fine": (2, 2, 0, 0, 0, 4, 0),
        "refused": (1, 0, 1, 0, 0, 0, 0),
    }
    assert place.rows("SELECT DISTINCT worker FROM {s}.worker_minute") == [(worker,)]
    near = "SELECT bool_and(now() - minute BETWEEN '0' AND '5 minutes') FROM {s}.worker_minute"
    assert place.value(near)


async def test_a_minute_that_is_written_again_counts_once_and_old_ones_are_forgotten(
    place: Place, troth: Troth
) -> None:
    old = ids.time_of(ids.new_id()).timestamp() - 49 * 3600
    minutes = [Minute(old, "a", 1, 1, 0, 0, 0, 5, 0), Minute(old + 7200, "a", 2, 2, 0, 0, 0, 6, 0)]
    q = store.queries(place.schema)
    async with await connect_async(place.url) as tx:
        for _ in range(2):
            await store.write_minutes(tx, q, 7, minutes)
        assert totals(place) == {"a": (3, 3, 0, 0, 0, 11, 0)}
        await tx.execute(q.forget_minutes)
    assert totals(place) == {"a": (2, 2, 0, 0, 0, 6, 0)}


def totals(place: Place) -> dict[str, Any]:
    rows = place.rows(
        "SELECT workflow, sum(started)::int, sum(succeeded)::int, sum(failed)::int, sum(cancelled)::int,"
        " sum(attention)::int, sum(steps)::int, sum(effects_unknown)::int"
        " FROM {s}.worker_minute GROUP BY workflow ORDER BY workflow"
    )
    return {row[0]: row[1:] for row in rows}
