"""The end of the day: clocks go on until what was earned is at the bank, and what was paid out has come, or has come back.

The bank refuses the first payout, since our account is closed for a night. Then it comes back, and goes out with the next.
"""

from collections.abc import Sequence

import httpx

from examples.signup.demo import evening
from examples.signup.demo.board import Board
from examples.signup.demo.evening import change
from examples.signup.demo.people import Person
from examples.signup.demo.stage import BEHIND_DAYS, Stage
from examples.signup.demo.waiting import until

DAY_S = 24 * 60 * 60
UNTIL_AVAILABLE = 2  # days, from a charge to the midnight of its payout
REST = BEHIND_DAYS - UNTIL_AVAILABLE - 1
"""The days that are left when the second payout is on its way."""


async def end(
    stage: Stage, board: Board, crowd: Sequence[Person], *, faults: bool, gap: bool
) -> None:
    """Let money arrive, and go. With *gap*, the bank leaves lines off its statements."""
    async with (
        httpx.AsyncClient(base_url=stage.provider_url, timeout=30) as provider,
        httpx.AsyncClient(base_url=stage.bank_url, timeout=30) as bank,
    ):
        await change(bank, closed=True)
        await days_pass(provider, bank, UNTIL_AVAILABLE)
        board.say("the bank refuses the provider's payout, which tries again the next day")
        await change(bank, closed=False)
        await days_pass(provider, bank, 1)
        await evening.pay_out(stage, board, crowd, faults=faults)
        if gap:
            await change(bank, behaviour="statement-gap")
        await days_pass(provider, bank, REST)


async def days_pass(provider: httpx.AsyncClient, bank: httpx.AsyncClient, days: int) -> None:
    """For both, until the bank has answered about what was due to be paid to it."""
    (await bank.post("/_mock/advance", params={"days": days})).raise_for_status()
    (await provider.post("/_clock", json={"advance": days * DAY_S})).raise_for_status()
    await wires_are_done(provider)


async def wires_are_done(provider: httpx.AsyncClient) -> None:
    """Wait until the bank has answered about each payout."""

    async def done() -> bool:
        return not (await provider.get("/_wires")).raise_for_status().json()["waiting"]

    await until(done, "the bank answers the provider")
