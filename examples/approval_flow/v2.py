"""Version 2: the law wants every payee to be screened before money goes out.

A run that still waits for its approval comes to the patch with nothing left to replay, and screens. One that has paid
already, and waits until that is booked, goes on as it began.
"""

from __future__ import annotations

from datetime import timedelta

from examples.approval_flow.bank import approved, booked, pay, screen, steps
from troth import TimedOut, Troth

troth = Troth()
troth.include(steps)


@troth.workflow
async def payout(iban: str, cents: int) -> list[str]:
    by = await troth.receive(approved, timeout=timedelta(days=30))
    if isinstance(by, TimedOut):
        return ["nobody approved"]
    told = [f"approved by {by}"]
    if troth.patch("screen-payee"):
        told.append(await screen(iban))
    told.append(await pay(iban, cents))
    reference = await troth.receive(booked)
    told.append(f"booked as {reference}")
    return told
