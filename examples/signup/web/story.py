"""What becomes of a change to an account: the run, in words."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from examples.signup.core import troth
from examples.signup.credit import pay_out_credit
from examples.signup.plans import cancel_subscription, change_plan, close_account, replace_card
from examples.signup.progress import MOST_ENTRIES, Money, decoded, money
from examples.signup.web.words import ABOUT_MONEY, ABOUT_PAYOUT, GOING_ON, Next, Story
from troth import RunNotFoundError, Tx
from troth.view import store as view
from troth.view.model import RunPicture

DOING: Mapping[str, str] = {
    change_plan.name: "We are changing your plan",
    replace_card.name: "We are taking your new card",
    pay_out_credit.name: "We are paying out your credit",
    cancel_subscription.name: "We are cancelling your subscription",
    close_account.name: "We are closing your account",
}
DONE: Mapping[str, Mapping[str | None, str]] = {
    change_plan.name: {"starter": "You have Starter now", "pro": "You have Pro now"},
    replace_card.name: {"paid": "Paid with your new card", "saved": "Your new card is in use"},
    pay_out_credit.name: {"sent": "Your credit is on its way"},
    cancel_subscription.name: {
        "ended": "Your subscription has ended",
        "ends later": "Your subscription ends when what you have paid for has passed",
    },
    close_account.name: {None: "Your account is closed"},
}
# The steps of these that move money, and what is said about it.
MOVES: Mapping[str, tuple[str, Mapping[Money, str]]] = {
    replace_card.name: ("pay_invoice", ABOUT_MONEY),
    pay_out_credit.name: ("send_payment", ABOUT_PAYOUT),
}
BACK = Next("/account", "Your account")


async def change_story(tx: Tx, run_id: UUID, tenant: str | None) -> Story | None:
    """The page of a change; None if there is none, or if it is somebody else's."""
    try:
        picture = await view.picture(tx, troth.schema, run_id, limit=MOST_ENTRIES)
    except RunNotFoundError:
        return None
    workflow = picture.header.line.workflow
    if workflow not in DOING:
        return None
    # Whoever has closed an account cannot log in any more, and may see that it is closed.
    mine = decoded(picture.header.input)["account"] == tenant
    return story(picture) if mine or workflow == close_account.name else None


def story(picture: RunPicture) -> Story:
    """What is known of a change, and no more."""
    run = picture.header
    state, workflow = run.line.state, run.line.workflow
    step, about = MOVES.get(workflow, ("", {}))
    asked: Money = money(step, picture.timeline)
    title, lines = _words(state, workflow, decoded(run.outcome))
    ended = state in {"succeeded", "failed", "cancelled"}
    return Story(
        id=run.line.id,
        state=state,
        title=title,
        money=asked,
        about_money=about.get(asked, ""),
        lines=lines,
        next=None if workflow == close_account.name and ended else BACK,
        again_s=1 if state in GOING_ON else 0 if ended else 10,
    )


def _words(state: str, workflow: str, said: Any) -> tuple[str, Sequence[str]]:
    match state:
        case "succeeded":
            return DONE[workflow][said], ()
        case "failed":
            return "That was not possible", (str(said["message"]), "Nothing has changed.")
        case "cancelled":
            return "That was cancelled", ("Nothing has changed.",)
        case "attention":
            return DOING[workflow], ("This takes longer than it should. Somebody looks at it.",)
        case _:
            return DOING[workflow], ()
