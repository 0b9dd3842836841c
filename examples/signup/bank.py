"""The bank: its daily statements (ISO 20022, camt.053) are read, kept as they came, and booked line by line.

A line has a number of the bank's, by which it is booked once, on however many statements it is. Whether a statement adds up is
not judged here, but by the reconciliation.
"""

from dataclasses import dataclass

import httpx

from examples.signup.books import Arrival, book
from examples.signup.core import LOOK, troth
from examples.signup.settings import EFFECT_TIMEOUT_S, bank_account, bank_url
from troth import Money, Tx
from troth.reconcile.model import Item
from troth.reconcile.sources.camt import Camt053
from troth.reconcile.sources.files import Told
from troth.schedule import Schedules

schedules = troth.include(Schedules(troth))


@dataclass(frozen=True)
class Issued:
    """A statement that the bank has issued, and where it is."""

    number: int
    message: int


def client() -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=bank_url(), timeout=EFFECT_TIMEOUT_S)


async def issued_statements() -> list[Issued]:
    """All of them, the oldest first."""
    async with client() as http:
        answer = await http.get(f"/_mock/accounts/{bank_account()}/statements")
    return [Issued(each["number"], each["message_id"]) for each in answer.raise_for_status().json()]


async def statement(message: int) -> str:
    """The document."""
    async with client() as http:
        return (await http.get(f"/_mock/mailbox/{message}")).raise_for_status().text


class Statements:
    """The statements as files, named by their numbers."""

    name = "the bank's mailbox"

    async def names(self) -> list[str]:
        return [f"{each.number:09}.{each.message}" for each in await issued_statements()]

    async def read(self, name: str) -> bytes:
        return (await statement(int(name.partition(".")[2]))).encode()


STATEMENTS = Camt053(Statements(), keyed=True)
"""Read as items. What we are sent by the provider has the payout as its key."""


def read(document: str) -> Told:
    """What a statement says. Raises `SourceError` for what is none."""
    [told] = STATEMENTS.parse("statement", document.encode())
    return told


def arrival(line: Item) -> Arrival:
    return Arrival(line.id, line.reference, Money(line.amount, line.currency), line.at)


# Reading and booking ------------------------------------------------------------------------------


@troth.step(retry=LOOK)
async def list_statements() -> list[Issued]:
    return await issued_statements()


@troth.step(retry=LOOK)
async def fetch_statement(message: int) -> str:
    return await statement(message)


@troth.transaction
async def find_new(tx: Tx, issued: list[Issued]) -> list[Issued]:
    """Those that are not booked yet."""
    found = await tx.execute(
        "SELECT number FROM signup.bank_statement WHERE bank_account = %s", [bank_account()]
    )
    known = {number for (number,) in await found.fetchall()}
    return [each for each in issued if each.number not in known]


@troth.transaction
async def book_statement(tx: Tx, number: int, document: str) -> int:
    """The statement and its lines, in one commit. How many lines."""
    lines = [arrival(line) for line in read(document).items]
    await tx.execute(
        "INSERT INTO signup.bank_statement (bank_account, number, document) VALUES (%s, %s, %s) "
        "ON CONFLICT DO NOTHING",
        [bank_account(), number, document],
    )
    await book(tx, *lines)
    return len(lines)


@schedules.every("*/10 * * * *", tz="UTC", overlap="skip")
@troth.workflow
async def read_statements() -> int:
    """Book what the bank has issued since the last time. How many statements."""
    new = await find_new(await list_statements())
    for each in new:
        await book_statement(each.number, await fetch_statement(each.message))
    return len(new)
