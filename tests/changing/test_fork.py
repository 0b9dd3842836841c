"""`troth run fork`: another run with the same past, which goes on by itself and undoes only its own work."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest

from tests.workflow.place import QUICK, Place, soon
from troth import Call, Refused, RunFailedError
from troth.cli.main import run as command


class Trip:
    """A trip: what was really booked and cancelled, by idempotency key."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.booked: list[str] = []
        self.cancelled: list[str] = []
        self.full = False
        self.troth = troth = place.troth()

        @troth.effect(delivery="at_least_once", timeout=5)
        async def flight(call: Call, ticket: str) -> str:
            self.booked.append(call.key)
            return ticket

        @flight.undo(delivery="at_least_once", timeout=5)
        async def cancel_flight(call: Call, booked: str, ticket: str) -> None:
            self.cancelled.append(booked)

        @troth.effect(delivery="at_least_once", timeout=5)
        async def hotel(call: Call, name: str) -> str:
            self.booked.append(call.key)
            return name

        @hotel.undo(delivery="at_least_once", timeout=5)
        async def cancel_hotel(call: Call, booked: str, name: str) -> None:
            self.cancelled.append(booked)

        @troth.step
        async def pay(ticket: str) -> str:
            if self.full:
                raise Refused("no")
            return ticket

        @troth.workflow
        async def trip() -> list[str]:
            first = await flight(str(troth.uuid()))
            told = [first, await hotel(str(troth.uuid()))]
            return [*told, await pay(first)]

        self.trip = trip

    async def went(self, *, fails: bool = False) -> UUID:
        self.full = fails
        async with self.troth.worker(QUICK):
            run = await self.troth.start(self.trip)
            try:
                await soon(run.result())
            except RunFailedError:
                assert fails
        self.full = False
        return run.id

    async def end(self, run: UUID) -> Any:
        async with self.troth.worker(QUICK):
            return await soon(self.troth.run(run).result())


@pytest.fixture
def trip(place: Place) -> Trip:
    return Trip(place)


def fork(place: Place, run: UUID, step: str, *more: str) -> int:
    where = ("--database-url", place.url, "--schema", place.schema)
    return command(["run", "fork", str(run), "--from", step, *more, *where])


def forked(place: Place) -> UUID:
    return UUID(str(place.value("SELECT id FROM {s}.run")))


def test_a_fork_keeps_what_was_before_and_does_the_rest_itself(
    place: Place, trip: Trip, capsys: pytest.CaptureFixture[str]
) -> None:
    run = asyncio.run(trip.went())
    assert fork(place, run, "hotel", "--dry-run") == 0
    said = capsys.readouterr().out
    assert "  kept: flight\n" in said
    assert "  run again: pay\n" in said
    assert "sent again, under other keys, although the first run has sent it: hotel" in said
    assert "both runs believe in it; the fork never undoes it: flight" in said
    assert place.rows("SELECT id FROM {s}.run") == []

    assert fork(place, run, "hotel", "--yes", "--by", "ada", "--note", "why not") == 0
    new = forked(place)
    act = "SELECT act, about, by, note, details, result FROM {s}.operator_act"
    assert place.rows(act) == [
        ("run.fork", str(run), "ada", "why not", {"from": "hotel"}, {"run": str(new)})
    ]
    first, again = (asyncio.run(trip.end(each)) for each in (run, new))
    assert (first[0], first[2]) == (again[0], again[2]), "the flight is the same one"
    assert first[1] != again[1], "the ids that it draws itself are its own"
    assert trip.booked == [f"{run}/flight", f"{run}/hotel", f"{new}/hotel"]
    for each, other in ((run, f"into {new}"), (new, f"of {run}")):
        assert (
            command(
                ["run", "show", str(each), "--database-url", place.url, "--schema", place.schema]
            )
            == 0
        )
        assert f"by ada, {other}, before hotel: why not" in capsys.readouterr().out


def test_a_fork_that_fails_undoes_its_own_work_only(place: Place, trip: Trip) -> None:
    run = asyncio.run(trip.went())
    assert fork(place, run, "hotel", "--yes") == 0
    trip.full = True
    with pytest.raises(RunFailedError):
        asyncio.run(trip.end(forked(place)))
    hotel = trip.cancelled
    assert len(hotel) == 1
    flights = {asyncio.run(trip.end(run))[0]}
    assert not flights & set(hotel)


def test_what_is_undone_cannot_be_kept(
    place: Place, trip: Trip, capsys: pytest.CaptureFixture[str]
) -> None:
    run = asyncio.run(trip.went(fails=True))
    assert len(trip.cancelled) == 2
    assert fork(place, run, "pay", "--yes") == 2
    assert "has begun to undo what the fork would keep (flight, hotel)" in capsys.readouterr().err
    assert fork(place, run, "nothing", "--yes") == 2
    assert fork(place, run, "flight", "--yes") == 0, "from the first step, nothing is kept"
    asyncio.run(trip.end(forked(place)))


def test_a_fork_of_a_fork(place: Place, trip: Trip) -> None:
    run = asyncio.run(trip.went())
    assert fork(place, run, "hotel", "--yes") == 0
    second = forked(place)
    told = asyncio.run(trip.end(second))
    assert fork(place, second, "pay", "--yes") == 0
    assert asyncio.run(trip.end(forked(place))) == told
