"""A customer's credit: support gives it, for something that went wrong, and the customer has it paid to their own bank.

Money goes out here, so everything that can go wrong has an answer. Two requests at once: the credit is held before the bank is
asked, and an account of the books is never overdrawn. A lost answer: the order has a number, which the bank takes once. The
bank refuses: the hold is released. It comes back days later: the statement says so (`statements.py`), and the credit stands again.
"""

from typing import Literal
from uuid import UUID, uuid4

from examples.signup.bank import Payee, bank, find, pay
from examples.signup.books import Disbursement, Grant, Released, Reserved, Sent, book
from examples.signup.core import troth
from examples.signup.people import open_account
from examples.signup.plans import find_account
from examples.signup.settings import EFFECT_TIMEOUT_S
from troth import Call, Found, Missing, Money, Refused, Tx
from troth.ledger import Outcome, TransferRefused

# Giving it ----------------------------------------------------------------------------------------


@troth.transaction
async def record_credit(tx: Tx, account: UUID, grant: str, amount: Money) -> None:
    known = await open_account(tx, account)
    await book(tx, Grant(grant, known.customer, amount))


@troth.workflow
async def grant_credit(account: UUID, grant: str, amount: Money) -> None:
    """*grant* names the decision, for which credit is given once."""
    await record_credit(account, grant, amount)


# Paying it out ------------------------------------------------------------------------------------


@troth.transaction
async def reserve_credit(tx: Tx, account: UUID, amount: Money) -> Disbursement:
    """From this commit on nobody else can ask for it. Raises `Refused` if there is not so much."""
    known = await open_account(tx, account)
    made = Disbursement(f"DB{uuid4().hex}", known.customer, amount)
    try:
        await book(tx, Reserved(made))
    except TransferRefused as no:
        if no.outcome is Outcome.EXCEEDS_CREDITS:
            raise Refused(f"your credit is less than {amount}") from None
        raise
    return made


@reserve_credit.undo
async def release_credit(tx: Tx, made: Disbursement, account: UUID, amount: Money) -> None:
    await book(tx, Released(made))


# The bank takes a number once, which is as good as an idempotency key. What it has taken over cannot be called back.
@troth.effect(provider=bank, timeout=EFFECT_TIMEOUT_S, pivot=True)
async def send_payment(call: Call, made: Disbursement, payee: Payee) -> str:
    return await pay(made, payee)


@send_payment.probe
async def find_payment_order(call: Call, made: Disbursement, payee: Payee) -> Found[str] | Missing:
    return await find(made)


@troth.transaction
async def record_disbursement(tx: Tx, made: Disbursement) -> None:
    await book(tx, Sent(made))


@troth.workflow
async def pay_out_credit(account: UUID, amount: Money, iban: str) -> Literal["sent"]:
    known = await find_account(account)
    made = await reserve_credit(account, amount)
    await send_payment(made, Payee(known.account.name, iban))
    await record_disbursement(made)
    return "sent"
