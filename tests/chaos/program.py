"""The program whose processes are killed, frozen and starved in these tests.

    python -m tests.chaos.program worker    executes runs until it is told to stop
    python -m tests.chaos.program clients   many clients that all start the same key at once

It does what a user's program does, and two things more: what it does outside the database it writes
down in a file that knows nothing of troth (the witness), and it stops where a test wants it stopped:
it sends SIGSTOP to itself, so that the place is exact and nobody has to hit it by time.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
import threading
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from troth import Call, KeyConflictError, Provider, TimedOut, Troth, Tx
from troth.worker.node import NodeOptions
from troth.workflow.definition import Workflow
from troth.workflow.effects import Effects

SETTINGS = "TROTH_TEST_CHAOS"
CHARGE_TIMEOUT_S = 0.5

USER_TABLES = """
    CREATE TABLE IF NOT EXISTS reservation (n integer NOT NULL, price integer NOT NULL);
    CREATE TABLE IF NOT EXISTS account (n integer PRIMARY KEY);
    TRUNCATE reservation, account;
"""


class Settings(msgspec.Struct, frozen=True):
    """What a test tells a process, as JSON in one environment variable."""

    url: str
    schema: str
    directory: str
    options: dict[str, Any] = {}
    gated: bool = False  # `pack` waits until the process gets SIGUSR1
    without: list[str] = []  # workflows that the code of this process does not have
    clients: int = 1


@dataclass
class Program:
    """A Troth with its workflows."""

    troth: Troth
    order: Workflow[[int], str]
    plain_order: Workflow[[int], str]  # the same as a `def`
    basket: Workflow[[int], list[str]]
    signup: Workflow[[int], str]
    notice: Workflow[[int], str]
    ten_steps: Workflow[[int], int]
    doze: Workflow[[int], str]
    unstorable: Workflow[[int], Any]
    nested: Workflow[[int], int]


class Stage:
    """Where a process can be held: by a gate, by a pause point, by a blocked event loop."""

    def __init__(self, directory: Path, *, gated: bool) -> None:
        self.directory = directory
        self.gate = asyncio.Event()
        self.gated = gated

    async def pass_gate(self) -> None:
        """Wait until the process gets SIGUSR1, if it is gated."""
        if self.gated:
            await self.gate.wait()

    def reach(self, point: str) -> bool:
        """If a test has armed this point: one process, once, freezes here. True if it did."""
        try:
            (self.directory / f"stop-{point}").unlink()
        except FileNotFoundError:
            return False
        os.kill(os.getpid(), signal.SIGSTOP)
        return True

    def block(self, point: str) -> None:
        """If a test has armed it: the whole thread hangs here, until somebody writes into the pipe."""
        with contextlib.suppress(FileNotFoundError):
            pipe = (self.directory / f"block-{point}").rename(self.directory / f"blocked-{point}")
            pipe.read_bytes()

    def witness(self, call: Call, what: str, n: int) -> None:
        """Write down that this effect happened here: one line, durable, in one atomic append."""
        line = {
            "what": what,
            "n": n,
            "key": call.key,
            "fence": call.fence,
            "attempt": call.attempt,
            "pid": os.getpid(),
        }
        file = os.open(self.directory / "witness", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(file, json.dumps(line).encode() + b"\n")
            os.fsync(file)
        finally:
            os.close(file)


def build(settings: Settings, stage: Stage | None = None) -> Program:  # noqa: C901  (it only defines)
    """The program, for one database and schema. Opens nothing."""
    troth = Troth(settings.url, schema=settings.schema)
    stage = stage or Stage(Path(settings.directory), gated=settings.gated)
    # It forgets nothing for a day, so an unknown outcome may be sent again under the same key.
    provider = Provider("witness", key_lifetime=timedelta(days=1))

    @troth.step
    async def quote(n: int) -> int:
        return n * 100

    @troth.transaction
    async def reserve(tx: Tx, n: int, price: int) -> int:
        await tx.execute("INSERT INTO reservation (n, price) VALUES (%s, %s)", (n, price))
        stage.reach("transaction")
        return price + 1

    @troth.effect(provider=provider, timeout=CHARGE_TIMEOUT_S)
    def charge(call: Call, n: int, price: int) -> str:
        stage.witness(call, "charge", n)
        stage.reach("call")
        stage.block("call")
        return f"charge-{n}-{price}"

    @troth.step
    async def pack(n: int) -> str:
        await stage.pass_gate()
        stage.reach("step")
        stage.block("step")
        return f"box-{n}"

    @troth.step
    async def label(n: int, box: str) -> str:
        return f"{box}/{n}"

    async def order(n: int) -> str:
        price = await quote(n)
        reserved = await reserve(n, price)
        charged = await charge(n, reserved)
        box = await pack(n)
        return await label(n, f"{charged}:{box}")

    def plain_order(n: int) -> str:
        price = troth.wait(quote(n))
        reserved = troth.wait(reserve(n, price))
        charged = troth.wait(charge(n, reserved))
        box = troth.wait(pack(n))
        return troth.wait(label(n, f"{charged}:{box}"))

    async def basket(n: int) -> list[str]:
        async def item(k: int) -> str:
            reserved = await reserve(n, k)
            return await label(k, await charge(n, reserved))

        return list(await asyncio.gather(item(1), item(2), item(3)))

    @troth.transaction
    async def create_account(tx: Tx, n: int) -> int:
        await tx.execute("INSERT INTO account (n) VALUES (%s)", (n,))
        stage.reach("account")
        return n

    async def signup(n: int) -> str:
        return f"account-{await create_account(n)}"

    @troth.effect(delivery="at_most_once", timeout=0.5)
    def mail(call: Call, n: int) -> str:
        stage.witness(call, "mail", n)
        return f"mail-{n}"

    async def notice(n: int) -> str:
        return await mail(n)

    async def ten_steps(n: int) -> int:
        total = 0
        for _ in range(10):
            total += await quote(n)
        return total

    async def doze(n: int) -> str:
        if n % 2:
            await troth.sleep(timedelta(days=1))
            return "slept"
        woken = await troth.receive("wake", str, timeout=timedelta(days=1))
        return "timed out" if isinstance(woken, TimedOut) else woken

    @troth.step
    async def make_socket(n: int) -> Any:
        return threading.Lock() if n == 0 else n

    async def unstorable(n: int) -> Any:
        return await make_socket(n)

    @troth.step
    async def outer(n: int) -> int:
        return await quote(n)  # a step inside a step: refused

    async def nested(n: int) -> int:
        return await outer(n)

    defined = {
        function.__name__: troth.workflow(function)
        for function in (
            order,
            plain_order,
            basket,
            signup,
            notice,
            ten_steps,
            doze,
            unstorable,
            nested,
        )
        if function.__name__ not in settings.without
    }
    missing = dict.fromkeys(settings.without)
    return Program(troth=troth, **defined, **missing)  # type: ignore[arg-type]


def freeze_around_sending(stage: Stage) -> None:
    """Put pause points where no user code runs: the intent is durable, and the effect not yet called.

    `send`: its time has not been looked at yet. `queued`: it has, and the call waits for a thread; after that, the
    event loop stands still until the threads have taken up what was in their queue.
    """
    send = Effects._send

    async def frozen(self: Effects, *args: Any) -> None:
        def queued() -> None:
            if stage.reach("queued"):
                self._bodies._threads.submit(int).result()

        stage.reach("send")
        asyncio.get_running_loop().call_soon(queued)
        await send(self, *args)

    Effects._send = frozen  # type: ignore[assignment,method-assign]


async def work(settings: Settings) -> None:
    """A worker: says its id, then works until SIGTERM. SIGUSR1 opens the gate, SIGUSR2 makes it report."""
    stage = Stage(Path(settings.directory), gated=settings.gated)
    freeze_around_sending(stage)
    program = build(settings, stage)
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    loop.add_signal_handler(signal.SIGUSR1, stage.gate.set)
    async with program.troth.worker(NodeOptions(**settings.options)):
        node = program.troth.node

        def report() -> None:
            say(
                {
                    "worker": node.writer.worker,
                    "flushes": node.writer.flushes,
                    "runs": len(node.engine.runs),
                }
            )

        loop.add_signal_handler(signal.SIGUSR2, report)
        report()
        await stopping.wait()


async def start_together(settings: Settings) -> None:
    """Clients that wait for a line on stdin, then all start the same key; every third with another input."""
    programs = [build(settings) for _ in range(settings.clients)]
    async with contextlib.AsyncExitStack() as opened:
        for program in programs:
            await opened.enter_async_context(program.troth.client())
        say("ready")
        await asyncio.to_thread(sys.stdin.readline)
        answers = await asyncio.gather(
            *(start(program, number) for number, program in enumerate(programs)),
        )
        say(answers)


async def start(program: Program, number: int) -> dict[str, Any]:
    """One client's attempt: the run that it got, or the conflict that it was told of."""
    other = number % 5 == 4
    try:
        run = await program.troth.start(program.order, 8 if other else 7, key="one")
    except KeyConflictError as conflict:
        return {"other": other, "conflict": str(conflict), "run": str(conflict.run_id)}
    return {"other": other, "conflict": None, "run": str(run.id)}


def say(what: Any) -> None:
    """One line of JSON for the test."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main() -> None:
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    settings = msgspec.json.decode(os.environ[SETTINGS], type=Settings)
    act = {"worker": work, "clients": start_together}[sys.argv[1]]
    asyncio.run(act(settings))


if __name__ == "__main__":
    main()
