"""What workers, deliveries and timers do: one attempt of each, as something that can be done again."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import CodeType
from typing import Any, Literal

import msgspec

from troth.lab.deliveries import received
from troth.lab.edge import clock, tasks
from troth.lab.edge.attempt import Attempt
from troth.lab.model import Op
from troth.lab.moments import instant
from troth.lab.request import Call, HttpCall, called, described_error
from troth.lab.world import decode, encode

Acks = Literal["late", "early", "manual"]
"""When a worker acknowledges a message: when it is done with it, before it begins, or where the handler says so."""
Sign = Callable[[bytes, float], dict[str, str]]


class Delivery:
    """An event of a provider on its way to the application; the provider is told by the answer that it has arrived.

    Args:
        source: the name of the provider.
        to: where it goes.
        sign: the headers that prove who sends it.
        loses: whether the provider may give it up.
    """

    def __init__(self, source: str, to: HttpCall, sign: Sign | None, *, loses: bool) -> None:
        given_up = ", or gives it up" if loses else ""
        self.label = f"{source} delivers{given_up}: {to.label}"
        self.app = to.app
        self.loses = loses
        self._to = to
        self._sign = sign
        self._op = received(source, loses=loses)

    async def invoke(self, attempt: Attempt) -> None:
        event = attempt.ask(self._op).value
        if event is None:
            return
        body = msgspec.json.encode(event)
        headers = {"content-type": "application/json"}
        if self._sign is not None:
            headers |= self._sign(body, instant(clock.tick(attempt)))
        await self._to.carrying(body, headers).invoke(attempt)

    def asked(self) -> object:
        return None if self._sign else (self.label, self._to.asked())

    def roots(self) -> dict[str, object]:
        return self._to.roots()


class Handling:
    """A worker with one message of a queue.

    Args:
        source: the name of the queue.
        handler: a function (or coroutine function) of the message; with `acks="manual"` of the message and of what acknowledges it.
        acks: when the message is acknowledged. Whatever the handler raises, a message that was not acknowledged comes again.
    """

    def __init__(self, source: str, handler: Callable[..., object], acks: Acks) -> None:
        self.label = f"worker: {named(handler)}"
        self._handler = handler
        self._acks = acks
        self._op = received(source)

    async def invoke(self, attempt: Attempt) -> None:
        message = attempt.ask(self._op).value
        if message is None:
            return

        def acknowledge() -> None:
            attempt.ask(Op("ack", self._op.target, f"acknowledge to {self._op.target}"))

        if self._acks == "early":
            acknowledge()
        manual = (acknowledge,) if self._acks == "manual" else ()
        mine = decode(encode(message))  # it may do with it what it likes
        if await _completed(attempt, partial(self._handler, mine, *manual)):
            await tasks.settle(attempt)
            if self._acks == "late":
                acknowledge()

    def asked(self) -> object:
        return (self.label, self._op.target, self._acks)

    def roots(self) -> dict[str, object]:
        return {named(self._handler): getattr(self._handler, "func", self._handler)}


class Round:
    """A worker that looks for work by itself, or what a timer starts: one call; of an endless loop, up to where it sleeps.

    Nobody is told what comes of it. What it raises ends it, as its process would end, and it begins again.
    """

    def __init__(self, function: Callable[[], object], kind: str) -> None:
        self.label = f"{kind}: {named(function)}"
        self._function = function

    async def invoke(self, attempt: Attempt) -> None:
        attempt.loop = _code(self._function)
        await _completed(attempt, self._function)

    def asked(self) -> object:
        return self.label

    def roots(self) -> dict[str, object]:
        return {named(self._function): getattr(self._function, "func", self._function)}


class Timed:
    """A request that a timer sends."""

    def __init__(self, call: Call) -> None:
        self.label = f"timer: {call.label}"
        self.app = getattr(call, "app", None)
        self._call = call

    async def invoke(self, attempt: Attempt) -> None:
        await self._call.invoke(attempt)

    def asked(self) -> object:
        return self._call.asked()

    def roots(self) -> dict[str, object]:
        return self._call.roots()


def named(function: Any) -> str:
    """What people call a function."""
    plain = getattr(function, "func", function)  # of a functools.partial
    return str(getattr(plain, "__name__", "call"))


def _code(function: Any) -> CodeType | None:
    plain = getattr(function, "func", function)
    plain = getattr(plain, "__func__", plain)
    return getattr(plain, "__code__", None)


async def _completed(attempt: Attempt, call: Callable[[], object]) -> bool:
    """Whether the code got through."""
    try:
        await called(attempt, call)
    except clock.Idle:
        await tasks.settle(attempt)
        return True
    except Exception as error:  # noqa: BLE001  (a worker logs it, and goes on)
        attempt.failure = described_error(error)
        await tasks.settle(attempt)
        return False
    return True
