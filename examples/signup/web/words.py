"""What a person is told while a signup or a change goes on. Pure: facts in, sentences out.

The rule: never say more than is known. A charge without an answer is "we are finding out", and not "failed".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from examples.signup.progress import Money, Progress

STEPS = {
    "create_account": "your account",
    "provision_defaults": "your workspace",
    "create_customer": "your customer record",
    "save_card": "your card",
    "subscribe": "your subscription",
    "send_welcome": "a welcome mail",
}

ABOUT_MONEY: dict[Money, str] = {
    "untouched": "Your card was not charged.",
    "asked": "We have asked your bank and wait for its answer.",
    "unknown": "We do not know yet whether your card was charged. We are finding out; you will not be charged twice.",
    "charged": "Your card was charged once.",
    "given back": "Your card was charged, and the money is on its way back.",
}

ABOUT_PAYOUT: dict[Money, str] = {
    "untouched": "Nothing was paid out.",
    "asked": "We have asked our bank to pay you, and wait for its answer.",
    "unknown": "We do not know yet whether our bank has taken the order. We are finding out; it is not paid twice.",
    "charged": "Our bank has taken the order. The money is with yours in one or two working days.",
}

SUBSCRIPTIONS = {
    "incomplete": "waits for its first payment",
    "trialing": "in its trial; nothing was charged yet",
    "active": "paid",
    "past_due": "a payment failed; use another card to keep it",
    "canceled": "ended",
}


@dataclass(frozen=True)
class Step:
    words: str
    state: str  # done, doing, open


@dataclass(frozen=True)
class Next:
    url: str
    words: str


@dataclass(frozen=True)
class Story:
    """A page. *again_s*: look again after so many seconds; 0 when nothing will change by itself."""

    id: UUID
    state: str
    title: str
    money: Money
    about_money: str
    lines: Sequence[str] = ()
    steps: Sequence[Step] = ()
    next: Next | None = None
    again_s: int = 0


def signup_story(progress: Progress) -> Story:
    """The page of a signup."""
    title, lines, step = _signup_words(progress)
    going_on = progress.state in GOING_ON
    return Story(
        id=progress.id,
        state=progress.state,
        title=title,
        money=progress.money,
        about_money=ABOUT_MONEY[progress.money],
        lines=lines,
        steps=steps(progress.done) if going_on else (),
        next=step,
        again_s=1 if going_on else 10 if progress.state == "attention" else 0,
    )


LOG_IN = Next("/login", "Log in")
GOING_ON = frozenset({"ready", "running", "waiting", "undoing"})


def _signup_words(progress: Progress) -> tuple[str, list[str], Next | None]:
    """Title, what there is to say, and where to go."""
    state = progress.state
    if state == "attention" and "let_in" in progress.done:
        # The welcome mail alone is in doubt; the account is there and may be used.
        return "Welcome", ["We do not know whether our mail has reached you."], LOG_IN
    match state:
        case "succeeded":
            said: tuple[str, list[str], Next | None] = ("Welcome", [], LOG_IN)
        case "failed":
            why = [progress.problem or "It was refused.", "What we had begun was undone."]
            said = "You were not signed up", why, Next("/signup", "Try again")
        case "undoing":
            said = "You are not signed up", ["We are undoing what we had begun."], None
        case "cancelled":
            said = "The signup was cancelled", ["What we had begun was undone."], None
        case "attention":
            why = ["Somebody of us is looking at it. You need not do anything."]
            said = "This takes longer than it should", why, None
        case _:
            said = "We are setting up your account", [], None
    return said


def steps(done: Sequence[str]) -> Sequence[Step]:
    """What is done, the one that is being done, and what is to come."""
    named = list(STEPS)
    first_open = next((name for name in named if name not in done), None)
    return [
        Step(
            STEPS[name],
            "done" if name in done else "doing" if name == first_open else "open",
        )
        for name in named
    ]
