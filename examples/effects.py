"""A charge whose answer is lost: it is asked for, not sent again. And what the author decides, seen as a value."""

import asyncio
from datetime import timedelta

from troth import Call, Done, Found, Missing, Provider, Refused, Troth, Unknown

troth = Troth()  # TROTH_DATABASE_URL, or an embedded PostgreSQL under ./.troth/
bank = Provider("bank", lands_within=timedelta(minutes=2))  # it knows no keys, but it can be asked

CHARGED: dict[str, str] = {}  # the bank's books: our reference, and its number


@troth.effect(provider=bank, timeout=10, stake=lambda account, cents: f"{cents / 100:.2f} EUR")
async def charge(call: Call, account: str, cents: int) -> str:
    if account == "blocked":
        raise Refused("the account is blocked")
    CHARGED[call.key] = f"charge-{len(CHARGED) + 1}"
    raise ConnectionResetError("the answer is lost")


@charge.probe
async def find_charge(call: Call, account: str, cents: int) -> Found[str] | Missing:
    number = CHARGED.get(call.key)
    return Found(number) if number else Missing()


# Nobody can ask a mail server what it did with a mail, and twice is better than never.
@troth.effect(delivery="at_least_once", timeout=10)
async def send_receipt(call: Call, account: str, number: str) -> None:
    print(f"to {account}: {number}", flush=True)


@troth.workflow
async def checkout(account: str) -> str:
    match await charge.outcome(account, 4900):
        case Done(number):
            await send_receipt(account, number)
            return f"paid by {number}"
        case Refused() as refusal:
            return f"not paid: {refusal}"
        case Unknown(message):
            return f"to be looked into: {message}"


async def main() -> None:
    async with troth.worker():
        for account in ("ada", "blocked"):
            run = await troth.start(checkout, account)
            print(await run.result(timeout=60), flush=True)
    print(f"charged {len(CHARGED)} time", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
