"""Thirty days and three deployments: who is asked when, what is deployed when, and what `troth check` said before."""

from __future__ import annotations

import asyncio
import contextlib
import io
from datetime import timedelta
from uuid import UUID

from examples.approval_flow import v1, v2, v3
from troth.cli.main import run
from troth.testing import Worker

DAY = timedelta(days=1)
PROGRAM = "examples.approval_flow"


async def shell(world: Worker, *command: str) -> tuple[int, str]:
    """`troth …` beside the database of this world, as a deployment pipeline would run it: exit code and output."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        code = await asyncio.to_thread(
            run, [*command, "--database-url", world.url, "--schema", world.schema]
        )
    return code, said.getvalue()


async def tell(world: Worker, *modules: str) -> None:
    """What `troth check` says of some modules before one of them is deployed."""
    for module in modules:
        code, said = await shell(world, "check", f"{PROGRAM}.{module}:troth", "--database")
        print(f"  troth check {module}: {'not fit' if code else 'fit'}")
        for line in said.splitlines():
            if "old branch" in line:
                print(f"    {line.strip()}")


async def thirty_days(world: Worker) -> dict[str, list[str]]:
    """The month of four payouts; what became of each. *world* begins with version 1."""
    runs: dict[str, UUID] = {}

    print("day 0: version 1")
    for name in ("early", "patient", "forgotten"):
        runs[name] = (await world.start(v1.payout, f"DE-{name}", 500)).id
    await world.advance(DAY)
    await world.send(runs["early"], "approved", "Ada")  # paid, and waits until it is booked

    await world.advance(9 * DAY)
    print("day 10: version 2")
    await tell(world, "hasty", "v3", "v2")
    await world.deploy(v2.troth)
    runs["second"] = (await world.start(v2.payout, "DE-second", 500)).id
    await world.send(runs["second"], "approved", "Bob")
    await world.send(runs["early"], "booked", "b-1")

    await world.advance(10 * DAY)
    print("day 20: version 3")
    await tell(world, "v2", "v3")
    await world.deploy(v3.troth)
    await world.send(runs["second"], "booked", "b-2")

    await world.advance(9 * DAY)
    print("day 29")
    await world.send(runs["patient"], "approved", "Cem")
    await world.send(runs["patient"], "booked", "b-3")
    await world.advance(2 * DAY)
    return {name: await world.troth.run(run_id).result(timeout=5) for name, run_id in runs.items()}
