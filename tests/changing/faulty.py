"""A program with a mistake of each kind."""

from __future__ import annotations

import socket
import time

from troth import Call, Provider, Troth

troth = Troth()


@troth.step
async def unstorable(connection: socket.socket) -> None: ...


@troth.effect(timeout=5)
async def silent(call: Call) -> None: ...


@silent.probe
async def ask(call: Call) -> None: ...


@troth.step
async def twice() -> None: ...


@troth.step(name="twice")
async def other() -> None: ...


@troth.effect(provider=Provider("p"), timeout=5)
async def without_rules(call: Call) -> None: ...


@troth.workflow
async def reads_clocks() -> float:
    return time.time() + time.monotonic()
