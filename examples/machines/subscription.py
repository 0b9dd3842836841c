"""A subscription: our own acts fire events, the provider's come twice, late and early, and the history tells it all."""

import asyncio

from troth import Troth, Tx
from troth.machine import EarlyEventError, Firing, IllegalTransitionError, Machine, Transition

troth = Troth()  # TROTH_DATABASE_URL, or an embedded PostgreSQL under ./.troth/


def agreed(firing: Firing) -> str | None:
    return None if firing.by else "a person must have agreed to it"


subscription = troth.include(
    Machine(
        "subscription",
        initial="incomplete",
        final={"canceled", "refunded"},
        transitions=[
            Transition("activate", from_={"incomplete", "past_due"}, to="active"),
            Transition("payment_failed", from_="active", to="past_due"),
            Transition("cancel", from_={"active", "past_due"}, to="canceled"),
            Transition("refund", from_="active", to="refunded", guard=agreed),
        ],
    )
)


@troth.transaction
async def sign_up(tx: Tx, account: str) -> None:
    await subscription.create(tx, account, cause=f"signup:{account}")


@troth.transaction
async def hear(tx: Tx, account: str, event: str, event_id: str, version: int) -> str:
    """What the provider tells: *version* is its own number of the change."""
    try:
        fired = await subscription.fire(tx, account, event, cause=event_id, version=version)
    except EarlyEventError as early:
        return f"{event_id} {event}: too early, it is {early.state}"
    except IllegalTransitionError as illegal:
        return f"{event_id} {event}: never, it is {illegal.state}"
    told = "again" if fired.repeated else "late" if fired.superseded else "done"
    return f"{event_id} {event}: {told}, it is {await subscription.state(tx, account)}"


@troth.transaction
async def look(tx: Tx, account: str, state: str, version: int) -> str:
    """A sweep has fetched the provider's own object: this is how it stands, whatever we have heard."""
    cause = f"sweep:{version}"
    seen = await subscription.observe(tx, account, state, version=version, cause=cause)
    return f"observed {state}, over {', '.join(seen.path)}"


@troth.transaction
async def history(tx: Tx, account: str) -> list[str]:
    entries = await subscription.history(tx, account)
    return [f"{each.seq} {each.from_state} -> {each.to_state} {each.cause}" for each in entries]


@troth.workflow
async def year(account: str) -> list[str]:
    await sign_up(account)
    return [
        await hear(account, "payment_failed", "evt_2", 20),
        await hear(account, "activate", "evt_1", 10),
        await hear(account, "payment_failed", "evt_2", 20),
        await hear(account, "activate", "evt_1", 10),
        await hear(account, "activate", "evt_0", 5),
        await look(account, "canceled", 40),
        await hear(account, "activate", "evt_5", 50),
        *await history(account),
    ]


async def main() -> None:
    async with troth.worker():
        run = await troth.start(year, "ada")
        for line in await run.result(timeout=60):
            print(line, flush=True)


if __name__ == "__main__":
    asyncio.run(main())
