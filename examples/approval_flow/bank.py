"""What no deployment has changed: the bank, and what the workflow waits for."""

from __future__ import annotations

from troth import Call, Group, Topic

steps = Group("payouts")
approved = Topic[str]("approved")  # by whom
booked = Topic[str]("booked")  # the bank's word, some days after the order: its reference


@steps.effect(delivery="at_most_once", timeout=10, stands=True)
async def pay(call: Call, iban: str, cents: int) -> str:
    """Order a transfer. A real one would talk to the bank, with `call.key` as its reference."""
    return f"{cents} cents to {iban}"


@steps.step
async def screen(iban: str) -> str:
    """Is the payee on a list of sanctions? Since version 2."""
    return f"screened {iban}"


@steps.step
async def tell(iban: str, reference: str) -> str:
    """Tell who asked for it. Since version 3."""
    return f"told {iban} of {reference}"
