"""Version 3: no live run needs the old branch of `screen-payee` any more, so that `if` is gone; and there is a new one.

`troth check examples.approval_flow.v2:troth --database` has said so before the `if` was removed.
"""

from __future__ import annotations

from datetime import timedelta

from examples.approval_flow.bank import approved, booked, pay, screen, steps, tell
from troth import TimedOut, Troth

troth = Troth()
troth.include(steps)


@troth.workflow
async def payout(iban: str, cents: int) -> list[str]:
    by = await troth.receive(approved, timeout=timedelta(days=30))
    if isinstance(by, TimedOut):
        return ["nobody approved"]
    told = [f"approved by {by}", await screen(iban), await pay(iban, cents)]
    reference = await troth.receive(booked)
    told.append(f"booked as {reference}")
    if troth.patch("tell-payee"):
        told.append(await tell(iban, reference))
    return told
