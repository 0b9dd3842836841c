"""The account's balance: every movement of money is a balance transaction, and the balance is their sum.

What a charge brings is pending until its day of availability; refunds and payouts count at once. A fee is
kept of every charge, and not given back with a refund.
"""

from examples.signup.provider.endpoint import Endpoint, listing, retrieve
from examples.signup.provider.form import Form, currency, one_of, text
from examples.signup.provider.resources.states import DAY
from examples.signup.provider.session import Session
from examples.signup.provider.store import Json

PATH = "/v1/balance_transactions"
KIND = "balance_transaction"

AVAILABLE_AFTER = 2
"""Days from the day of a charge to the midnight (UTC) at which its money can be paid out."""

PERMILLE, FIXED = 15, 25
"""What a charge costs: 1.5 %, rounded half up, and 25 minor units."""

PAID_OUT = "payout"
"""The mark of a movement that belongs to a payout: lists filter by it, and the object does not show it."""


def fee_of(amount: int) -> int:
    """The fee of a charge, in minor units."""
    return (amount * PERMILLE + 500) // 1000 + FIXED


def available_on(now: int) -> int:
    """When the money of a charge of this second is available."""
    return now - now % DAY + AVAILABLE_AFTER * DAY


def charged(session: Session, charge: str, amount: int, code: str) -> str:
    """Money has come in: pending, less the fee. The id of the movement."""
    fee = fee_of(amount)
    at = available_on(session.now)
    session.store.schedule(str(at), "available", at)
    return move(session, "charge", charge, amount, code, fee=fee, at=at)


def refunded(session: Session, refund: str, amount: int, code: str) -> str:
    """Money goes back to a customer, out of what is available, even if that is not enough."""
    return move(session, "refund", refund, -amount, code)


def move(
    session: Session,
    kind: str,
    source: str,
    amount: int,
    code: str,
    *,
    fee: int = 0,
    at: int | None = None,
    category: str | None = None,
) -> str:
    """A movement, pending until *at*, or available now. Its id."""
    fees = [
        {
            "amount": fee,
            "application": None,
            "currency": code,
            "description": "Stripe processing fees",
            "type": "stripe_fee",
        }
    ]
    movement = session.create(
        KIND,
        {
            "amount": amount,
            "available_on": session.now if at is None else at,
            "currency": code,
            "description": None,
            "exchange_rate": None,
            "fee": fee,
            "fee_details": fees if fee else [],
            "net": amount - fee,
            "reporting_category": category or kind,
            "source": source,
            "status": "available" if at is None else "pending",
            "type": kind,
        },
    )
    return str(movement["id"])


def make_available(session: Session) -> None:
    """What was pending until now can be paid out from now on."""
    for movement in session.every(KIND, status="pending"):
        if movement["available_on"] <= session.now:
            session.change(movement, {"status": "available"})


def unpaid(session: Session) -> dict[str, list[Json]]:
    """What is available and belongs to no payout yet, by currency."""
    paid = session.store.marked(KIND, PAID_OUT)
    found: dict[str, list[Json]] = {}
    for movement in session.every(KIND, status="available"):
        if movement["id"] not in paid:
            found.setdefault(movement["currency"], []).append(movement)
    return found


def balance(session: Session, params: Json) -> Json:
    """What there is, by currency. A payout that is on its way has left it."""
    totals: dict[tuple[str, str], int] = {}
    for movement in session.every(KIND):
        place = (movement["status"], movement["currency"])
        totals[place] = totals.get(place, 0) + movement["net"]
    codes = sorted({code for _, code in totals}) or ["eur"]

    def amounts(status: str) -> list[Json]:
        figures = [(code, totals.get((status, code), 0)) for code in codes]
        return [
            {"amount": amount, "currency": code, "source_types": {"card": amount}}
            for code, amount in figures
        ]

    return {
        "object": "balance",
        "available": amounts("available"),
        "livemode": False,
        "pending": amounts("pending"),
    }


TYPE = one_of("charge", "refund", "payout", "payout_failure")

ENDPOINTS = [
    Endpoint("GET", "/v1/balance", Form(), balance),
    listing(KIND, PATH, currency=currency, payout=text, source=text, type=TYPE),
    retrieve(KIND, PATH),
]
