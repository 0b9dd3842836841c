"""Every event of the table is really emitted, by real runs, workers and relays; and what it says is so."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.harness.postgres import wait_until
from tests.inbox.site import SECRET, signed, stripe_event
from tests.outbox.destinations import Memory
from tests.workflow.place import PATIENCE_S, Place, soon
from troth import (
    Call,
    Found,
    Ledger,
    Missing,
    Money,
    Provider,
    Rate,
    Refused,
    Requests,
    Retry,
    RunFailedError,
    Troth,
    Tx,
    events,
)
from troth.command import desk
from troth.command.acts import Role
from troth.command.model import Author, NotAllowedError
from troth.inbox import Inbox, StripeSignatures
from troth.integrations.asgi import COMMAND, IdempotencyMiddleware
from troth.journal import membership
from troth.ledger import Clearing, Transfer
from troth.outbox import Outbox
from troth.reconcile import Item, Page, Reconciliation, Window
from troth.schedule import Schedules
from troth.store.connect import connect_async
from troth.worker.node import NodeOptions

OPTIONS = NodeOptions(connections=4, threads=4, lease_s=1.0)
ONCE = Retry(attempts=2, first=timedelta(milliseconds=10), longest=timedelta(milliseconds=10))
SLOW = Provider("slow", key_lifetime=timedelta(hours=1), rate=Rate(1, timedelta(seconds=60)))


class Heard:
    """All that was told, in its order."""

    def __init__(self, troth: Troth) -> None:
        self.all: list[events.Event] = []
        self._news = threading.Event()
        troth.listen(self._listen)

    def _listen(self, event: events.Event) -> None:
        self.all.append(event)
        self._news.set()

    def of(self, kind: type[Any], **fields: Any) -> list[Any]:
        return [
            event
            for event in list(self.all)
            if isinstance(event, kind)
            and all(getattr(event, name) == value for name, value in fields.items())
        ]

    async def until(self, kind: type[Any], **fields: Any) -> Any:
        """The first of these, when it has come."""
        what = f"{kind.name} {fields}"
        await asyncio.to_thread(wait_until, lambda: self.of(kind, **fields), what, PATIENCE_S)
        return self.of(kind, **fields)[0]


async def test_every_event_of_the_table_is_emitted_by_something_real(
    place: Place, troth: Troth, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = Heard(troth)
    for scene in (
        steps_and_effects, doubt_and_a_person, messages_and_children, held_by_a_provider, schedules,
        out_and_in, requests, acts, clearing, reconciliation,
    ):  # fmt: skip
        await scene(place, place_of(troth), heard)
    await trouble_of_workers(place, troth, heard, monkeypatch)
    told = {event.name for event in heard.all}
    assert told == set(events.TABLE), f"never emitted: {sorted(set(events.TABLE) - told)}"


def place_of(troth: Troth) -> Troth:
    """Another program on the same schema, with the same listeners."""
    other = Troth(troth.url, schema=troth.schema)
    other.telemetry = troth.telemetry
    return other


async def steps_and_effects(place: Place, troth: Troth, heard: Heard) -> None:
    tries: dict[str, int] = defaultdict(int)

    @troth.step(retry=ONCE)
    async def flaky() -> int:
        tries["flaky"] += 1
        if tries["flaky"] == 1:
            raise ValueError("not yet")
        return 1

    @troth.transaction
    async def rows(tx: Tx) -> int:
        return 2

    @troth.effect(delivery="at_most_once", timeout=5)
    async def charge(call: Call) -> str:
        return call.key

    @charge.undo
    async def refund(call: Call, charged: str) -> None: ...

    @troth.effect(provider=Provider("p", lands_within=timedelta(0)), timeout=5, retry=ONCE)
    async def lost(call: Call) -> str:
        raise ConnectionResetError("reset by peer")

    @lost.probe
    async def find(call: Call) -> Found[str] | Missing:
        return Found("it was there")

    @troth.workflow
    async def work() -> str:
        return f"{await flaky()}{await rows()}{await lost()}"

    @troth.workflow
    async def failing() -> None:
        await charge()
        raise Refused("no")

    async with troth.worker(OPTIONS):
        run = await troth.start(work, key="a key")
        assert await soon(run.result()) == "12it was there"
        failed = await troth.start(failing)
        with pytest.raises(RunFailedError):
            await soon(failed.result())

    [started] = heard.of(events.RunStarted, run_id=run.id)
    assert (started.key, started.via, started.fresh) == ("a key", "start", True)
    [claimed] = heard.of(events.RunClaimed, run_id=run.id)
    assert (claimed.because, claimed.claim, claimed.entries) == ("start", 1, 0)
    bodies = [(e.path, e.kind, e.attempt) for e in heard.of(events.StepBegan, run_id=run.id)]
    assert bodies == [
        ("flaky", "step", 1), ("flaky", "step", 2), ("rows", "transaction", 1),
        ("lost", "effect", 1), ("lost", "probe", 1),
    ]  # fmt: skip
    ended = heard.of(events.StepEnded, run_id=run.id)
    assert [(e.path, e.kind, e.outcome) for e in ended] == [
        ("flaky", "step", "failed"), ("flaky", "step", "done"), ("rows", "transaction", "done"),
        ("lost", "effect", "unknown"), ("lost", "probe", "done"),
    ]  # fmt: skip
    assert ended[0].error == "ValueError: not yet"
    assert all(0 < e.seconds < PATIENCE_S for e in ended)
    [retry] = heard.of(events.StepRetry, run_id=run.id, path="flaky")
    assert (retry.attempt, retry.error) == (1, "ValueError: not yet")
    [sent] = heard.of(events.EffectSent, run_id=run.id)
    assert (sent.provider, sent.key) == ("p", f"{run.id}/lost")
    outcomes = heard.of(events.EffectOutcome, run_id=run.id)
    assert [(e.outcome, e.decided_by) for e in outcomes] == [
        ("unknown", "answer"),
        ("done", "probe"),
    ]
    [probed] = heard.of(events.EffectProbed, run_id=run.id)
    assert (probed.answer, probed.settles) == ("found", True)
    [end] = heard.of(events.RunEnded, run_id=run.id)
    assert (end.state, end.error, end.key) == ("succeeded", None, "a key")
    assert 0 < end.held_s <= end.seconds + 1
    [undone] = heard.of(events.EffectUndone, run_id=failed.id)
    assert (undone.path, undone.of) == ("!undo/charge", "charge")
    [undoing] = heard.of(events.RunUndoing, run_id=failed.id)
    assert undoing.because == "Refused: no"
    [end] = heard.of(events.RunEnded, run_id=failed.id)
    assert (end.state, end.error) == ("failed", "troth.base.errors.Refused")


async def doubt_and_a_person(place: Place, troth: Troth, heard: Heard) -> None:
    @troth.effect(delivery="at_most_once", timeout=5, stake=lambda: "12 EUR")
    async def mail(call: Call) -> str:
        raise ConnectionResetError("reset by peer")

    @troth.workflow
    async def doubtful() -> str:
        return await mail()

    async with troth.worker(OPTIONS):
        run = await troth.start(doubtful)
        await place.attention(run)
        parked = await heard.until(events.RunAttention, run_id=run.id)
        assert (parked.reason, parked.path) == ("in_doubt", "mail")
        place.settle(run, "mail", "arrived")
        place.decide(
            run, "!resume", {"by": "ada", "reason": "in_doubt", "at": "mail", "done": True}
        )
        assert await soon(run.result()) == "arrived"
    [doubt] = heard.of(events.EffectInDoubt, run_id=run.id)
    assert doubt.stake == "12 EUR"
    [left] = heard.of(events.RunLeftAttention, run_id=run.id)
    assert (left.by, left.reason) == ("ada", "in_doubt")
    assert [e.because for e in heard.of(events.RunClaimed, run_id=run.id)] == ["start", "person"]


async def messages_and_children(place: Place, troth: Troth, heard: Heard) -> None:
    @troth.workflow
    async def child() -> int:
        return 1

    @troth.workflow
    async def parent() -> int:
        await troth.sleep(1.2)  # long enough to leave memory
        await troth.receive("go")
        return await child()

    async with troth.worker(OPTIONS):
        run = await troth.start(parent)
        await place.until_state(run, "waiting")
        await heard.until(events.RunClaimed, run_id=run.id, because="time")
        await heard.until(events.RunReleased, run_id=run.id, wake_at=None)
        await troth.send(run, "go")
        assert await soon(run.result()) == 1
    first, second = heard.of(events.RunReleased, run_id=run.id)
    assert (first.state, second.state) == ("waiting", "waiting")
    assert first.wake_at is not None
    claimed = heard.of(events.RunClaimed, run_id=run.id)
    assert [e.because for e in claimed] == ["start", "time", "message"]
    [sent] = heard.of(events.MessageSent, run_id=run.id)
    [told] = heard.of(events.MessageHeard, run_id=run.id)
    assert (sent.topic, told.topic, told.path) == ("go", "go", "receive.go")
    [started] = heard.of(events.RunStarted, parent=run.id)
    assert (started.workflow, started.via) == ("child", "child")


async def held_by_a_provider(place: Place, troth: Troth, heard: Heard) -> None:
    @troth.effect(provider=SLOW, timeout=60)
    async def call_slow(call: Call) -> None: ...

    @troth.workflow
    async def hurried() -> None:
        await call_slow()

    async with troth.worker(OPTIONS):
        runs = [await troth.start(hurried) for _ in range(2)]
        held = await heard.until(events.EffectHeld, provider="slow")
        [waiting] = [run for run in runs if run.id == held.run_id]
        await waiting.cancel()
        await place.until_state(waiting, "cancelled")
    assert 1 < held.wait_s <= 70
    assert "rate of slow" in held.because


async def schedules(place: Place, troth: Troth, heard: Heard) -> None:
    made = troth.include(Schedules(troth))

    @made.every("0 0 1 1 *")
    @troth.workflow
    async def yearly() -> None: ...

    async with troth.worker(OPTIONS):
        await place.until(
            lambda: place.value("SELECT count(*) FROM {s}.schedule") == 1, "it is declared"
        )
        place.rows(
            "UPDATE {s}.schedule SET next_at = now() - interval '2 seconds', look_at = now()"
        )
        place.rows("SELECT pg_notify(%s, '')", f"{place.schema}.schedule")
        fired = await heard.until(events.ScheduleFired, schedule="yearly", result="started")
        await place.until_state(fired.run_id, "succeeded")
    assert 2 <= fired.late_s < PATIENCE_S
    [started] = heard.of(events.RunStarted, run_id=fired.run_id)
    assert started.via == "schedule"


async def out_and_in(place: Place, troth: Troth, heard: Heard) -> None:
    outbox = troth.include(Outbox("events", destinations=[Memory()]))
    inbox = troth.include(Inbox("stripe", scheme=StripeSignatures([SECRET])))

    @inbox.on("thing.changed")
    async def changed(tx: Any, event: Any) -> None: ...

    async with await connect_async(place.url) as tx:
        async with tx.transaction():
            message = await outbox.publish(tx, "thing.made", {"id": 1})
        await inbox.accept(tx, *signed(stripe_event(1)))
    async with troth.worker(OPTIONS):
        attempted = await heard.until(events.OutboxAttempted)
        applied = await heard.until(events.InboxApplied)
    assert (attempted.message_id, attempted.destination) == (message, "memory")
    assert (attempted.outcome, attempted.attempt, attempted.status) == ("delivered", 1, "ok")
    assert (applied.event_id, applied.state, applied.type) == ("evt_1", "applied", "thing.changed")


async def requests(place: Place, troth: Troth, heard: Heard) -> None:
    made = troth.include(Requests("shop"))

    @troth.workflow
    async def order() -> None: ...

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await scope[COMMAND].start(order)
        await send({"type": "http.response.start", "status": 201, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    edge = IdempotencyMiddleware(app, requests=made, troth=troth)

    async def post(body: bytes) -> None:
        sent = [{"type": "http.request", "body": body, "more_body": False}]
        scope = {
            "type": "http", "method": "POST", "path": "/orders", "query_string": b"",
            "headers": [(b"idempotency-key", b"k")],
        }  # fmt: skip

        async def receive() -> Any:
            return sent.pop()

        async def send(message: Any) -> None: ...

        await edge(scope, receive, send)

    async with troth.client():
        for body in (b"{}", b"{}", b'{"other": 1}'):
            await post(body)
    answered = heard.of(events.RequestAnswered)
    assert [(e.result, e.status) for e in answered] == [
        ("fresh", 201), ("replayed", 201), ("conflict", 422),
    ]  # fmt: skip
    assert {(e.requests, e.method) for e in answered} == {("shop", "POST")}
    assert len(heard.of(events.RunStarted, via="request", workflow="order")) == 1


async def clearing(place: Place, troth: Troth, heard: Heard) -> None:
    """An account is overdue at once, and is cleared by what is posted then."""
    ledger = troth.include(Ledger())
    soon_due, often = timedelta(milliseconds=1), timedelta(milliseconds=20)
    troth.include(Clearing("payouts", under="clearing", within=soon_due, look_every=often))
    async with await connect_async(place.url) as tx:
        await ledger.accounts.open(
            tx, "clearing:7", currency="EUR", side="debit", metadata={"customer": "ann"}
        )
        await ledger.accounts.open(tx, "sales", currency="EUR", side="credit")
        await ledger.post(tx, Transfer("charge", "clearing:7", "sales", Money(500, "EUR")))
        async with troth.worker(OPTIONS):
            found = await heard.until(events.LedgerOverdue, what="overdue")
            await ledger.post(tx, Transfer("back", "sales", "clearing:7", Money(500, "EUR")))
            cleared = await heard.until(events.LedgerOverdue, what="cleared")
    for each in (found, cleared):
        assert (each.flow, each.account, each.customer, each.minor, each.currency) == (
            "payouts", "clearing:7", "ann", 500, "EUR",
        )  # fmt: skip
        assert 0 <= each.late_s < 60
        assert each.accounts == 1
    assert len(heard.of(events.LedgerOverdue)) == 2, "each change is told once"


async def reconciliation(place: Place, troth: Troth, heard: Heard) -> None:
    """A side that is empty where the other is not: a break, and the end of the run."""
    now = datetime.now(UTC)

    class Listed:
        def __init__(self, name: str, *items: Item) -> None:
            self.name, self.items = name, items

        async def page(self, _cursor: str | None, _window: Window) -> Page:
            return Page(self.items, count=len(self.items))

    ours = Listed("ours", Item("x", 500, "EUR", now - timedelta(hours=2)))
    books = Reconciliation("events", ours=ours, theirs=Listed("theirs"), every=timedelta(hours=1))
    troth.include(books)
    async with troth.worker(OPTIONS):
        ended = await heard.until(events.ReconcileEnded)
    assert (ended.verdict, ended.breaks) == ("unproven", 1)
    (found,) = heard.of(events.ReconcileBreak)
    assert (found.kind, found.what, found.minor, found.currency, found.breaks) == (
        "stale_source", "found", 500, "EUR", 1,
    )  # fmt: skip


async def acts(place: Place, troth: Troth, heard: Heard) -> None:
    async def deed() -> None: ...

    @asynccontextmanager
    async def begin() -> AsyncIterator[Any]:
        async with await connect_async(place.url) as tx, tx.transaction():
            yield tx

    async with begin() as tx:
        viewer = Author("eve", "may I?", Role.VIEWER, "console")
        with pytest.raises(NotAllowedError):
            async with desk.recording_refusals(begin, place.schema, troth.telemetry):
                await desk.carry_out(tx, place.schema, viewer, "run.resume", "a run", {}, deed)
        await desk.carry_out(
            tx, place.schema, Author("ada", "fixed"), "run.resume", "a run", {}, deed,
            telemetry=troth.telemetry,
        )  # fmt: skip
    assert [(e.by, e.role, e.via, e.outcome) for e in heard.of(events.ActRecorded)] == [
        ("eve", "viewer", "console", "refused"), ("ada", "admin", "cli", "done"),
    ]  # fmt: skip


async def trouble_of_workers(
    place: Place, troth: Troth, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(membership, "BLOCK_WARNING_S", 0.1)
    told = threading.Event()
    troth.listen(lambda _: told.set(), events.WorkerBlocked)

    @troth.step
    async def blocks() -> bool:
        return told.wait(PATIENCE_S)  # the loop itself waits until the heart says so

    @troth.workflow
    async def blocking() -> bool:
        return await blocks()

    async with troth.worker(OPTIONS) as opened:
        worker = opened.node.writer.worker
        assert await soon((await troth.start(blocking)).result())
        blocked = heard.of(events.WorkerBlocked, worker=worker)
        assert any(Path(__file__).name in each.where for each in blocked)

        place.rows(
            "INSERT INTO {s}.worker (name, executes, workflows, lease_s) VALUES ('dead', true, '{{}}', 0.3)"
        )
        took_over = await heard.until(events.WorkerTookOver, worker=worker)
        assert took_over.locked == 0

        with psycopg.connect(place.url) as holds:  # until this has ended, no beat is answered
            row = holds.execute(
                f"SELECT beat FROM {place.schema}.worker WHERE id = %s FOR UPDATE", (worker,)
            ).fetchone()
            assert row is not None
            await asyncio.to_thread(
                wait_until, lambda: waits_for_lock(place), "the beat waits", PATIENCE_S
            )
            late_at = time.monotonic() + 1.0  # two intervals and more
            await asyncio.to_thread(
                wait_until, lambda: time.monotonic() > late_at, "it is late", PATIENCE_S
            )
        late = await heard.until(events.WorkerBeatLate, worker=worker)
        assert late.silent_s > 2 * OPTIONS.lease_s / 5

        place.take_over(worker)
        await heard.until(events.WorkerFenced, worker=worker)
        began = await heard.until(events.WorkerBegan, worker=worker + 2)
        assert began.executes
    drained = heard.of(events.WorkerDrained)[-1]
    assert (drained.worker, drained.left) == (worker + 2, 0)
    assert heard.of(events.FlushDone, number=1, tries=1)
    assert heard.of(events.RunsAsked)


def waits_for_lock(place: Place) -> bool:
    return bool(
        place.value(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            " AND query LIKE %s",
            f"%{place.schema}.beat(%",
        )
    )
