"""The bank's daily statements are read, kept as they came, and booked line by line.

A line has a number of the bank's, by which it is booked once, on however many statements it is and however often these come.
Whether a statement adds up, and whether one is missing, is not judged here, but by the reconciliation.
"""

from examples.signup.bank import STATEMENTS, Mailbox
from examples.signup.books import Arrival, Returned, book, ledger
from examples.signup.core import LOOK, troth
from examples.signup.mails import tell_of_return
from troth import Money, Tx
from troth.reconcile.model import Item
from troth.reconcile.sources.files import Told
from troth.schedule import Schedules

schedules = troth.include(Schedules(troth))
mailbox = Mailbox()


def read(name: str, document: str) -> Told:
    """What a statement says. Raises `SourceError` for what is none."""
    [told] = STATEMENTS.parse(name, document.encode())
    return told


def arrival(line: Item) -> Arrival:
    amount = Money(line.amount, line.currency)
    return Arrival(line.id, line.reference, amount, line.at, returned=line.kind == "return")


@troth.step(retry=LOOK)
async def list_statements() -> list[str]:
    return await mailbox.names()


@troth.step(retry=LOOK)
async def fetch_statement(name: str) -> str:
    return (await mailbox.read(name)).decode()


@troth.transaction
async def find_new(tx: Tx, names: list[str]) -> list[str]:
    """Those that are not booked yet."""
    found = await tx.execute("SELECT name FROM signup.bank_statement")
    known = {name for (name,) in await found.fetchall()}
    return [each for each in names if each not in known]


@troth.transaction
async def book_statement(tx: Tx, name: str, document: str) -> int:
    """The statement and its lines, in one commit. How many lines."""
    lines = [arrival(line) for line in read(name, document).items]
    await tx.execute(
        "INSERT INTO signup.bank_statement (name, document) VALUES (%s, %s) ON CONFLICT DO NOTHING",
        [name, document],
    )
    await book(tx, *lines)
    for line in lines:
        if line.returned:
            await came_back(tx, line)
    return len(lines)


async def came_back(tx: Tx, line: Arrival) -> None:
    """What was paid out is owed again, once, and the customer is told. What the books do not have is left to a person."""
    name = f"disbursement:{line.reference}"
    sent = await ledger.transfer(tx, name)
    if sent is None or await ledger.transfer(tx, f"{name}:returned") is not None:
        return
    await book(tx, Returned(line.reference, line.at))
    await tell_of_return(tx, (sent.metadata or {})["customer"], line.amount)


@schedules.every("*/10 * * * *", tz="UTC", overlap="skip")
@troth.workflow
async def read_statements() -> int:
    """Book what the bank has sent since the last time. How many statements."""
    new = await find_new(await list_statements())
    for each in new:
        await book_statement(each, await fetch_statement(each))
    return len(new)
