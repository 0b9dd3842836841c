"""Listeners: who is told what, and that nothing they do harms a run."""

from __future__ import annotations

import logging
from typing import Any
from uuid import UUID

import msgspec
import pytest

from tests.workflow.place import QUICK, Place, soon
from tools import gen_telemetry
from troth import Troth, events
from troth.base.telemetry import Telemetry

HEARD = events.MessageHeard(UUID(int=1), "work", "receive.go", "go", None)
SENT = events.MessageSent(UUID(int=1), None, "go")


def test_the_page_of_events_is_up_to_date() -> None:
    assert gen_telemetry.PAGE.read_text() == gen_telemetry.page(), (
        "run `python -m tools.gen_telemetry`"
    )


def test_every_event_is_in_the_table_and_says_what_it_and_its_fields_are() -> None:
    kinds = events.Event.__subclasses__()
    assert list(events.TABLE.values()) == kinds
    assert len({kind.name for kind in kinds}) == len(kinds)
    for kind in kinds:
        assert kind.__doc__, kind
        for line in gen_telemetry.section(kind).splitlines():
            if line.startswith("| `"):
                assert line.split("|")[3].strip(), f"{kind.__name__}: {line} says nothing"


def test_an_event_can_be_written_down_and_not_changed() -> None:
    assert msgspec.json.decode(msgspec.json.encode(HEARD)) == {
        "run_id": str(UUID(int=1)), "workflow": "work", "path": "receive.go", "topic": "go",
        "trace": None,
    }  # fmt: skip
    with pytest.raises(AttributeError):
        HEARD.topic = "other"  # type: ignore[misc]


def test_a_listener_is_told_what_it_asked_for_until_it_is_forgotten() -> None:
    telemetry = Telemetry()
    everything: list[Any] = []
    some: list[Any] = []
    assert not telemetry.on
    telemetry.listen(everything.append)
    telemetry.listen(some.append, events.MessageSent)
    assert telemetry.on
    telemetry.emit(HEARD)
    telemetry.emit(SENT)
    assert (everything, some) == ([HEARD, SENT], [SENT])
    telemetry.forget(everything.append)
    telemetry.forget(some.append)
    assert not telemetry.on
    telemetry.emit(SENT)
    assert (everything, some) == ([HEARD, SENT], [SENT])


def test_a_listener_that_fails_is_logged_once_in_a_while_and_keeps_nobody_from_listening(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    telemetry = Telemetry()
    seen: list[Any] = []

    def broken(event: Any) -> None:
        raise ValueError(event.topic)

    telemetry.listen(broken)
    telemetry.listen(seen.append)
    for _ in range(1000):
        telemetry.emit(SENT)
    assert len(seen) == 1000
    [record] = caplog.records
    assert "broken" in record.getMessage()
    assert "message.sent" in record.getMessage()
    monkeypatch.setattr("troth.base.telemetry._TELL_EVERY_S", 0.0)
    telemetry.emit(SENT)
    assert "999 times more" in caplog.records[-1].getMessage()


async def test_neither_a_listener_nor_a_tracer_that_fails_harms_a_run(
    place: Place, troth: Troth, caplog: pytest.LogCaptureFixture
) -> None:
    class Tracer:
        def starting(self, run_id: UUID, workflow: str, parent: UUID | None) -> str | None:
            raise RuntimeError("no trace")

        def begun(self, asked: UUID, run_id: UUID | None) -> None:
            raise RuntimeError("no trace")

        def sending(self, run_id: UUID | None, key: str | None, topic: str) -> str | None:
            raise RuntimeError("no trace")

    @troth.listen
    def broken(event: Any) -> None:
        raise ValueError(event.name)

    troth.telemetry.tracer = Tracer()

    @troth.step
    async def double(n: int) -> int:
        return 2 * n

    @troth.workflow
    async def work(n: int) -> int:
        return await double(await troth.receive("n", int) + n)

    async with troth.worker(QUICK):
        run = await troth.start(work, 1)
        await troth.send(run, "n", 20)
        assert await soon(run.result()) == 42
    said = [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]
    assert any("broken" in text for text in said)
    assert any("a trace" in text for text in said)
    assert place.value("SELECT trace FROM {s}.run_history WHERE id = %s", run.id) is None


async def test_a_listener_that_comes_and_goes_in_mid_step_hears_a_part(
    place: Place, troth: Troth
) -> None:
    told: list[str] = []

    def listener(event: events.Event) -> None:
        told.append(event.name)

    @troth.step
    async def step() -> None:
        troth.listen(listener, events.StepBegan, events.StepEnded)

    @troth.step
    async def other() -> None:
        troth.telemetry.forget(listener)

    @troth.workflow
    async def work() -> None:
        await step()
        await other()

    async with troth.worker(QUICK):
        run = await troth.start(work)
        await soon(run.result())
    assert told == ["step.began"]
