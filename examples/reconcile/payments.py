"""Charges of a shop, beside the list of its payment provider: one answer was lost, and one customer was charged twice."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import psycopg

from troth import Call, Provider, Troth, events
from troth.base.money import Money
from troth.reconcile import Item, Page, Reconciliation, Window
from troth.reconcile.sources.effects import Effects, Moved
from troth.store.connect import Database

troth = Troth()  # TROTH_DATABASE_URL, or an embedded PostgreSQL under ./.troth/
bank = Provider("paybank")


@dataclass
class Paybank:
    """The provider: a list that it keeps, which is all that counts."""

    charges: list[tuple[str, str, int, datetime]] = field(default_factory=list)

    def charge(self, key: str, cents: int) -> str:
        self.charges.append((f"ch_{len(self.charges) + 1}", key, cents, datetime.now(UTC)))
        return self.charges[-1][0]


paybank = Paybank()


@troth.effect(provider=bank, delivery="at_most_once", timeout=5)
async def charge(call: Call, customer: str, money: Money) -> str:
    made = paybank.charge(call.key, money.minor)
    if customer == "unlucky":
        raise ConnectionResetError("before the answer came")
    return made


@troth.workflow
async def pay(customer: str, money: Money) -> str:
    return await charge(customer, money)


class Charges:
    """Their side: the provider's list, a hundred at a time."""

    name = "paybank charges"

    async def page(self, cursor: str | None, window: Window) -> Page:
        first = int(cursor or 0)
        listed = [each for each in paybank.charges if window.reaches(each[3])]
        items = [
            Item(made, cents, "EUR", at, key=key, kind="charge", evidence=f"paybank {made}")
            for made, key, cents, at in listed[first : first + 100]
        ]
        more = first + 100 < len(listed)
        return Page(items, str(first + 100) if more else None, count=len(listed))


books = troth.include(
    Reconciliation(
        "paybank",
        ours=Effects(
            charge,
            lambda customer, money: Moved(money, "charge", reference=customer),
            found=lambda theirs: theirs.id,  # what the effect would have returned
        ),
        theirs=Charges(),
        grace=timedelta(0),  # their list shows at once what was charged
    )
)
in_doubt, compared = asyncio.Event(), asyncio.Event()
troth.listen(lambda _: in_doubt.set(), events.EffectInDoubt)
troth.listen(lambda _: compared.set(), events.ReconcileEnded)


async def main() -> None:
    with Database.find() as database:
        async with (
            troth.worker(),
            await psycopg.AsyncConnection.connect(database.url, autocommit=True) as tx,
        ):
            for customer in ("ada", "bob"):
                await (await troth.start(pay, customer, Money(1999, "EUR"))).result(timeout=30)
            lost = await troth.start(pay, "unlucky", Money(4900, "EUR"))
            await in_doubt.wait()  # nobody knows whether that was charged
            paybank.charge(paybank.charges[0][1], 1999)  # and somebody pressed a button twice

            await books.ask(tx, by="ada")  # or every=timedelta(days=1), or `troth reconcile run`
            await compared.wait()

            print("unlucky:", await lost.result(timeout=30))  # settled by what their side shows
            for each in await books.breaks(tx):
                print(f"{each.kind}: {Money(each.minor, each.currency)}: {each.note}")


if __name__ == "__main__":
    asyncio.run(main())
