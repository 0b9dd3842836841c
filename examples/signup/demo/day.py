"""The end of the day: clocks go on until what was earned is at the bank, and everybody has heard of everything.

The bank refuses the first payout, since our account is closed for a night. Then it comes back, and goes out with the next.
"""

import asyncio
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import psycopg

from examples.signup.demo.board import Board
from examples.signup.demo.stage import BANK_ACCOUNT, BEHIND_DAYS, Stage, StageError
from examples.signup.demo.truths import objects

DAY_S = 24 * 60 * 60
UNTIL_AVAILABLE = 2  # days, from a charge to the midnight of its payout
REST = BEHIND_DAYS - UNTIL_AVAILABLE - 1
"""The days that are left when the second payout is on its way."""

PATIENCE_S = 60.0
LOOK_S = 0.1

# Of an event that was taken in, what has become of it; "ignored" is none of ours.
_SETTLED = """
SELECT event_id FROM troth.inbox_event WHERE source = 'stripe' AND state IN ('applied', 'superseded', 'ignored')
"""
_READ = "SELECT count(*) FROM signup.bank_statement WHERE bank_account = %s"


async def end(stage: Stage, board: Board, *, gap: bool) -> None:
    """Let money arrive. With *gap*, the bank leaves the last line off its statement."""
    async with (
        httpx.AsyncClient(base_url=stage.provider_url, timeout=30) as provider,
        httpx.AsyncClient(base_url=stage.bank_url, timeout=30) as bank,
    ):
        await change(bank, closed=True)
        await days_pass(provider, bank, UNTIL_AVAILABLE)
        board.say(
            "the day ends; the bank refuses the payout, and the provider tries again tomorrow"
        )
        await change(bank, closed=False, behaviour="statement-gap" if gap else "accept")
        await days_pass(provider, bank, 1)
        await days_pass(provider, bank, REST)
        statements = await bank.get(f"/_mock/accounts/{BANK_ACCOUNT}/statements")
        issued = len(statements.raise_for_status().json())
    await read_statements(stage, issued)
    board.say(f"the money is at the bank, whose {issued} statements are read")
    await everything_is_heard(stage)
    board.say("the service has heard of all that the provider tells of")


async def change(bank: httpx.AsyncClient, **fields: object) -> None:
    """What the bank does with our account."""
    (await bank.patch(f"/_mock/accounts/{BANK_ACCOUNT}", json=fields)).raise_for_status()


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


async def read_statements(stage: Stage, issued: int) -> None:
    """What an operator types who does not want to wait for the clock, and then the work of a worker."""
    troth = Path(sys.executable).with_name("troth")
    command = ["schedule", "run", "read_statements", "--note", "the day ends"]
    asked = await asyncio.create_subprocess_exec(
        *(str(troth), *command, "--database-url", stage.database_url),
        stdin=DEVNULL,
        stdout=DEVNULL,
        stderr=PIPE,
    )
    _, said = await asked.communicate()
    if asked.returncode:
        raise StageError(f"the statements cannot be read: {said.decode().strip()}")
    async with await psycopg.AsyncConnection.connect(
        stage.database_url, autocommit=True
    ) as database:

        async def done() -> bool:
            found = await (await database.execute(_READ, [BANK_ACCOUNT])).fetchone()
            return found is not None and found[0] == issued

        await until(done, "the bank's statements are read")


async def everything_is_heard(stage: Stage) -> None:
    """Wait until each event of the provider has come here, by itself or by the sweep, and was applied."""
    async with (
        await psycopg.AsyncConnection.connect(stage.database_url, autocommit=True) as database,
        httpx.AsyncClient(timeout=30) as http,
    ):
        told = {one["id"] for one in await objects(http, stage.provider_url, "event")}

        async def done() -> bool:
            heard = {ident for (ident,) in await (await database.execute(_SETTLED)).fetchall()}
            return told <= heard

        await until(done, "all events are heard")


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait for what cannot notify us. Raises `StageError` after a minute."""
    deadline = time.monotonic() + PATIENCE_S
    while not await condition():
        if time.monotonic() > deadline:
            raise StageError(f"{what}: not within {PATIENCE_S:.0f} s")
        await asyncio.sleep(LOOK_S)
