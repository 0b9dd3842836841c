"""Sagas: a run that fails or is cancelled undoes what it has done, and says what it cannot undo."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from tests.workflow.place import QUICK, Place, soon
from tests.workflow.test_effects import AT_ONCE
from troth import (
    Call,
    Found,
    Missing,
    Provider,
    Refused,
    Retry,
    RunCancelledError,
    RunFailedError,
    Troth,
    Tx,
    Unknown,
)
from troth.effect import model, rules
from troth.journal.model import Kind

KEYS = Provider("keys", key_lifetime=timedelta(hours=24))
ASKED = Provider("asked", lands_within=timedelta(0))


@pytest.fixture
def short_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is under way for longer than a moment after its timeout."""
    monkeypatch.setattr(model, "SEND_WITHIN_S", 0.1)
    monkeypatch.setattr(model, "MARGIN_S", 0.1)
    monkeypatch.setattr(rules, "MARGIN_S", 0.1)


class World:
    """What was done at the other side, and in which order."""

    def __init__(self, troth: Troth) -> None:
        self.log: list[str] = []
        self.trouble: dict[str, list[Exception]] = {}
        self.before: dict[str, asyncio.Event] = {}  # a call of this name waits for this
        self.reached: dict[str, asyncio.Event] = {}

        @troth.effect(provider=KEYS, timeout=60, retry=AT_ONCE)
        async def make(call: Call, name: str) -> str:
            await self.happen(f"make {name}")
            return f"{name}-id"

        @make.undo(retry=AT_ONCE)
        async def unmake(call: Call, made: str, name: str) -> None:
            assert made == f"{name}-id"
            await self.happen(f"unmake {name}")

        @troth.transaction
        async def write(tx: Tx, name: str) -> int:
            await self.happen(f"write {name}")
            return 7

        @write.undo
        async def erase(tx: Tx, row: int, name: str) -> None:
            assert row == 7
            await self.happen(f"erase {name}")

        @troth.step
        async def refuse(after: list[str]) -> None:
            for name in after:
                await self.event(self.reached, name).wait()
            raise Refused("no")

        self.make, self.write, self.refuse = make, write, refuse

    @staticmethod
    def event(events: dict[str, asyncio.Event], name: str) -> asyncio.Event:
        return events.setdefault(name, asyncio.Event())

    async def happen(self, what: str) -> None:
        self.event(self.reached, what).set()
        if what in self.before:
            await self.before[what].wait()
        if self.trouble.get(what):
            raise self.trouble[what].pop(0)
        self.log.append(what)


@pytest.fixture
def world(troth: Troth) -> World:
    return World(troth)


async def test_a_run_that_fails_undoes_what_it_did_the_last_thing_first(
    place: Place, troth: Troth, world: World
) -> None:
    @troth.workflow
    async def work() -> None:
        await world.write("a")
        await world.make("b")
        await world.make("c")
        await world.refuse([])

    async with troth.worker(QUICK):
        run = await troth.start(work)
        with pytest.raises(RunFailedError, match="no"):
            await soon(run.result())
    assert world.log == ["write a", "make b", "make c", "unmake c", "unmake b", "erase a"]
    assert place.results(run.id)[-4:] == ["!settled", "!undo/make#2", "!undo/make", "!undo/write"]


async def test_a_run_that_succeeds_and_one_with_a_bug_undo_nothing(
    place: Place, troth: Troth, world: World
) -> None:
    @troth.workflow
    async def work(bug: bool) -> str:
        await world.make("a")
        if bug:
            raise ValueError
        return "done"

    async with troth.worker(QUICK):
        assert await soon((await troth.start(work, False)).result()) == "done"
        run = await troth.start(work, True)
        assert (await place.attention(run))[0] == "bug"
    assert world.log == ["make a", "make a"]


async def test_parallel_branches_are_undone_in_the_order_of_their_completion(
    place: Place, troth: Troth, world: World
) -> None:
    first = world.before["make a"] = asyncio.Event()

    @troth.workflow
    async def work() -> None:
        async def branch(name: str) -> None:
            await world.make(name)
            await world.write(name)

        await asyncio.gather(branch("a"), branch("b"))
        await world.refuse([])

    async with troth.worker(QUICK):
        run = await troth.start(work)
        await soon(world.event(world.reached, "write b").wait())
        await place.until(lambda: "1:write" in place.results(run.id), "the second branch is done")
        first.set()
        with pytest.raises(RunFailedError):
            await soon(run.result())
    assert world.log[-4:] == ["erase a", "unmake a", "erase b", "unmake b"]


async def test_a_cancelled_run_is_undone(place: Place, troth: Troth, world: World) -> None:
    @troth.workflow
    async def work() -> None:
        await world.make("a")
        await troth.receive("never")

    async with troth.worker(QUICK):
        run = await troth.start(work)
        await place.until(lambda: place.results(run.id) == ["make"], "it is made")
        await run.cancel()
        with pytest.raises(RunCancelledError):
            await soon(run.result())
    assert world.log == ["make a", "unmake a"]
    assert place.state(run.id) == "cancelled"


async def test_what_is_under_way_when_a_run_fails_is_waited_for_and_undone(
    place: Place, troth: Troth, world: World
) -> None:
    may_go = world.before["make slow"] = asyncio.Event()

    @troth.workflow
    async def work() -> None:
        await asyncio.gather(world.make("slow"), world.refuse(["make slow"]))

    async with troth.worker(QUICK):
        run = await troth.start(work)
        await place.until(lambda: "refuse" in place.results(run.id), "it is refused")
        assert place.state(run.id) not in {"failed", "attention"}
        may_go.set()
        with pytest.raises(RunFailedError):
            await soon(run.result())
    assert world.log == ["make slow", "unmake slow"]


@pytest.mark.parametrize("happened", [True, False])
async def test_what_is_unknown_is_found_out_before_it_is_undone(
    place: Place, troth: Troth, short_flight: None, *, happened: bool
) -> None:
    log: list[str] = []

    @troth.effect(provider=ASKED, timeout=0.2, retry=AT_ONCE)
    async def charge(call: Call) -> str:
        log.append("charge")
        raise ConnectionResetError

    @charge.probe(retry=Retry(attempts=5, first=timedelta(milliseconds=50)))
    async def find(call: Call) -> Found[str] | Missing:
        log.append("probe")
        return Found("it") if happened else Missing()

    @charge.undo
    async def refund(call: Call, charged: str) -> None:
        log.append(f"refund {charged}")

    @refund.probe
    async def find_refund(call: Call, charged: str) -> Found[None] | Missing:
        return Missing()

    @troth.step
    async def refuse() -> None:
        await place.until(lambda: "charge" in log, "it is sent")
        raise Refused("no")

    @troth.workflow
    async def work() -> None:
        await asyncio.gather(charge(), refuse())

    async with troth.worker(QUICK):
        run = await troth.start(work)
        with pytest.raises(RunFailedError):
            await soon(run.result())
    if happened:
        assert log == ["charge", "probe", "refund it"]
    else:
        assert log.count("charge") == 1, "nobody wants it any more"
        assert set(log) == {"charge", "probe"}


async def test_an_outcome_that_was_told_to_be_unknown_is_found_out_before_undoing(
    place: Place, troth: Troth
) -> None:
    log: list[str] = []
    know: list[str] = []

    @troth.effect(delivery="at_most_once", timeout=60)
    async def charge(call: Call) -> str:
        log.append("charge")
        raise ConnectionResetError

    @charge.undo
    async def refund(call: Call, charged: str) -> None:
        log.append(f"refund {charged}")

    @troth.workflow
    async def work() -> None:
        know.append(str(isinstance(await charge.outcome(), Unknown)))
        raise Refused("we do not go on without knowing")

    async with troth.worker(QUICK):
        run = await troth.start(work)
        reason, detail = await place.attention(run)
        assert (reason, detail["at"]) == ("in_doubt", "charge")
        assert detail["because"] == "Refused: we do not go on without knowing"
        place.settle(run, "charge", "it")
        with pytest.raises(RunFailedError, match="without knowing"):
            await soon(run.result())
    assert log == ["charge", "refund it"]
    assert set(know) == {"True"}


async def test_an_undo_that_is_refused_asks_a_person_and_says_what_stands(
    place: Place, troth: Troth, world: World
) -> None:
    world.trouble["unmake b"] = [Refused("too late")]

    @troth.workflow
    async def work() -> None:
        await world.make("a")
        await world.make("b")
        await world.make("c")
        await world.refuse([])

    async with troth.worker(QUICK):
        run = await troth.start(work)
        reason, detail = await place.attention(run)
        assert (reason, detail["at"]) == ("undo_failed", "!undo/make#2")
        assert "too late" in detail["message"]
        assert detail["because"] == "Refused: no"
        assert detail["stands"] == [
            {"path": "make#2", "value": "b-id"},
            {"path": "make", "value": "a-id"},
        ]
        assert detail["undone"] == ["make#3"]
        place.settle(run, "!undo/make#2")  # by hand
        with pytest.raises(RunFailedError):
            await soon(run.result())
    assert world.log == ["make a", "make b", "make c", "unmake c", "unmake a"]


async def test_an_undo_is_tried_again_with_its_own_key_and_resumed_by_a_person(
    place: Place, troth: Troth, world: World
) -> None:
    world.trouble["unmake a"] = [ConnectionResetError(), ConnectionRefusedError(), ValueError("x")]
    world.trouble["erase b"] = [ValueError("a bug in the undo")]

    @troth.workflow
    async def work() -> None:
        await world.make("a")
        await world.write("b")
        await world.refuse([])

    async with troth.worker(QUICK):
        run = await troth.start(work)
        reason, detail = await place.attention(run)
        assert (reason, detail["at"]) == ("undo_failed", "!undo/write")
        place.resume(run)
        with pytest.raises(RunFailedError):
            await soon(run.result())
    assert world.log == ["make a", "write b", "erase b", "unmake a"]


@pytest.mark.parametrize("stands", [True, False])
async def test_what_has_no_undo_asks_a_person_unless_it_may_stand(
    place: Place, troth: Troth, world: World, *, stands: bool
) -> None:
    @troth.effect(delivery="at_most_once", timeout=60, stands=stands)
    async def send_mail(call: Call) -> None:
        world.log.append("mail")

    @troth.workflow
    async def work() -> None:
        await world.make("a")
        await send_mail()
        await world.refuse([])

    async with troth.worker(QUICK):
        run = await troth.start(work)
        if not stands:
            reason, detail = await place.attention(run)
            assert (reason, detail["at"]) == ("undo_failed", "!undo/send_mail")
            assert "nobody has said how it is undone" in detail["message"]
            place.settle(run, "!undo/send_mail")
        with pytest.raises(RunFailedError):
            await soon(run.result())
    assert world.log == ["make a", "mail", "unmake a"]


async def test_what_may_stand_is_not_asked_about_and_stays_unknown(
    place: Place, troth: Troth
) -> None:
    sent = asyncio.Event()

    @troth.effect(delivery="at_most_once", timeout=60, stands=True)
    async def send_mail(call: Call) -> None:
        sent.set()
        await asyncio.Event().wait()

    @troth.step
    async def refuse() -> None:
        await sent.wait()
        raise Refused("no")

    @troth.workflow
    async def work() -> None:
        await asyncio.gather(send_mail(), refuse())

    async with troth.worker(QUICK):
        run = await troth.start(work)
        await place.until(lambda: "refuse" in place.results(run.id), "it is refused")
        await place.die(troth)  # its outcome is lost, too
    again = place.troth()
    again.workflows, again.steps = troth.workflows, troth.steps
    async with again.worker(QUICK):
        with pytest.raises(RunFailedError):
            await soon(again.run(run.id).result())
    [mail] = [e for e in place.journal(run.id) if e[:2] == ("send_mail", Kind.RESULT)]
    assert mail[4] is None, "neither done nor refused"


async def test_past_the_point_of_no_return_nothing_is_undone_and_a_cancellation_is_too_late(
    place: Place, troth: Troth, world: World
) -> None:
    @troth.effect(provider=KEYS, timeout=60, pivot=True)
    async def pay_out(call: Call) -> None:
        world.log.append("paid")

    @troth.workflow
    async def work(fail: bool) -> str:
        await world.make("a")
        await pay_out()
        await troth.receive("go.on")
        if fail:
            await world.refuse([])
        return "done"

    async with troth.worker(QUICK):
        run = await troth.start(work, False)
        await place.until(lambda: "pay_out" in place.results(run.id), "it is paid")
        await run.cancel()
        await place.until(lambda: "!cancel" in place.results(run.id), "the cancellation is heard")
        await troth.send(run, "go.on")
        assert await soon(run.result()) == "done"
        run = await troth.start(work, True)
        await troth.send(run, "go.on")
        reason, detail = await place.attention(run)
        assert (reason, detail["at"]) == ("undo_failed", "!settled")
        assert "point of no return" in detail["message"]
    assert world.log == ["make a", "paid", "make a", "paid"]


async def test_a_scope_is_undone_alone(place: Place, troth: Troth, world: World) -> None:
    @troth.workflow
    async def work(fail: bool) -> list[str]:
        told = []
        await world.make("before")
        for name in ("a", "b", "c"):
            try:
                async with troth.saga():
                    await world.make(name)
                    await world.write(name)
                    if name == "b":
                        await world.refuse([])
            except Refused as refusal:
                told.append(f"{name}: {refusal}")
        if fail:
            raise Refused("all of it")
        return told

    done = ["make before", "make a", "write a", "make b", "write b", "erase b", "unmake b"]
    done += ["make c", "write c"]
    async with troth.worker(QUICK):
        run = await troth.start(work, False)
        assert await soon(run.result()) == ["b: no"]
        assert world.log == done
        world.log.clear()
        run = await troth.start(work, True)
        with pytest.raises(RunFailedError, match="all of it"):
            await soon(run.result())
    undone = ["erase c", "unmake c", "erase a", "unmake a", "unmake before"]
    assert world.log == done + undone


async def test_a_cancellation_does_not_cut_an_undoing_short(
    place: Place, troth: Troth, world: World
) -> None:
    may_go = world.before["unmake b"] = asyncio.Event()

    @troth.workflow
    async def work() -> None:
        await world.make("a")
        async with troth.saga():
            await world.make("b")
            await world.refuse([])

    async with troth.worker(QUICK):
        run = await troth.start(work)
        await soon(world.event(world.reached, "unmake b").wait())
        await run.cancel()
        await place.until(lambda: "!cancel" in place.results(run.id), "the cancellation is heard")
        may_go.set()
        with pytest.raises(RunCancelledError):
            await soon(run.result())
    assert world.log == ["make a", "make b", "unmake b", "unmake a"]


async def test_in_a_scope_that_is_being_undone_nothing_new_begins(
    place: Place, troth: Troth, world: World
) -> None:
    may_go = world.before["unmake a"] = asyncio.Event()

    @troth.workflow
    async def work() -> str:
        async def later() -> None:
            await troth.receive("wake")
            await world.make("late")

        try:
            async with troth.saga():
                await world.make("a")
                await asyncio.gather(later(), world.refuse([]))
        except Refused:
            return "caught"
        return "done"

    async with troth.worker(QUICK):
        run = await troth.start(work)
        await soon(world.event(world.reached, "unmake a").wait())
        await troth.send(run, "wake")
        await place.until(lambda: "0:receive.wake" in place.results(run.id), "the sibling is woken")
        may_go.set()
        assert await soon(run.result()) == "caught"
    assert world.log == ["make a", "unmake a"]


async def test_a_failed_run_that_is_cancelled_while_it_is_undone_stays_failed(
    place: Place, troth: Troth, world: World
) -> None:
    may_go = world.before["unmake a"] = asyncio.Event()

    @troth.workflow
    async def work() -> None:
        await world.make("a")
        await world.refuse([])

    async with troth.worker(QUICK):
        run = await troth.start(work)
        await soon(world.event(world.reached, "unmake a").wait())
        await run.cancel()
        await place.until(lambda: "!cancel" in place.results(run.id), "the cancellation is heard")
        may_go.set()
        with pytest.raises(RunFailedError, match="no"):
            await soon(run.result())
    assert world.log == ["make a", "unmake a"]


async def test_a_parallel_scope_that_is_being_undone_is_not_undone_twice(
    place: Place, troth: Troth, world: World
) -> None:
    may_go = world.before["unmake b"] = asyncio.Event()

    @troth.workflow
    async def work() -> None:
        async def part() -> None:
            async with troth.saga():
                await world.make("b")
                await world.refuse([])

        await asyncio.gather(part(), world.refuse(["unmake b"]))

    async with troth.worker(QUICK):
        run = await troth.start(work)
        await place.until(lambda: "refuse" in place.results(run.id), "the run has failed")
        may_go.set()
        with pytest.raises(RunFailedError):
            await soon(run.result())
    assert world.log == ["make b", "unmake b"]


async def test_it_is_undoing_while_it_waits_and_leaves_memory(
    place: Place, troth: Troth, world: World
) -> None:
    world.trouble["unmake patient"] = [ConnectionRefusedError()]

    @troth.effect(provider=KEYS, timeout=60)
    async def make_patiently(call: Call) -> None:
        world.log.append("make patient")

    @make_patiently.undo(retry=Retry(attempts=2, first=timedelta(seconds=3)))
    async def unmake(call: Call, made: None) -> None:
        await world.happen("unmake patient")

    @troth.workflow
    async def work() -> None:
        await make_patiently()
        await world.refuse([])

    async with troth.worker(QUICK) as open_troth:
        run = await troth.start(work)
        await place.until_state(run, "undoing")
        runs = open_troth.node.engine.runs
        await place.until(lambda: run.id not in runs, "it left memory")
        assert place.state(run.id) == "undoing"
        with pytest.raises(RunFailedError):
            await soon(run.result())
    assert world.log == ["make patient", "unmake patient"]
    claims = place.value("SELECT claim FROM {s}.run_history WHERE id = %s", run.id)
    assert claims == 2


async def test_a_cancellation_that_comes_before_the_end_is_durable_undoes_the_run(
    place: Place, troth: Troth, world: World
) -> None:
    @troth.workflow
    async def work() -> str:
        await world.make("a")
        return "done"

    async with troth.worker(QUICK):
        # The message is there before the run is: the flush that would end the run finds it.
        await place.until(lambda: True, "")
        place.rows(
            "INSERT INTO {s}.message (id, key, topic, payload)"
            " VALUES (gen_random_uuid(), 'k', '!cancel', 'null')"
        )
        run = await troth.start(work, key="k")
        with pytest.raises(RunCancelledError):
            await soon(run.result())
    assert world.log in (["make a", "unmake a"], [])
    kinds = {entry[1] for entry in place.journal(run.id)}
    assert Kind.RESULT in kinds
