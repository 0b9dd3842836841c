"""A run that goes on from an earlier step after a fix: what is redone, and that nothing is blindly repeated."""

from __future__ import annotations

from typing import Any

from tests.workflow.place import QUICK, Place, soon
from tests.workflow.test_effects import AT_ONCE, DEDUPES
from troth import Call, Found, Missing, Provider, Refused, Retry, Troth, Tx
from troth.command import rewind as command
from troth.command.model import Author
from troth.store.connect import connect_async

ASKED = Provider("asked")


async def go_back(place: Place, run: Any, path: str, **more: bool) -> None:
    """As `troth run resume --from` does."""
    await place.attention(run)
    connection = await connect_async(place.url)
    try:
        async with connection.transaction():
            await command.rewind(connection, place.schema, run.id, path, Author("ada"), **more)
    finally:
        await connection.close()


class Mended(Exception):
    """Raised by workflow code until somebody has mended it."""


async def test_an_effect_that_was_done_is_sent_again_with_the_same_key(
    place: Place, troth: Troth
) -> None:
    calls: list[Call] = []
    broken = [True]

    @troth.effect(provider=DEDUPES, timeout=5, retry=AT_ONCE)
    async def charge(call: Call) -> str:
        calls.append(call)
        return f"charge {call.key}"

    @troth.workflow
    async def work() -> str:
        charged = await charge()
        if broken[0]:
            raise Mended
        return charged

    async with troth.worker(QUICK):
        run = await troth.start(work)
        await place.attention(run)
        broken[0] = False
        await go_back(place, run, "charge")
        assert await soon(run.result()) == f"charge {calls[0].key}"
    assert {call.key for call in calls} == {calls[0].key}
    assert [call.attempt for call in calls] == [1, 2]


async def test_an_effect_without_a_key_is_asked_for(place: Place, troth: Troth) -> None:
    made: list[str] = []
    broken = [True]

    @troth.effect(provider=ASKED, timeout=5)
    async def charge(call: Call) -> str:
        made.append(call.key)
        return "first answer"

    @charge.probe
    async def find(call: Call) -> Found[str] | Missing:
        return Found("found") if call.key in made else Missing()

    @troth.workflow
    async def work() -> str:
        charged = await charge()
        if broken[0]:
            raise Mended
        return charged

    async with troth.worker(QUICK):
        run = await troth.start(work)
        await place.attention(run)
        broken[0] = False
        await go_back(place, run, "charge")
        assert await soon(run.result()) == "found"
    assert len(made) == 1


async def test_what_was_refused_is_sent_anew_under_another_key(place: Place, troth: Troth) -> None:
    calls: list[Call] = []
    broken = [True]

    @troth.effect(provider=DEDUPES, timeout=5, retry=Retry(attempts=1))
    async def charge(call: Call) -> str:
        calls.append(call)
        if broken[0]:
            raise Refused("no money")
        return "done"

    @troth.workflow
    async def work() -> str:
        try:
            return await charge()
        except Refused as refused:
            raise Mended from refused

    async with troth.worker(QUICK):
        run = await troth.start(work)
        await place.attention(run)
        broken[0] = False
        await go_back(place, run, "charge")
        assert await soon(run.result()) == "done"
    assert [call.attempt for call in calls] == [1, 2]
    assert calls[0].key != calls[1].key


async def test_a_transaction_is_committed_once_more_if_somebody_agrees(
    place: Place, troth: Troth
) -> None:
    place.rows("CREATE TABLE {s}.thing (at timestamptz)")
    broken = [True]

    @troth.transaction
    async def write(tx: Tx) -> int:
        await tx.execute(f"INSERT INTO {place.schema}.thing VALUES (clock_timestamp())")
        rows = await tx.execute(f"SELECT count(*) FROM {place.schema}.thing")
        row = await rows.fetchone()
        assert row is not None
        return int(row[0])

    @troth.workflow
    async def work() -> int:
        written = await write()
        if broken[0]:
            raise Mended
        return written

    async with troth.worker(QUICK):
        run = await troth.start(work)
        await place.attention(run)
        broken[0] = False
        await go_back(place, run, "write", redo_transactions=True)
        assert await soon(run.result()) == 2
    assert place.results(run.id) == ["write", "write"]


async def test_a_run_goes_back_more_than_once(place: Place, troth: Troth) -> None:
    performed: list[int] = []
    broken = [2]

    @troth.step
    async def count() -> int:
        performed.append(len(performed))
        return len(performed)

    @troth.workflow
    async def work() -> int:
        counted = await count()
        if counted <= broken[0]:
            raise Mended
        return counted

    async with troth.worker(QUICK):
        run = await troth.start(work)
        for _ in range(2):
            await go_back(place, run, "count", redo_transactions=True)
            await place.until(
                lambda: place.state(run.id) in {"attention", "succeeded"}, "it has gone on"
            )
        assert await soon(run.result()) == 3
