"""Mails about a subscription, and about money that came back. They go out if, and only if, what they tell of commits."""

from uuid import UUID

from examples.signup.core import troth
from examples.signup.settings import smtp_port
from troth import Money, Tx
from troth.integrations.mail_out import Mail
from troth.outbox import Outbox

SENDER = "billing@signup.example"

# News that comes twice is a nuisance; news of a failed payment that never comes is worse.
mails = troth.include(
    Outbox(
        "mail",
        destinations=[
            Mail(
                "127.0.0.1",
                smtp_port(),
                sender=SENDER,
                delivery="at_least_once",
                tls="none",
                timeout=10,
            )
        ],
    )
)

SUBJECTS = {
    ("trialing", "active"): "Your trial has ended, and your plan goes on",
    ("past_due", "active"): "Your payment has arrived",
    ("trialing", "past_due"): "A payment failed",
    ("active", "past_due"): "A payment failed",
}
ENDED = "Your subscription has ended"


def subject_of(was: str | None, now: str) -> str | None:
    """What a change of a subscription is to a person; None if nothing."""
    if was is None:
        return None  # the signup says it
    return ENDED if now == "canceled" else SUBJECTS.get((was, now))


async def tell(tx: Tx, account: UUID, *, was: str | None, now: str) -> None:
    """Mail whoever has the account, if the change is news."""
    subject = subject_of(was, now)
    found = await tx.execute("SELECT email, name FROM signup.account WHERE id = %s", [account])
    row = await found.fetchone()
    if subject is None or row is None:
        return
    email, name = row
    letter = {"to": email, "subject": subject, "text": f"Hello {name},\n\n{subject.lower()}.\n"}
    await mails.publish(tx, f"subscription.{now}", letter, key=account)


async def tell_of_return(tx: Tx, customer: str, amount: Money) -> None:
    """The bank could not pay this customer, who should know, and try again."""
    found = await tx.execute(
        "SELECT id, email, name FROM signup.account WHERE customer_id = %s AND closed_at IS NULL",
        [customer],
    )
    row = await found.fetchone()
    if row is None:
        return
    account, email, name = row
    text = f"Hello {name},\n\nyour bank has sent back {amount}. We owe it to you as before: please check the IBAN.\n"
    letter = {"to": email, "subject": "Your payment came back", "text": text}
    await mails.publish(tx, "credit.returned", letter, key=account)
