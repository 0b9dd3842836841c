"""Every night, each account is paid the interest of the day: one run for each, by pages, started by the clock or by hand.

troth dev examples/nightly/interest.py                               a worker
troth schedule run nightly --note "the night of the move"            once more, now
"""

from datetime import date, timedelta

from troth import Mapped, Page, Refused, Troth, Tx
from troth.schedule import Schedules

troth = Troth()  # TROTH_DATABASE_URL, or an embedded PostgreSQL under ./.troth/
schedules = troth.include(Schedules(troth))

PAGE = 1_000
TABLES = """
    CREATE TABLE IF NOT EXISTS account (id integer PRIMARY KEY, balance integer NOT NULL);
    CREATE TABLE IF NOT EXISTS interest (account integer NOT NULL, day date NOT NULL, amount integer NOT NULL);
"""  # without a constraint that would hide a second payment


@troth.transaction
async def accounts(tx: Tx, after: int | None) -> Page[int, int]:
    """A page of accounts, in the order of their numbers. An account that is opened meanwhile is found, or is new tonight."""
    rows = await tx.execute(
        "SELECT id FROM account WHERE id > %s ORDER BY id LIMIT %s", (after or 0, PAGE)
    )
    found = [number for (number,) in await rows.fetchall()]
    return Page(found, found[-1] if len(found) == PAGE else None)


@troth.transaction
async def pay_interest(tx: Tx, account: int, day: date) -> int:
    """Exactly once for each run: the payment and the entry in the journal are one commit."""
    row = await (
        await tx.execute("SELECT balance FROM account WHERE id = %s FOR UPDATE", (account,))
    ).fetchone()
    if row is None or row[0] < 0:
        raise Refused(f"account {account} is overdrawn")
    amount = int(row[0]) // 100
    await tx.execute("INSERT INTO interest VALUES (%s, %s, %s)", (account, day, amount))
    await tx.execute("UPDATE account SET balance = balance + %s WHERE id = %s", (amount, account))
    return amount


@troth.workflow
async def close_account(account: int) -> int:
    return await pay_interest(account, troth.now().date())


@schedules.every("0 2 * * *", tz="Europe/Berlin", overlap="skip", catch_up=timedelta(hours=4))
@troth.workflow
async def nightly() -> Mapped[int]:
    """`troth run show` tells how many are done, and at the end which were refused."""
    return await troth.map(close_account, accounts, concurrency=100, on_error="continue")
