"""In the evening: support gives some people credit for the outage, and they have it paid to their banks, clicking three times.

Our bank stands still meanwhile: it executes what it does not answer, so the same orders come to it again. One payee's account is
closed, which the bank knows, and refuses; another's is closed at another bank, so that the money comes back days later.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import httpx
import psycopg

from examples.signup.credit import send_payment
from examples.signup.demo import people
from examples.signup.demo.board import Board
from examples.signup.demo.people import Asking, Person
from examples.signup.demo.stage import BANK_ACCOUNT, Stage
from examples.signup.demo.waiting import until

_LOST = "SELECT count(*) FROM troth.journal WHERE path = %s AND kind = 4"
CREDIT_CENTS, CREDIT = 500, "5.00"
CLICKS = 3
LISTED = 100
"""The bank remembers so many requests."""
IBANS = {
    "arrives": "GB82WEST12345698765432",
    "refused": "NL84MOCK0000000003",
    "returned": "FR1420041010050500013M02606",
}


async def pay_out(stage: Stage, board: Board, crowd: Sequence[Person], *, faults: bool) -> None:
    """Everybody who is owed something asks for it, and is told what became of that. *faults*: the bank stands still first."""
    owed = [person for person in crowd if person.payout]
    if not owed:
        return
    if faults:
        stage.stand_still("bank")
    try:
        async with (
            httpx.AsyncClient(base_url=stage.service_url, timeout=10) as http,
            asyncio.TaskGroup() as group,
        ):
            for person in owed:
                group.create_task(ask_for_credit(http, stage.support_key, person, board))
            if faults:
                board.say(f"{len(owed)} people are paid what we owe them; the bank does not answer")
                await an_order_is_lost(stage)
                stage.go_on("bank")
    finally:
        stage.go_on("bank")
    async with httpx.AsyncClient(base_url=stage.bank_url, timeout=30) as bank:
        answered = await bank.get("/_mock/requests", params={"path": "/payments"})
        board.orders.update(one["status"] for one in answered.raise_for_status().json())
        await send_back(bank, owed)


async def an_order_is_lost(stage: Stage) -> None:
    """Wait until an attempt to have something paid has ended without an answer."""
    async with await psycopg.AsyncConnection.connect(
        stage.database_url, autocommit=True
    ) as database:

        async def done() -> bool:
            found = await (await database.execute(_LOST, [send_payment.name])).fetchone()
            return found is not None and found[0] > 0

        await until(done, "an order gets no answer")


async def ask_for_credit(
    http: httpx.AsyncClient, support: str, person: Person, board: Board
) -> None:
    """Support gives it; then the person clicks three times, and all three are told the same."""
    session = await people.log_in(http, person, board)
    account = await people.insist(http, "GET", "/v1/account", board, headers=session.headers)
    of_support = Asking({"authorization": f"Bearer {support}"}, f"outage-{person.email}")
    url = f"/v1/accounts/{account.json()['id']}/credit"
    given = await people.ask(http, url, of_support, board, {"amount": CREDIT})
    if not given.is_success:
        board.quarrels.append(f"{person.email} got no credit: {given.text}")
    order = {"amount": CREDIT, "iban": IBANS[person.payout or "arrives"]}
    board.clicks += CLICKS
    told = await asyncio.gather(
        *(people.ask(http, "/v1/account/payout", session, board, order) for _ in range(CLICKS))
    )
    ends = {answer.status_code for answer in told}
    meant = httpx.codes.UNPROCESSABLE_ENTITY if person.payout == "refused" else httpx.codes.OK
    if ends != {meant}:
        board.quarrels.append(f"{person.email} was told {ends} of a payment that {person.payout}")


async def send_back(bank: httpx.AsyncClient, owed: Sequence[Person]) -> None:
    """The bank of one payee sends the money back, a working day after it came."""
    names = {person.name for person in owed if person.payout == "returned"}
    ordered = (await bank.get("/_mock/payments")).raise_for_status().json()
    for one in ordered:
        if one["creditor_name"] in names:
            comes_back = {"days": 1, "end_to_end_id": one["end_to_end_id"]}
            await change(bank, behaviour="return-later", parameters=comes_back)


async def change(bank: httpx.AsyncClient, **fields: Any) -> None:
    """What the bank does with our account."""
    (await bank.patch(f"/_mock/accounts/{BANK_ACCOUNT}", json=fields)).raise_for_status()
