"""What version 2 would have been without its patch: good for every new run, and the end of those that have paid."""

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
    told = [f"approved by {by}", await screen(iban), await pay(iban, cents)]
    reference = await troth.receive(booked)
    told.append(f"booked as {reference}")
    return told
