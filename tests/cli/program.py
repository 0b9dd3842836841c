"""A program for worker processes of tests: `tests.cli.program:troth`.

Steps that a test wants to hold meet it at a stage, a socket of the test's: they say who they are, and wait.
"""

import asyncio
import os
from datetime import timedelta

from troth import Call, Found, Missing, Provider, Refused, Retry, Troth

troth = Troth(schema=os.environ.get("TEST_SCHEMA", "troth"))


@troth.step
async def meet(name: str) -> str:
    reader, writer = await asyncio.open_unix_connection(os.environ["TEST_STAGE"])
    writer.write(f"{name} {os.getpid()}\n".encode())
    answer = await reader.readline()
    writer.close()
    return answer.decode().strip()


@troth.step
async def hello(name: str) -> str:
    return f"hello {name}"


@troth.step
async def decline() -> str:
    raise Refused("no stock")


@troth.step
async def divide() -> float:
    return 1 / 0


@troth.effect(delivery="at_most_once", timeout=5)
async def refund(call: Call, amount: int) -> str:
    raise ConnectionResetError("reset by peer")


ledger: dict[str, str] = {}  # what the other side knows of transfers: "error", or the id of one


@troth.effect(
    provider=Provider("bank", lands_within=timedelta(seconds=1)),
    timeout=0.1,
    settled_by=2,
    stake="EUR {}".format,
)
async def transfer(call: Call, amount: int) -> str:
    raise ConnectionResetError("reset by peer")


@transfer.probe(timeout=5, retry=Retry(attempts=1))
async def find_transfer(call: Call, amount: int) -> Found[str] | Missing:
    if ledger["transfer"] == "error":
        raise ConnectionRefusedError("503")
    return Found(ledger["transfer"])


@troth.effect(delivery="at_most_once", timeout=5)
async def reserve(call: Call, item: str) -> str:
    return f"r_{item}"


@reserve.undo(delivery="at_most_once")
async def release(call: Call, reservation: str, item: str) -> None:
    raise Refused("it has been shipped")


@troth.workflow
async def sale(item: str) -> str:
    await reserve(item)
    return await decline()


@troth.workflow
async def transferring(amount: int) -> str:
    return await transfer(amount)


@troth.workflow
async def greet(name: str) -> str:
    return await hello(name)


@troth.workflow
async def refuse() -> str:
    return await decline()


@troth.workflow
async def broken() -> float:
    return await divide()


@troth.workflow
async def doubtful(amount: int) -> str:
    return await refund(amount)


@troth.workflow
async def listener() -> str:
    return await troth.receive("go", str)


@troth.workflow
async def two_meetings() -> list[str]:
    return [await meet("one"), await meet("two")]


@troth.workflow
async def greet_then_doubt() -> str:
    await hello("ada")
    return await refund(700)


@troth.workflow
async def many(count: int) -> int:
    for _ in range(count):
        await hello("ada")
    return count
