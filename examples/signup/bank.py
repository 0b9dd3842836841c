"""The bank: its daily statements (ISO 20022, camt.053) are read, kept, and booked line by line.

A statement says what was there before, what came and went, and what was there after. Whether that adds up is not judged
here: what is on it is booked, and it is kept as it came. A line has a number of the bank's (`AcctSvcrRef`), by which it is
booked once, on however many statements it is.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from itertools import chain
from xml.etree import ElementTree as ET

import httpx

from examples.signup.books import Arrival, book
from examples.signup.core import LOOK, troth
from examples.signup.settings import EFFECT_TIMEOUT_S, bank_account, bank_url
from troth import Money, Tx
from troth.schedule import Schedules

schedules = troth.include(Schedules(troth))


class StatementError(Exception):
    """The bank sent something that is no statement of ours."""


@dataclass(frozen=True)
class Statement:
    """A day of the bank account. The lines, with the opening balance, should come to the closing one."""

    account: str
    number: int
    day: date
    opening: Money
    closing: Money
    lines: list[Arrival]

    @property
    def missing(self) -> Money:
        """What the lines lack; 0 if it adds up."""
        amounts = chain([self.opening], (line.amount for line in self.lines))
        return self.closing - Money.total(amounts, self.closing.currency)


# camt.053 -----------------------------------------------------------------------------------------


def statement_of(account: str, document: str) -> Statement:
    """What a camt.053 document says. Raises `StatementError`."""
    if "<!DOCTYPE" in document:
        raise StatementError("a statement has no document type: this is somebody's trick")
    try:
        root = ET.fromstring(document)
        statements = root.findall("{*}BkToCstmrStmt/{*}Stmt")
        [statement] = statements
        balances = {
            text(each, "Tp/CdOrPrtry/Cd"): signed(each) for each in statement.findall("{*}Bal")
        }
        return Statement(
            account,
            int(text(statement, "ElctrncSeqNb")),
            datetime.fromisoformat(text(statement, "FrToDt/FrDtTm")).date(),
            balances["OPBD"],
            balances["CLBD"],
            [line_of(account, entry) for entry in statement.findall("{*}Ntry")],
        )
    except (ET.ParseError, ValueError, KeyError) as error:
        raise StatementError(f"this is no camt.053 statement of one day: {error}") from error


def line_of(account: str, entry: ET.Element) -> Arrival:
    """Of the value date, at its beginning: a bank has days."""
    reference = entry.find("{*}NtryDtls/{*}TxDtls/{*}Refs/{*}EndToEndId")
    return Arrival(
        f"{account}:{text(entry, 'AcctSvcrRef')}",
        (reference.text or "") if reference is not None else "",
        signed(entry),
        datetime.combine(date.fromisoformat(text(entry, "ValDt/Dt")), time(), UTC),
    )


def signed(element: ET.Element) -> Money:
    """Its amount: more than 0 is in our favour."""
    found = element.find("{*}Amt")
    if found is None:
        raise ValueError("an amount is missing")
    amount = Money.parse(found.text or "", found.get("Ccy", ""))
    return amount if text(element, "CdtDbtInd") == "CRDT" else -amount


def text(element: ET.Element, path: str) -> str:
    found = element.findtext("/".join(f"{{*}}{part}" for part in path.split("/")))
    if not found:
        raise ValueError(f"{path} is missing")
    return found


# Reading and booking ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Issued:
    """A statement that the bank has issued, and where it is."""

    number: int
    message: int


@troth.step(retry=LOOK)
async def list_statements() -> list[Issued]:
    """All of them, the oldest first."""
    async with client() as http:
        answer = await http.get(f"/_mock/accounts/{bank_account()}/statements")
    return [Issued(each["number"], each["message_id"]) for each in answer.raise_for_status().json()]


@troth.step(retry=LOOK)
async def fetch_statement(message: int) -> str:
    async with client() as http:
        return (await http.get(f"/_mock/mailbox/{message}")).raise_for_status().text


def client() -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=bank_url(), timeout=EFFECT_TIMEOUT_S)


@troth.transaction
async def find_new(tx: Tx, issued: list[Issued]) -> list[Issued]:
    """Those that are not booked yet."""
    found = await tx.execute(
        "SELECT number FROM signup.bank_statement WHERE account = %s", [bank_account()]
    )
    known = {number for (number,) in await found.fetchall()}
    return [each for each in issued if each.number not in known]


@troth.transaction
async def book_statement(tx: Tx, document: str) -> int:
    """The statement and its lines, in one commit. How many lines."""
    statement = statement_of(bank_account(), document)
    await tx.execute(
        "INSERT INTO signup.bank_statement (account, number, day, opening, closing, currency, document) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
        [
            statement.account,
            statement.number,
            statement.day,
            statement.opening.minor,
            statement.closing.minor,
            statement.closing.currency,
            document,
        ],
    )
    await book(tx, *statement.lines)
    return len(statement.lines)


@schedules.every("*/10 * * * *", tz="UTC", overlap="skip")
@troth.workflow
async def read_statements() -> int:
    """Book what the bank has issued since the last time. How many statements."""
    new = await find_new(await list_statements())
    for each in new:
        await book_statement(await fetch_statement(each.message))
    return len(new)
