"""When an effect may be sent: after its intent is durable, before `send_by`, and by one worker at a time."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

from tests.harness.cell import Cell, crash, until
from troth import Call, Provider, Troth
from troth.effect import model
from troth.journal import store
from troth.worker.node import NodeOptions
from troth.workflow import effects

PROVIDER = Provider("p", key_lifetime=timedelta(hours=24))
TIMEOUT_S = 0.4


class Program:
    """A workflow `w` of a gate and an effect; what was sent is written down."""

    def __init__(self, cell: Cell, sent: list[Call], *, answers: bool) -> None:
        self.troth = Troth(cell.url, schema=cell.schema)
        self.sent = sent
        self.at: list[float] = []
        self.sending = asyncio.Event()
        self.gate = asyncio.Event()
        self.at_gate = asyncio.Event()

        @self.troth.step
        async def gate() -> None:
            self.at_gate.set()
            await self.gate.wait()

        @self.troth.effect(provider=PROVIDER, timeout=TIMEOUT_S)
        async def charge(call: Call) -> str:
            self.sent.append(call)
            self.at.append(time.monotonic())
            self.sending.set()
            if not answers:
                await asyncio.Event().wait()
            return "charged"

        @self.troth.workflow
        async def w() -> str:
            await gate()
            return await charge()


async def intents(cell: Cell) -> list[int]:
    return [
        n for (n,) in await cell.rows("SELECT attempt FROM {}.journal WHERE kind = 1 ORDER BY 1")
    ]


async def test_a_successor_waits_until_nothing_can_be_in_flight(cell, monkeypatch):
    """Finding 6: the successor of a lost sender waits send_by, timeout and margin, on its own clock, and then sends again."""
    monkeypatch.setattr(model, "SEND_WITHIN_S", 0.3)
    monkeypatch.setattr(model, "MARGIN_S", 0.2)
    sent: list[Call] = []
    lost, next_one = Program(cell, sent, answers=False), Program(cell, sent, answers=True)
    lost.gate.set()
    next_one.gate.set()
    async with lost.troth.worker(NodeOptions(lease_s=0.5)) as opened:
        run = await lost.troth.start(lost.troth.workflows["w"])
        await lost.sending.wait()
        assert await intents(cell) == [1]  # durable before it is sent
        dead = await crash(opened.node)
        async with next_one.troth.worker(NodeOptions(lease_s=3600)) as second:
            held = await store.takeover(
                await cell.session(), cell.q, dead, await cell.beat_of(dead)
            )
            assert held == 0
            taken_over = time.monotonic()
            second.node.claims.ask()
            assert await second.run(run.id).result(timeout=20) == "charged"
    assert next_one.at[0] - taken_over >= 0.3 + TIMEOUT_S + 0.2
    assert [call.attempt for call in sent] == [1, 2]
    assert len({call.key for call in sent}) == 1
    assert [call.fence for call in sent] == [1, 2]


async def test_a_sender_that_was_held_up_does_not_send(cell, monkeypatch):
    """Findings 5 and 6: a pause between the intent and the sending. Past `send_by` it is not sent, and says so."""
    monkeypatch.setattr(effects, "SEND_WITHIN_S", 0.05)
    program = Program(cell, [], answers=True)
    async with program.troth.worker():
        run = await program.troth.start(program.troth.workflows["w"])
        await program.at_gate.wait()
        holder = await cell.session()
        await holder.execute("BEGIN")
        await holder.execute(f"LOCK {cell.schema}.journal IN EXCLUSIVE MODE")
        program.gate.set()
        await cell.waiting_backend(".flush(")
        began = time.monotonic()
        await until(lambda: passed(began, 0.1), "its time to send is over")
        monkeypatch.setattr(effects, "SEND_WITHIN_S", 60.0)
        await holder.execute("COMMIT")
        assert await run.result(timeout=20) == "charged"
    assert [call.attempt for call in program.sent] == [2]
    attempts = await cell.rows("SELECT attempt, payload FROM {}.journal WHERE kind = 4")
    assert [number for number, _ in attempts] == [1]
    assert b"not done" in attempts[0][1]


async def passed(began: float, seconds: float) -> bool:
    return time.monotonic() - began > seconds


async def test_the_fence_is_checked_in_the_commit_that_records_the_intent(cell):
    """P3: a worker that was taken over before its intent was durable sends nothing; its successor sends, once."""
    program = Program(cell, [], answers=True)
    async with program.troth.worker(NodeOptions(lease_s=3600)) as opened:
        run = await program.troth.start(program.troth.workflows["w"])
        await program.at_gate.wait()
        old = opened.node.writer.worker
        reaper = await cell.session()
        await reaper.execute("BEGIN")
        assert await store.takeover(reaper, cell.q, old, await cell.beat_of(old)) == 0
        program.gate.set()
        await cell.waiting_backend(".flush(")  # with the result of the gate and the intent
        await reaper.execute("COMMIT")
        assert await run.result(timeout=20) == "charged"
        assert opened.node.writer.worker != old
    assert [call.fence for call in program.sent] == [2]
    assert await intents(cell) == [1]


async def test_the_intent_travels_with_the_result_before_it(cell):
    """An intent costs no commit of its own: result(n) with intent(n+1), and the last result with the end, are one each."""
    program = Program(cell, [], answers=True)
    program.gate.set()
    async with program.troth.worker():
        run = await program.troth.start(program.troth.workflows["w"])
        await run.result(timeout=10)
    written_by = await cell.rows(
        "SELECT xmin::text FROM {}.journal ORDER BY seq NULLS LAST, kind"  # gate's result, the effect's, its intent
    )
    (gate,), (charged,), (intent,) = written_by
    assert gate == intent != charged
    assert await cell.value("SELECT xmin::text FROM {}.run_history") == charged
