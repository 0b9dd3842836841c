"""The books: which accounts there are, and what each thing that happens to money is in them. No provider, no bank.

Money goes one way: an invoice makes a claim on a customer, a payment settles it and is with Stripe then, less the fee, a
payout takes it from there to the bank. What we owe a customer is their credit, and a disbursement takes it from our bank to
theirs. The accounts under `clearing` stand for what is between two of these places. They must come back to zero:
`clearing:invoices:CUSTOMER` says who has not paid, `clearing:payouts:PAYOUT` what has not arrived.

Every posting is named by the object that it is about. So whoever hears of it, and however often, books it once.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

import psycopg

from examples.signup.core import troth
from examples.signup.settings import database_url
from troth import Money, Tx
from troth.ledger import (
    AccountNotFoundError,
    Clearing,
    Compound,
    Credit,
    Debit,
    Hold,
    Item,
    Ledger,
    PostHold,
    Reversal,
    Transfer,
    VoidHold,
)
from troth.store.tx import BlockingTx

CURRENCY: Final = "EUR"
PAYOUT_ID: Final = re.compile(r"po_[A-Za-z0-9]{1,60}")
DISBURSEMENT_ID: Final = re.compile(r"DB[0-9a-f]{32}")

BANK: Final = "assets:bank:giro"
STRIPE: Final = "assets:stripe:balance"
INVOICES: Final = "clearing:invoices"
PAYOUTS: Final = "clearing:payouts"
DISBURSEMENTS: Final = "clearing:disbursements"
CREDITS: Final = "liabilities:credits"
SALES: Final = "income:subscriptions"
REFUNDS: Final = "income:refunds"
FEES: Final = "expenses:stripe:fees"
GOODWILL: Final = "expenses:goodwill"

CHART: Final[dict[str, Literal["debit", "credit"]]] = {
    BANK: "debit",
    STRIPE: "debit",
    SALES: "credit",
    REFUNDS: "debit",  # what was sold and taken back, beside what was sold
    FEES: "debit",
    GOODWILL: "debit",
}
"""The accounts that are there from the beginning, and the side on which each normally is."""

UNKNOWN: Final = "unknown"
"""The payout of money that is of nothing that we know."""

ledger = troth.include(Ledger())

# What is not back at zero by then waits for a person, who is told the account: whose claim, or which payment.
troth.include(Clearing("invoices", under=INVOICES, within=timedelta(days=30)))
troth.include(Clearing("payouts", under=PAYOUTS, within=timedelta(days=5)))
troth.include(Clearing("disbursements", under=DISBURSEMENTS, within=timedelta(days=5)))


def claim_on(customer: str) -> str:
    """The account of what a customer has been invoiced for and has not paid."""
    return f"{INVOICES}:{customer}"


def credit_of(customer: str) -> str:
    """The account of what we owe a customer. It has a limit: nobody is paid more than that."""
    return f"{CREDITS}:{customer}"


def on_its_way(reference: str) -> str:
    """The account of what has left one place and has not come to the next. *reference*: its id, or whatever a bank says."""
    if DISBURSEMENT_ID.fullmatch(reference):
        return f"{DISBURSEMENTS}:{reference}"
    return f"{PAYOUTS}:{reference if PAYOUT_ID.fullmatch(reference) else UNKNOWN}"


def open_chart(tx: BlockingTx) -> None:
    """The accounts of `CHART`; opening them again changes nothing."""
    for code, side in CHART.items():
        ledger.accounts.open_blocking(tx, code, currency=CURRENCY, side=side)


def main() -> None:
    """Open the chart in the database of the service: `python -m examples.signup.books`, once."""
    with psycopg.connect(database_url()) as tx:
        open_chart(tx)


# What happens to money ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Invoice:
    """A claim on a customer, since it was finalized; void if it never was one."""

    id: str
    customer: str
    amount: Money
    at: datetime
    void: bool = False


@dataclass(frozen=True)
class Charge:
    """Money that came from a customer's card: *amount*, of which Stripe keeps the fee."""

    id: str
    customer: str
    amount: Money
    fee: Money
    at: datetime


@dataclass(frozen=True)
class Refund:
    """Money that went back to a customer's card. The fee of the charge stays with Stripe."""

    id: str
    charge: str
    customer: str
    amount: Money
    at: datetime


@dataclass(frozen=True)
class Payout:
    """Money on its way from Stripe to the bank; *failed*: it came back."""

    id: str
    amount: Money
    at: datetime
    failed: bool = False


@dataclass(frozen=True)
class Grant:
    """Credit that we give a customer, for something that went wrong. *id*: of the decision to give it."""

    id: str
    customer: str
    amount: Money


@dataclass(frozen=True)
class Disbursement:
    """A customer's credit that goes to their bank. *id* is the end-to-end id that the bank is given, of 34 characters."""

    id: str
    customer: str
    amount: Money


@dataclass(frozen=True)
class Reserved:
    """A disbursement is about to be asked for: this credit cannot be asked for a second time."""

    of: Disbursement


@dataclass(frozen=True)
class Sent:
    """The bank has taken it over."""

    of: Disbursement


@dataclass(frozen=True)
class Released:
    """It was not sent: the bank has refused it. The credit is the customer's as before."""

    of: Disbursement


@dataclass(frozen=True)
class Returned:
    """It was sent, and came back days later: what the customer had is theirs again. *id*: of the disbursement."""

    id: str
    at: datetime


@dataclass(frozen=True)
class Arrival:
    """A line of the bank's statement: money that came in (greater than 0) or went out.

    *reference* is the end-to-end id that the sender gave it: the id of a payout or of a disbursement. *returned*: it is a
    disbursement of ours that has come back.
    """

    id: str
    reference: str
    amount: Money
    at: datetime
    returned: bool = False


Credited = Grant | Reserved | Sent | Released | Returned
Happening = Invoice | Charge | Refund | Payout | Arrival | Credited


# What it is in the books --------------------------------------------------------------------------


def postings(happening: Happening) -> Sequence[Item]:
    """What is to be posted. Nothing for an invoice over nothing, as that of a trial."""
    match happening:
        case Invoice():
            return invoiced(happening) if happening.amount else []
        case Charge():
            return [charged(happening)]
        case Refund():
            return [refunded(happening)]
        case Payout():
            return paid_out(happening)
        case Arrival():
            return [arrived(happening)]
        case _:
            return [credited(happening)]


def invoiced(invoice: Invoice) -> Sequence[Item]:
    name = f"invoice:{invoice.id}"
    claim = Transfer(
        name,
        claim_on(invoice.customer),
        SALES,
        invoice.amount,
        code="invoice",
        effective_at=invoice.at,
        metadata={"customer": invoice.customer},
    )
    if not invoice.void:
        return [claim]
    return [claim, Reversal(f"{name}:void", name, code="void")]


def charged(charge: Charge) -> Item:
    """The customer has paid all of it, and we have the rest."""
    net = charge.amount - charge.fee
    rest = [Debit(STRIPE, net) if net.minor > 0 else Credit(STRIPE, -net)] if net else []
    kept = [Debit(FEES, charge.fee)] if charge.fee else []
    return Compound(
        f"charge:{charge.id}",
        [*rest, *kept, Credit(claim_on(charge.customer), charge.amount)],
        code="payment",
        effective_at=charge.at,
        metadata={"customer": charge.customer},
    )


def refunded(refund: Refund) -> Item:
    return Transfer(
        f"refund:{refund.id}",
        REFUNDS,
        STRIPE,
        refund.amount,
        code="refund",
        effective_at=refund.at,
        metadata={"charge": refund.charge, "customer": refund.customer},
    )


def paid_out(payout: Payout) -> Sequence[Item]:
    name = f"payout:{payout.id}"
    way = on_its_way(payout.id)
    sent = Transfer(name, way, STRIPE, payout.amount, code="payout", effective_at=payout.at)
    if not payout.failed:
        return [sent]
    return [sent, Reversal(f"{name}:failed", name, code="payout failed")]


def credited(happening: Credited) -> Item:
    """What happens to a customer's credit. It is held before the bank is asked, so two requests cannot both have it."""
    match happening:
        case Grant(id=grant, customer=customer, amount=amount):
            return Transfer(
                f"grant:{grant}", GOODWILL, credit_of(customer), amount, code="credit granted"
            )
        case Reserved(of=it):
            mine, way = credit_of(it.customer), on_its_way(it.id)
            return Hold(held(it.id), mine, way, it.amount, code="disbursement reserved")
        case Sent(of=it):
            name, about = f"disbursement:{it.id}", {"customer": it.customer}
            return PostHold(name, held(it.id), code="disbursement", metadata=about)
        case Released(of=it):
            return VoidHold(
                f"disbursement:{it.id}:released", held(it.id), code="disbursement released"
            )
        case Returned(id=sent, at=at):
            name = f"disbursement:{sent}"
            code = "disbursement returned"
            return Reversal(f"{name}:returned", name, code=code, effective_at=at)


def held(disbursement: str) -> str:
    return f"disbursement:{disbursement}:held"


def arrived(arrival: Arrival) -> Item:
    """What comes in ends a payout, what goes out a disbursement; what was returned undoes that.

    Where none was, an account differs from zero now, and so somebody will look.
    """
    way, amount = on_its_way(arrival.reference), abs(arrival.amount)
    debit, credit = (BANK, way) if arrival.amount.minor > 0 else (way, BANK)
    return Transfer(
        f"bank:{arrival.id}",
        debit,
        credit,
        amount,
        code="bank",
        effective_at=arrival.at,
        metadata={"reference": arrival.reference},
    )


# Posting ------------------------------------------------------------------------------------------


async def book(tx: Tx, *happenings: Happening) -> None:
    """Put into the books, in *tx*, what has happened; what is there already stays as it is.

    Raises `TransferRefused` if something else is in the books under the same name.
    """
    items = [item for happening in happenings for item in postings(happening)]
    if not items:
        return
    for code in sorted({code for happening in happenings for code in opened_by(happening)}):
        if code.startswith(CREDITS):
            await ledger.accounts.open(
                tx, code, currency=CURRENCY, side="credit", limit="debits_must_not_exceed_credits"
            )
        else:
            await ledger.accounts.open(tx, code, currency=CURRENCY, side="debit")
    await ledger.post_all(tx, items)


def opened_by(happening: Happening) -> Sequence[str]:
    """The accounts of a customer or of a payment that this may be the first to need."""
    match happening:
        case Invoice(customer=customer) | Charge(customer=customer):
            return [claim_on(customer)]
        case Payout(id=payment) | Arrival(reference=payment):
            return [on_its_way(payment)]
        case Grant(customer=customer):
            return [credit_of(customer)]
        case Reserved(of=it):
            return [credit_of(it.customer), on_its_way(it.id)]
        case _:
            return []


async def available_credit(tx: Tx, customer: str) -> Money:
    """What a customer may be paid now: their credit, less what is reserved."""
    try:
        return (await ledger.balance(tx, credit_of(customer))).available
    except AccountNotFoundError:
        return Money(0, CURRENCY)


if __name__ == "__main__":
    main()
