"""Probes, outcomes as values, and answers that come late: what is found out about an effect whose outcome is unknown."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest

from tests.workflow.place import QUICK, Place, soon
from tests.workflow.test_effects import AT_ONCE, NEVER, Far
from troth import (
    Call,
    Done,
    Found,
    Missing,
    Provider,
    Refused,
    Retry,
    RunFailedError,
    Troth,
    Unknown,
    UsageError,
)
from troth.base import codec
from troth.effect import model, rules
from troth.journal.model import Kind

REMEMBERS_NOTHING = Provider("far", lands_within=timedelta(0))
SLOW_TO_LAND = Provider("far", lands_within=timedelta(hours=1))
SOON = Retry(attempts=3, first=timedelta(milliseconds=20), longest=timedelta(milliseconds=20))


@pytest.fixture
def short_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is under way for longer than a moment after its timeout."""
    monkeypatch.setattr(model, "SEND_WITHIN_S", 0.1)
    monkeypatch.setattr(model, "MARGIN_S", 0.1)
    monkeypatch.setattr(rules, "MARGIN_S", 0.1)


def evidence(place: Place, run: Any, path: str = "charge") -> list[dict[str, Any]]:
    return [
        codec.decode(entry[5] or b"{}")
        for entry in place.journal(run.id)
        if entry[0] == path and entry[1] == Kind.EVIDENCE
    ]


async def test_what_a_probe_finds_is_the_answer_at_once(place: Place, troth: Troth) -> None:
    far = Far(ConnectionResetError())
    asked: list[tuple[Call, int]] = []

    @troth.effect(provider=SLOW_TO_LAND, timeout=60)
    async def charge(call: Call, cents: int) -> str:
        return await far.request(call)

    @charge.probe
    async def find(call: Call, amount: int) -> Found[str] | Missing:
        asked.append((call, amount))
        return Found("found")

    @troth.workflow
    async def work() -> str:
        return await charge(500)

    async with troth.worker(QUICK):
        run = await troth.start(work)
        assert await soon(run.result()) == "found"
    assert len(far.calls) == 1
    [(call, amount)] = asked
    assert (call.key, amount) == (far.calls[0].key, 500)
    assert call.first_sent == far.calls[0].first_sent
    assert [e["answer"] for e in evidence(place, run)] == ["found"]


async def test_missing_counts_only_when_nothing_can_land_any_more(
    place: Place, troth: Troth, short_flight: None
) -> None:
    far = Far(NEVER)

    @troth.effect(provider=REMEMBERS_NOTHING, timeout=0.2, retry=AT_ONCE)
    async def charge(call: Call) -> str:
        return await far.request(call)

    @charge.probe(retry=SOON)
    async def find(call: Call) -> Found[str] | Missing:
        return Missing()

    @troth.workflow
    async def work() -> str:
        return await charge()

    async with troth.worker(QUICK):
        run = await troth.start(work)
        assert await soon(run.result()) == "done"
    assert [call.attempt for call in far.calls] == [1, 2]
    said = evidence(place, run)
    assert [bool(e.get("settles")) for e in said] == [False] * (len(said) - 1) + [True]
    assert len(said) > 1, "the first answer came too early to count"


async def test_early_answers_do_not_use_up_the_probes_and_do_not_settle(
    place: Place, troth: Troth
) -> None:
    far = Far(ConnectionResetError())
    answers: list[Found[str] | Missing] = [
        Missing(),
        Missing(),
        Missing(),
        Missing(),
        Found("at last"),
    ]

    @troth.effect(provider=SLOW_TO_LAND, timeout=60)
    async def charge(call: Call) -> str:
        return await far.request(call)

    @charge.probe(retry=SOON)
    def find(call: Call) -> Found[str] | Missing:
        return answers.pop(0)

    @troth.workflow
    async def work() -> str:
        return await charge()

    async with troth.worker(QUICK):
        run = await troth.start(work)
        assert await soon(run.result()) == "at last"
    assert len(far.calls) == 1


async def test_who_cannot_find_out_asks_a_person_and_says_what_is_at_stake(
    place: Place, troth: Troth, short_flight: None
) -> None:
    far = Far(ConnectionResetError())
    found: list[str] = []

    @troth.effect(
        provider=REMEMBERS_NOTHING,
        timeout=0.1,
        stake=lambda cents: f"{cents / 100} EUR",
        settled_by=2,
    )
    async def charge(call: Call, cents: int) -> str:
        return await far.request(call)

    @charge.probe(retry=SOON)
    async def find(call: Call, cents: int) -> Found[str] | Missing:
        if found:
            return Found(found[0])
        raise ConnectionRefusedError

    @troth.workflow
    async def work() -> str:
        return await charge(4900)

    async with troth.worker(QUICK):
        run = await troth.start(work)
        reason, detail = await place.attention(run)
        assert reason == "in_doubt"
        assert detail["stake"] == "49.0 EUR"
        assert (detail["at"], detail["settled_by"], detail["probed"]) == ("charge", 2, True)
        assert {p["answer"] for p in detail["probes"]} == {"error"}
        # A person wants it asked again: still nothing.
        asked = len(evidence(place, run))
        place.decide(run, "charge", {"probe": True, "by": "ada"})
        await place.until(lambda: len(evidence(place, run)) == asked + 1, "it is asked once more")
        assert (await place.attention(run))[0] == "in_doubt"
        found.append("found")
        place.decide(run, "charge", {"probe": True, "by": "ada"})
        assert await soon(run.result()) == "found"
    assert len(far.calls) == 1


async def test_a_probe_that_answers_nonsense_has_found_nothing_out(
    place: Place, troth: Troth, short_flight: None
) -> None:
    far = Far(ConnectionResetError())

    @troth.effect(provider=REMEMBERS_NOTHING, timeout=0.1)
    async def charge(call: Call) -> str:
        return await far.request(call)

    @charge.probe(retry=Retry(attempts=1))
    async def find(call: Call) -> Any:
        return None

    @troth.workflow
    async def work() -> str:
        return await charge()

    async with troth.worker(QUICK):
        run = await troth.start(work)
        assert (await place.attention(run))[0] == "in_doubt"
    assert "neither Found(…) nor Missing()" in evidence(place, run)[0]["message"]


async def test_a_thread_that_answers_after_its_time_is_heard(place: Place, troth: Troth) -> None:
    may_answer, calls = threading.Event(), []

    @troth.effect(provider=SLOW_TO_LAND, timeout=0.2)
    def charge(call: Call) -> str:
        calls.append(call)
        assert may_answer.wait(20)
        return "late"

    @charge.probe(retry=SOON)
    async def find(call: Call) -> Found[str] | Missing:
        may_answer.set()
        return Missing()

    @troth.workflow
    async def work() -> str:
        return await charge()

    async with troth.worker(QUICK):
        run = await troth.start(work)
        assert await soon(run.result()) == "late"
    assert len(calls) == 1
    assert {"answer": "late", "outcome": "done", "value": "late"} in evidence(place, run)


async def test_a_late_answer_is_evidence_for_the_person_who_is_asked(
    place: Place, troth: Troth
) -> None:
    may_answer = threading.Event()

    @troth.effect(delivery="at_most_once", timeout=0.2)
    def charge(call: Call) -> str:
        assert may_answer.wait(20)
        raise Refused("declined")

    @troth.workflow
    async def work() -> str:
        return await charge()

    async with troth.worker(QUICK):
        run = await troth.start(work)
        assert (await place.attention(run))[0] == "in_doubt"
        may_answer.set()
        await place.until(lambda: evidence(place, run), "the late answer is recorded")
    [late] = evidence(place, run)
    assert (late["answer"], late["outcome"]) == ("late", "refused")
    assert "declined" in late["message"]


class Declined(Exception):
    pass


async def test_the_outcome_as_a_value(place: Place, troth: Troth) -> None:
    far = Far("done", Refused("no"), Declined("no money"), ConnectionResetError())

    @troth.effect(delivery="at_most_once", timeout=60, fails_on=Declined)
    async def charge(call: Call) -> str:
        return await far.request(call)

    @troth.workflow
    async def work() -> list[str]:
        told = []
        for _ in range(4):
            match await charge.outcome():
                case Done(value):
                    told.append(f"done {value}")
                case Refused(__cause__=Declined()) as refusal:
                    told.append(f"declined {refusal}")
                case Refused() as refusal:
                    told.append(f"refused {refusal}")
                case Unknown(message):
                    told.append("unknown" if "ConnectionResetError" in message else message)
            await troth.sleep(1.5)  # it leaves memory, and is replayed
        return told

    async with troth.worker(QUICK):
        run = await troth.start(work)
        assert await soon(run.result()) == [
            "done done",
            "refused no",
            "declined no money",
            "unknown",
        ]


async def test_silence_about_unknown_outcomes_is_an_error(place: Place, troth: Troth) -> None:
    with pytest.raises(UsageError, match="may it be sent again"):
        troth.effect(timeout=1)(_charge)
    troth.effect(provider=REMEMBERS_NOTHING, timeout=1, name="silent")(_charge)
    with pytest.raises(UsageError, match="effect silent"):
        async with troth.client():
            pass


async def _charge(call: Call) -> str:
    return call.key


def test_a_probe_takes_the_parameters_of_its_effect(troth: Troth) -> None:
    charge = troth.effect(provider=REMEMBERS_NOTHING, timeout=1, name="charge_it")(_charge)

    async def find(call: Call, more: int) -> Found[str] | Missing:
        return Missing()

    with pytest.raises(UsageError, match="must take a Call and the 0 parameters"):
        charge.probe(find)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="the result and the 0 parameters"):
        charge.undo(_charge)  # type: ignore[arg-type]


async def test_a_key_that_is_known_is_sent_again_rather_than_asked_for(
    place: Place, troth: Troth
) -> None:
    far = Far(ConnectionResetError())

    @troth.effect(
        provider=Provider("keys", key_lifetime=timedelta(hours=1)), timeout=60, retry=AT_ONCE
    )
    async def charge(call: Call) -> str:
        return await far.request(call)

    @charge.probe
    async def find(call: Call) -> Found[str] | Missing:
        raise AssertionError

    @troth.workflow
    async def work() -> str:
        return await charge()

    async with troth.worker(QUICK):
        run = await troth.start(work)
        assert await soon(run.result()) == "done"
    assert len(set(far.keys)) == 1
    assert len(far.calls) == 2


async def test_a_refusal_says_nothing_of_an_earlier_attempt_that_may_have_happened(
    place: Place, troth: Troth
) -> None:
    far = Far(ConnectionResetError(), Refused("it exists already"))

    @troth.effect(delivery="at_least_once", timeout=60, retry=AT_ONCE)
    async def register(call: Call) -> str:
        return await far.request(call)

    @troth.workflow(fails_on=Refused)
    async def work() -> str:
        return await register()

    async with troth.worker(QUICK):
        run = await troth.start(work)
        reason, detail = await place.attention(run)
        assert (reason, detail["at"]) == ("in_doubt", "register")
        place.resume(run, settled="register")  # neither of them
        with pytest.raises(RunFailedError, match="it exists already"):
            await soon(run.result())
    assert len(far.calls) == 2
