"""A small program on troth, the bank that it calls, and what the engine promises of them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx

from troth import Call, Found, Missing, Refused, Retry, Troth
from troth import Provider as Declared
from troth.lab import Keys, Lab, Provider, effect, read
from troth.lab.provider import Call as Request
from troth.lab.provider import Shelf

API = "https://api.bank.test"
LANDS = timedelta(seconds=10)
TWICE = Retry(attempts=2)

troth = Troth()
keyed = Declared("bank", key_lifetime=timedelta(hours=24), lands_within=LANDS)
plain = Declared("counter", lands_within=LANDS)


async def _post(path: str, key: str, **body: str) -> str:
    async with httpx.AsyncClient() as client:
        answer = await client.post(f"{API}/{path}", json=body, headers={"Idempotency-Key": key})
    if answer.status_code == 402:
        raise Refused("the card was declined")
    answer.raise_for_status()
    return str(answer.json()["id"])


@troth.effect(provider=keyed, timeout=5.0, retry=TWICE)
async def charge(call: Call, amount: str) -> str:
    """With a key, which the bank recognises for a day."""
    return await _post("charges", call.key, amount=amount)


@troth.effect(provider=plain, timeout=5.0, retry=TWICE)
async def charge_by_reference(call: Call, amount: str) -> str:
    """The bank knows no keys, but it can be asked."""
    return await _post("charges", "", amount=amount, reference=call.key)


@charge_by_reference.probe(retry=Retry(attempts=1, first=timedelta(minutes=1)))
async def find_charge(call: Call, amount: str) -> Found[str] | Missing:
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{API}/charges", params={"reference": call.key})
    answer.raise_for_status()
    found = answer.json()
    return Found(str(found[0]["id"])) if found else Missing()


@troth.effect(delivery="at_most_once", timeout=5.0, retry=TWICE)
async def charge_once(call: Call, amount: str) -> str:
    """The bank knows no keys, and cannot be asked."""
    return await _post("charges", "", amount=amount)


@troth.effect(provider=keyed, timeout=5.0, retry=TWICE)
async def reserve(call: Call, room: str) -> str:
    return await _post("reservations", call.key, room=room)


@reserve.undo
async def release(call: Call, reservation: str, room: str) -> None:
    await _post("releases", call.key, reservation=reservation)


@troth.workflow
async def pay(amount: str) -> str:
    return await charge(amount)


@troth.workflow
async def pay_by_reference(amount: str) -> str:
    return await charge_by_reference(amount)


@troth.workflow
async def pay_once(amount: str) -> str:
    return await charge_once(amount)


@troth.workflow
async def book(room: str, amount: str) -> str:
    await reserve(room)
    return await charge(amount)


class Bank(Provider):
    """Charges, reservations and releases. A charge of nothing is declined."""

    host = "api.bank.test"
    keys = Keys(lifetime=timedelta(hours=24), caches=("2xx",))

    @effect("POST /charges", lands_within=LANDS)
    def create(self, s: Shelf, req: Request) -> tuple[int, object]:
        if req.json["amount"] == "0":
            return 402, {}
        return 201, s.add("charges", **req.json)

    @read("GET /charges")
    def find(self, s: Shelf, req: Request) -> tuple[int, object]:
        return 200, s.all("charges", **req.query)

    @effect("POST /reservations", lands_within=LANDS)
    def reserve(self, s: Shelf, req: Request) -> tuple[int, object]:
        return 201, s.add("reservations", **req.json)

    @effect("POST /releases", lands_within=LANDS)
    def release(self, s: Shelf, req: Request) -> tuple[int, object]:
        s.remove("reservations", req.json["reservation"])
        return 201, {"id": "released"}


class Counter(Bank):
    """The same without keys."""

    keys = None


HONEST = {None, "in_doubt", "retries_exhausted", "undo_failed"}


def promise(lab: Lab, bank: Provider) -> None:
    """What must be true of every program on troth, and of this one."""
    lab.provider(bank)

    def the_bank(w: Any) -> Any:
        return getattr(w, bank.name)

    def runs(w: Any) -> Any:
        return w.troth.runs

    lab.always("charged at most once", lambda w: len(the_bank(w).charges) <= 1, costs="49 EUR")
    lab.always(
        "a person is asked only about what nobody can know",
        lambda w: all(run.reason in HONEST for run in runs(w)),
    )
    lab.always(
        "who has succeeded was charged",
        lambda w: all(run.state != "succeeded" or the_bank(w).charges for run in runs(w)),
    )
    lab.always(
        "who has failed or was cancelled has nothing",
        lambda w: all(
            run.state not in {"failed", "cancelled"}
            or not (the_bank(w).charges or the_bank(w).reservations)
            for run in runs(w)
        ),
        costs="a room that stays empty",
    )
    lab.eventually(
        "every run ends, or a person is asked",
        lambda w: all(run.state in ENDS for run in runs(w)),
    )


ENDS = {"succeeded", "failed", "cancelled", "attention"}
