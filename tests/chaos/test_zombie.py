"""Workers that are frozen, declared dead, and wake up: nothing that they still do counts."""

from __future__ import annotations

import asyncio
import signal
from uuid import UUID

import pytest

from tests.chaos.processes import Site, Worker
from tests.harness.postgres import wait_until
from troth.journal.model import Kind

TAKEOVER_S = 15.0


async def test_frozen_inside_a_step(shop: Site) -> None:
    zombie, run_id = await freeze(shop, "step")
    await taken_over(shop, zombie)
    await wake(shop, zombie)
    assert shop.journal(run_id) == await undisturbed(shop)
    assert [line["fence"] for line in shop.witness()[:1]] == [1]  # before it froze
    assert_done_once(shop)


async def test_frozen_between_an_intent_and_its_call(shop: Site) -> None:
    zombie, run_id = await freeze(shop, "send")
    assert intents(shop, run_id) == [(1,)]
    assert shop.witness() == []
    await taken_over(shop, zombie)
    await wake(shop, zombie)

    # The only call is the successor's: when the zombie woke, it was too late to send.
    calls = [line for line in shop.witness() if line["key"].startswith(str(run_id))]
    assert [(line["fence"], line["attempt"]) for line in calls] == [(2, 2)]
    assert calls[0]["pid"] != zombie.pid
    assert intents(shop, run_id) == [(1,), (2,)]
    assert answers(shop.journal(run_id)) == answers(await undisturbed(shop))
    assert_done_once(shop)


async def test_frozen_inside_an_open_transaction_step(shop: Site) -> None:
    zombie, run_id = await freeze(shop, "transaction")
    await taken_over(shop, zombie)
    await wake(shop, zombie)
    assert shop.journal(run_id) == await undisturbed(shop)
    assert shop.rows("SELECT n, count(*) FROM reservation GROUP BY n ORDER BY n") == [
        (1, 1),  # the successor's row; the zombie's was rolled back
        (2, 1),  # of the undisturbed run
    ]


async def test_frozen_while_its_transaction_blocks_the_successor(shop: Site) -> None:
    """The zombie holds a unique value that the successor's body needs, and would hold it for ever."""
    shop.arm("account")
    zombie = await asyncio.to_thread(shop.worker)
    program = shop.program()
    async with program.troth.client():
        run = await program.troth.start(program.signup, 1)
        await asyncio.to_thread(zombie.wait_frozen)
        await asyncio.to_thread(shop.worker)
        assert await run.result(timeout=TAKEOVER_S) == "account-1"
    await wake(shop, zombie)
    assert shop.rows("SELECT n FROM account") == [(1,)]


async def test_blocked_event_loop(shop: Site) -> None:
    """Its heart beats on beside a blocked loop, until `block_limit_s`; then peers take over."""
    shop.arm_block()
    impatient = {"block_limit_s": 0.5}
    zombie = await asyncio.to_thread(shop.worker, options=impatient)
    program = shop.program()
    async with program.troth.client():
        run = await program.troth.start(program.order, 1)
        await asyncio.to_thread(wait_until, shop.is_blocking, "the loop is blocked")
        await asyncio.to_thread(shop.worker)
        assert await run.result(timeout=TAKEOVER_S) == "charge-1-101:box-1/1"
    assert "the event loop has been blocked" in zombie.log.read_text()
    assert "in pack" in zombie.log.read_text()  # the frame that blocks it is named
    await asyncio.to_thread(shop.unblock)
    await rejoined(shop, zombie)
    assert shop.journal(run.id) == await undisturbed(shop)
    assert_done_once(shop)


async def test_frozen_inside_a_call_with_another_one_waiting_for_its_thread(shop: Site) -> None:
    """A call that has passed the check of its time, and then waits for a thread, is not sent late."""
    shop.arm("call")
    zombie = await asyncio.to_thread(shop.worker, options={"threads": 1})
    program = shop.program()
    async with program.troth.client():
        runs = [await program.troth.start(program.order, n) for n in (1, 2)]
        await asyncio.to_thread(zombie.wait_frozen)
        assert all(intents(shop, run.id) == [(1,)] for run in runs)
        await asyncio.to_thread(shop.worker)
        for run in runs:
            await run.result(timeout=TAKEOVER_S)
    before = [line for line in shop.witness() if line["pid"] == zombie.pid]
    await wake(shop, zombie)
    zombie.stop()  # whatever its threads had in their queue is over
    assert [line for line in shop.witness() if line["pid"] == zombie.pid] == before


@pytest.mark.parametrize("point", ["step", "send", "transaction"])
async def test_frozen_for_less_than_its_lease_is_not_dead(shop: Site, point: str) -> None:
    shop.arm(point)
    sleeper = await asyncio.to_thread(shop.worker, options={"lease_s": 30.0})
    peer = await asyncio.to_thread(shop.worker, without=["order"], options={"lease_s": 30.0})
    program = shop.program()
    async with program.troth.client():
        run = await program.troth.start(program.order, 1)
        await asyncio.to_thread(sleeper.wait_frozen)
        sleeper.signal(signal.SIGCONT)
        assert await run.result(timeout=TAKEOVER_S) == "charge-1-101:box-1/1"
    assert shop.workers() == {sleeper.id, peer.id}
    assert_done_once(shop)


# ── what all of them do ─────────────────────────────────────────────────────────────────────────


async def freeze(shop: Site, point: str) -> tuple[Worker, UUID]:
    """A worker that is frozen at a point of the run of order 1."""
    shop.arm(point)
    zombie = await asyncio.to_thread(shop.worker)
    program = shop.program()
    async with program.troth.client():
        run = await program.troth.start(program.order, 1)
        await asyncio.to_thread(zombie.wait_frozen)
    return zombie, run.id


async def taken_over(shop: Site, zombie: Worker) -> None:
    """A peer comes, takes over and finishes the run, while the zombie is frozen."""
    await asyncio.to_thread(shop.worker)
    await asyncio.to_thread(shop.wait_ended, 1, TAKEOVER_S)
    assert zombie.is_frozen()
    assert zombie.id not in shop.workers()


async def wake(shop: Site, zombie: Worker) -> None:
    zombie.signal(signal.SIGCONT)
    await rejoined(shop, zombie)


async def rejoined(shop: Site, zombie: Worker) -> None:
    """It learns that it is dead, comes back under another id, once, and works on."""
    await asyncio.to_thread(
        wait_until, lambda: "was declared dead" in zombie.log.read_text(), "the zombie is refused"
    )
    await asyncio.to_thread(wait_until, lambda: len(shop.workers()) == 2, "it joins again")
    now = await asyncio.to_thread(zombie.report)
    assert now["worker"] != zombie.id
    assert now["worker"] in shop.workers()
    assert now["runs"] == 0
    for peer in shop.workers() - {now["worker"]}:
        assert shop.rows("SELECT count(*) FROM {s}.run WHERE owner = %s", peer) == [(0,)]


async def undisturbed(shop: Site) -> list[tuple[str, int, int, int | None, bytes | None]]:
    """The journal of order 2, which nobody disturbs, told as if it were order 1."""
    program = shop.program()
    async with program.troth.client():
        run = await program.troth.start(program.order, 2)
        assert await run.result(timeout=TAKEOVER_S) == "charge-2-201:box-2/2"
    return [
        (path, kind, attempt, seq, payload and as_order_1(payload))
        for path, kind, attempt, seq, payload in shop.journal(run.id)
    ]


def as_order_1(payload: bytes) -> bytes:
    for second, first in ((b"201", b"101"), (b"200", b"100")):
        payload = payload.replace(second, first)
    return payload.replace(b"2", b"1")


def answers(journal: list[tuple[str, int, int, int | None, bytes | None]]) -> list[object]:
    return [entry for entry in journal if entry[1] == Kind.RESULT]


def intents(shop: Site, run_id: UUID) -> list[tuple[int, ...]]:
    return shop.rows(
        "SELECT attempt FROM {s}.journal WHERE run_id = %s AND path = 'charge' AND kind = 1"
        " ORDER BY attempt",
        run_id,
    )


def assert_done_once(shop: Site) -> None:
    """One row and one call for each order."""
    assert shop.rows("SELECT count(*), count(DISTINCT n) FROM reservation") == [
        (shop.ended(), shop.ended())
    ]
    assert set(shop.calls().values()) == {1}
