"""Workers that are frozen, declared dead, and wake up: nothing that they still do counts."""

from __future__ import annotations

import asyncio
import signal
from uuid import UUID

import pytest

from tests.chaos.processes import LEASE_S, Site, Worker
from tests.harness.postgres import wait_until
from troth.journal.model import Kind

TAKEOVER_S = 15.0
SLOW_HEART_S = 100.0  # a lease with so long between heartbeats that other things come first


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


async def test_waking_while_the_successor_is_in_the_same_step(shop: Site) -> None:
    """Nothing but the fence of the flush keeps the zombie's result out: nobody else has written one yet."""
    zombie, run_id = await freeze(shop, "step", lease_s=SLOW_HEART_S)
    declare_dead(shop, zombie)
    successor = await asyncio.to_thread(shop.worker, gated=True)
    await asyncio.to_thread(wait_until, lambda: owner(shop, run_id) == successor.id, "a takeover")
    await wake(shop, zombie)
    assert f"declared dead (worker {zombie.id} was taken over" in zombie.log.read_text()
    assert "pack" not in {path for path, *_ in shop.journal(run_id)}
    successor.open_gate()
    await asyncio.to_thread(shop.wait_ended, 1)
    assert shop.journal(run_id) == await undisturbed(shop)
    assert_done_once(shop)


async def test_waking_while_the_successor_is_in_the_same_transaction(shop: Site) -> None:
    """Both are before their last statement; the zombie gets there first, and must not commit."""
    zombie, run_id = await freeze(shop, "transaction", lease_s=SLOW_HEART_S)
    declare_dead(shop, zombie)
    shop.arm("transaction")
    successor = await asyncio.to_thread(shop.worker, options={"lease_s": SLOW_HEART_S})
    await asyncio.to_thread(successor.wait_frozen)
    assert owner(shop, run_id) == successor.id
    zombie.signal(signal.SIGCONT)
    refused = f"run {run_id} belongs to another worker now"
    await asyncio.to_thread(wait_until, lambda: refused in zombie.log.read_text(), "it is refused")
    assert shop.rows("SELECT n FROM reservation") == []
    assert "reserve" not in {path for path, *_ in shop.journal(run_id)}
    successor.signal(signal.SIGCONT)
    await asyncio.to_thread(shop.wait_ended, 1)
    assert shop.journal(run_id) == await undisturbed(shop)
    assert_done_once(shop)


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
    shop.arm_block("step")
    impatient = {"block_limit_s": 0.5}
    zombie = await asyncio.to_thread(shop.worker, options=impatient)
    program = shop.program()
    async with program.troth.client():
        run = await program.troth.start(program.order, 1)
        await asyncio.to_thread(wait_until, lambda: shop.is_blocking("step"), "the loop is blocked")
        await asyncio.to_thread(shop.worker)
        assert await run.result(timeout=TAKEOVER_S) == "charge-1-101:box-1/1"
    assert "the event loop has been blocked" in zombie.log.read_text()
    assert "in pack" in zombie.log.read_text()  # the frame that blocks it is named
    await asyncio.to_thread(shop.unblock, "step")
    await rejoined(shop, zombie)
    assert shop.journal(run.id) == await undisturbed(shop)
    assert_done_once(shop)


async def test_frozen_while_a_call_waits_for_a_thread(shop: Site) -> None:
    """Its time was good when it was put into the queue; it is not any more when a thread takes it out."""
    shop.arm_block("call")
    zombie = await asyncio.to_thread(shop.worker, options={"threads": 1})
    program = shop.program()
    async with program.troth.client():
        first = await program.troth.start(program.order, 1)
        await asyncio.to_thread(wait_until, lambda: shop.is_blocking("call"), "the thread is busy")
        shop.arm("queued")
        second = await program.troth.start(program.order, 2)
        await asyncio.to_thread(zombie.wait_frozen)
        assert intents(shop, second.id) == [(1,)]
        await asyncio.to_thread(shop.worker)
        for run in (first, second):
            await run.result(timeout=TAKEOVER_S)
    said = shop.witness()
    zombie.signal(signal.SIGCONT)
    shop.unblock("call")  # the thread ends the first call, and takes up the second one
    await rejoined(shop, zombie)
    assert shop.witness() == said
    assert [line["fence"] for line in said if line["n"] == 2] == [2]


async def test_a_call_that_got_no_thread_in_time_was_not_sent(shop: Site) -> None:
    """It is known not to have happened, so even a call that may be made only once is made later."""
    shop.arm_block("call")
    await asyncio.to_thread(shop.worker, options={"threads": 1})
    program = shop.program()
    async with program.troth.client():
        await program.troth.start(program.order, 1)
        await asyncio.to_thread(wait_until, lambda: shop.is_blocking("call"), "the thread is busy")
        notice = await program.troth.start(program.notice, 2)
        attempts = "SELECT 1 FROM {s}.journal WHERE run_id = %s AND kind = 4"
        await asyncio.to_thread(
            wait_until, lambda: shop.rows(attempts, notice.id), "its attempt has ended"
        )
        shop.unblock("call")
        assert await notice.result(timeout=TAKEOVER_S) == "mail-2"
    assert [line["attempt"] for line in shop.witness() if line["what"] == "mail"] == [2]


@pytest.mark.parametrize("point", ["send", "transaction"])
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


async def freeze(shop: Site, point: str, *, lease_s: float = LEASE_S) -> tuple[Worker, UUID]:
    """A worker that is frozen at a point of the run of order 1."""
    shop.arm(point)
    zombie = await asyncio.to_thread(shop.worker, options={"lease_s": lease_s})
    program = shop.program()
    async with program.troth.client():
        run = await program.troth.start(program.order, 1)
        await asyncio.to_thread(zombie.wait_frozen)
    return zombie, run.id


def declare_dead(shop: Site, zombie: Worker) -> None:
    """Take over at once, whatever its lease: so its heart beats too seldom to be the first to notice."""
    assert shop.value("SELECT {s}.takeover(%s, NULL)", zombie.id) == 0


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
    # It was refused by the fence, not by a check that comes after it.
    assert "cannot be stored" not in zombie.log.read_text()


def owner(shop: Site, run_id: UUID) -> int | None:
    rows = shop.rows("SELECT owner FROM {s}.run WHERE id = %s", run_id)
    return int(rows[0][0]) if rows and rows[0][0] is not None else None


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
