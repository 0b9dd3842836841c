"""Compares what three parties say of money: our books, the provider's store, the bank's accounts. The comparison does no I/O.

Each is asked for its own: the books for balances, the provider for all that is in its store, the bank for what it has. This is
another way than the reconciliations go, and shares no code with them.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import psycopg

from examples.signup import books
from examples.signup.books import ledger
from examples.signup.demo.stage import BANK_ACCOUNT, Stage
from examples.signup.demo.truths import objects

_CODES = """
SELECT code, count(*), coalesce(sum(amount), 0)::bigint FROM troth.ledger_transfer WHERE code IS NOT NULL GROUP BY code
"""


@dataclass(frozen=True)
class Sum:
    """So many things, and so much money (minor units)."""

    count: int
    minor: int

    def __sub__(self, other: "Sum") -> "Sum":
        return Sum(self.count - other.count, self.minor - other.minor)


@dataclass(frozen=True)
class Line:
    """One kind of movement, as each party has it; None: it has no such thing. `expected` is what people did."""

    thing: str
    expected: Sum | None
    books: Sum
    provider: Sum | None
    bank: Sum | None

    @property
    def difference(self) -> int:
        """Between the greatest and the least that somebody has, in minor units."""
        amounts = [one.minor for one in self._said]
        return max(amounts) - min(amounts)

    @property
    def holds(self) -> bool:
        return len(set(self._said)) == 1

    @property
    def _said(self) -> list[Sum]:
        sides = (self.expected, self.books, self.provider, self.bank)
        return [one for one in sides if one is not None]


@dataclass(frozen=True)
class Account:
    """A balance that is to be zero, and what it says if it is not."""

    code: str
    minor: int


@dataclass(frozen=True)
class Accounts:
    """The three together. `open`: clearing accounts that have not returned to zero. `balanced`: the trial balance is."""

    lines: Sequence[Line]
    open: Sequence[Account]
    balanced: bool

    @property
    def holds(self) -> bool:
        """Explained to the cent."""
        return self.balanced and not self.open and all(line.holds for line in self.lines)


@dataclass(frozen=True)
class Books:
    """Our side: balances on the normal sides of their accounts, and the transfers of each code.

    The sum of what has several legs is 0: a payment.
    """

    balances: Mapping[str, int]
    posted: Mapping[str, Sum]
    balanced: bool


@dataclass(frozen=True)
class Bank:
    """What the bank has: what has come in, what it was ordered to pay, and what is there."""

    arrived: Sequence[int]
    ordered: Sequence[Mapping[str, Any]]
    balance: int


Objects = Mapping[str, Sequence[Mapping[str, Any]]]


@dataclass(frozen=True)
class Expected:
    """What people did, in minor units: paid at once, got back, were given as credit, and had paid out, with what became of it."""

    paid: Sequence[int]
    refunded: Sequence[int]
    credited: Sequence[int]
    disbursed: Sequence[int]
    refused: Sequence[int]
    returned: Sequence[int]


def compare(ours: Books, provider: Objects, bank: Bank, did: Expected) -> Accounts:
    balance = ours.balances.get
    claims, ways = under(ours.balances, books.INVOICES), under(ours.balances, books.PAYOUTS)
    orders = under(ours.balances, books.DISBURSEMENTS)
    unpaid = sum(claims.values())
    invoices = [
        one["total"] for one in provider["invoice"] if one["total"] and one["status"] == "paid"
    ]
    charges = [one["amount_captured"] for one in provider["charge"] if one["captured"]]
    movements = provider["balance_transaction"]
    fees = [one["fee"] for one in movements if one["fee"]]
    refunds = [one["amount"] for one in provider["refund"]]
    failed = [one["amount"] for one in provider["payout"] if one["status"] == "failed"]
    payouts = [one["amount"] for one in provider["payout"] if one["status"] != "failed"]
    taken = [one["amount"] for one in bank.ordered if one["booked_at"]]
    rejected = [one["amount"] for one in bank.ordered if one["status"] == "rejected"]
    sent_back = [one["amount"] for one in bank.ordered if one["returned_at"]]
    sales, owed = balance(books.SALES, 0), sum(under(ours.balances, books.CREDITS).values())
    counts = Counter({code: one.count for code, one in ours.posted.items()})

    def posted(code: str) -> Sum:
        return ours.posted.get(code, Sum(0, 0))

    paid_out, refused = posted("payout"), posted("payout failed")
    still_owed = sum(did.credited) - sum(did.disbursed) + sum(did.returned)
    lines = [
        Line("invoiced", total(did.paid), Sum(counts["invoice"] - counts["void"], sales), total(invoices), None),
        Line("paid", total(did.paid), Sum(counts["payment"], sales - unpaid), total(charges), None),
        Line("fees", None, Sum(counts["payment"], balance(books.FEES, 0)), total(fees), None),
        Line("refunded", total(did.refunded), Sum(counts["refund"], balance(books.REFUNDS, 0)), total(refunds), None),
        Line("payouts refused", None, refused, total(failed), None),
        Line("paid out", None, paid_out - refused, total(payouts), total(bank.arrived)),
        Line("credit granted", total(did.credited), Sum(counts["credit granted"], balance(books.GOODWILL, 0)), None, None),
        Line("disbursed", total(did.disbursed), posted("disbursement"), None, total(taken)),
        Line("refused payments", total(did.refused), posted("disbursement released"), None, total(rejected)),
        Line("returned payments", total(did.returned), posted("disbursement returned"), None, total(sent_back)),
        Line("owed to customers", Sum(1, still_owed), Sum(1, owed), None, None),
        Line("at the provider", None, Sum(1, balance(books.STRIPE, 0)), Sum(1, sum(one["net"] for one in movements)), None),
        Line("at the bank", None, Sum(1, balance(books.BANK, 0)), None, Sum(1, bank.balance)),
    ]  # fmt: skip
    clearing = sorted({**claims, **ways, **orders}.items())
    waiting = [Account(code, minor) for code, minor in clearing if minor]
    return Accounts(lines, waiting, ours.balanced)


def under(balances: Mapping[str, int], account: str) -> dict[str, int]:
    return {code: minor for code, minor in balances.items() if code.startswith(f"{account}:")}


def total(amounts: Sequence[int]) -> Sum:
    return Sum(len(amounts), sum(amounts))


# Reading ------------------------------------------------------------------------------------------


async def read(stage: Stage, did: Expected) -> Accounts:
    """Ask all three."""
    async with httpx.AsyncClient(timeout=30) as http:
        kinds = ("invoice", "charge", "refund", "balance_transaction", "payout")
        provider = {
            kind: [one["object"] for one in await objects(http, stage.provider_url, kind)]
            for kind in kinds
        }
        credits_ = (await http.get(f"{stage.bank_url}/_mock/credits")).raise_for_status().json()
        ordered = (await http.get(f"{stage.bank_url}/_mock/payments")).raise_for_status().json()
        account = await http.get(f"{stage.bank_url}/_mock/accounts/{BANK_ACCOUNT}")
    there = account.raise_for_status().json()["balance"]
    bank = Bank([one["amount"] for one in credits_], ordered, there)
    return compare(await read_books(stage.database_url), provider, bank, did)


async def read_books(url: str) -> Books:
    async with await psycopg.AsyncConnection.connect(url) as tx:
        balances: dict[str, int] = {}
        after = ""
        while page := await ledger.accounts.under(tx, after=after, limit=1000):
            after = page[-1].code
            found = await ledger.balances(tx, [account.code for account in page])
            balances |= {code: one.posted.minor for code, one in found.items()}
        codes = await (await tx.execute(_CODES)).fetchall()
        balanced = all(one.is_balanced for one in await ledger.trial_balance(tx))
    return Books(balances, {code: Sum(*figures) for code, *figures in codes}, balanced)
