"""The other side of `processes`: a process that runs attempts for real, and dies where it is told to.

It has the application's memory and connections of its own to a real database. What it asks of providers, sinks and clocks, and
whether it goes on, it is told through its channel.
"""

from __future__ import annotations

import gc
import logging
import os
import random
import socket
import warnings
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from troth.lab.edge import clock
from troth.lab.edge.attempt import Attempt, escaped
from troth.lab.model import Observation, Op, tupled
from troth.lab.request import Lifespan, Stage

if TYPE_CHECKING:
    from troth.lab.scenario import Scenario

KILLED = 137
LARGEST = 1 << 20


class Channel:
    """Messages between two processes: msgpack over a socket that keeps their borders.

    Raises:
        EOFError: the other process is gone.
    """

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def send(self, *message: object) -> None:
        """One message."""
        try:
            self._end.send(msgspec.msgpack.encode(message, enc_hook=repr))
        except BrokenPipeError as gone:
            raise EOFError from gone

    def receive(self) -> list[Any]:
        """The next message."""
        data = self._end.recv(LARGEST)
        if not data:
            raise EOFError
        found: list[Any] = msgspec.msgpack.decode(data)
        return found

    def close(self) -> None:
        """Nobody hears any more."""
        self._end.close()


def plain(op: Op) -> list[object]:
    """An operation as a message."""
    return [op.kind, op.target, op.text, op.params, op.handle]


def serve(scenario: Scenario, control: socket.socket) -> NoReturn:
    """The process from which all others are forked, made before the application has run: each begins with its memory.

    It gets one end of a channel per process that is wanted, and ends with the process that made it.
    """
    logging.disable()  # nobody reads it, and what was inherited complains
    gc.freeze()  # what was inherited belongs to the other process, connections above all
    try:
        while True:
            data, ends, _, _ = socket.recv_fds(control, 16, 1)
            if not data:
                break
            if forked() == 0:
                control.close()
                _live(scenario, Channel(socket.socket(fileno=ends[0])))
            os.close(ends[0])
            while _reaped():
                pass
    finally:
        os._exit(0)
    raise AssertionError


def forked() -> int:
    """`os.fork`; the children of it use no threads of their parent."""
    with warnings.catch_warnings(action="ignore"):
        return os.fork()


def _reaped() -> bool:
    try:
        return os.waitpid(-1, os.WNOHANG)[0] > 0
    except ChildProcessError:
        return False


def _live(scenario: Scenario, channel: Channel) -> NoReturn:
    try:
        with Stage() as stage:
            _Life(scenario, channel, stage).run()
    except EOFError:
        pass
    except BaseException as error:  # noqa: BLE001  (nothing of this process may go on)
        channel.send("failed", f"{type(error).__name__}: {error}")
    finally:
        os._exit(0)
    raise AssertionError


class _Life:
    """One process: its start-up code, then attempts, until its channel ends or it is told to die."""

    def __init__(self, scenario: Scenario, channel: Channel, stage: Stage) -> None:
        self._scenario = scenario
        self._channel = channel
        self._stage = stage
        self._databases = {one.name: one for one in scenario.databases}

    def run(self) -> None:
        _, places = self._channel.receive()
        for name, place in places.items():
            self._databases[name].join(place)
        self._channel.send("joined", os.getpid(), self._serving())
        for app in self._scenario.apps():
            self._attempt(Lifespan(app).start, leaves_tasks=True)
        self._channel.send("ready")
        while True:
            word, *rest = self._channel.receive()
            if word == "die":
                os._exit(KILLED)
            actor, uses_random = rest
            self._attempt(partial(self._act, actor, uses_random=uses_random))
            self._channel.send("end")

    async def _act(self, actor: int, attempt: Attempt, *, uses_random: bool) -> None:
        if uses_random:
            random.seed(clock.seed(attempt))
        await self._scenario.actors[actor].call.invoke(attempt)

    def _attempt(self, call: Callable[[Attempt], Any], *, leaves_tasks: bool = False) -> None:
        attempt = Attempt(self._respond, ordered=not leaves_tasks)
        self._stage.run(attempt, call, leaves_tasks=leaves_tasks)
        if reason := attempt.refused or next(iter(escaped), None):
            raise RuntimeError(reason)
        for database in self._databases.values():
            database.leave()

    def _respond(self, op: Op, site: str) -> Observation:
        del site
        self._channel.send("op", plain(op))
        word, *rest = self._channel.receive()
        if word == "die":
            os._exit(KILLED)  # no `finally`, no flush, no closed connection
        database = self._databases.get(op.target)
        if word == "see":
            if op.kind == "clock":
                for one in self._databases.values():
                    one.join_at(rest[0][0])
            return _observation(rest[0])
        assert database is not None
        if word in {"cut", "sever"}:
            if word == "sever":
                database.really(op)
            database.cut(op.handle)
            self._channel.send("severed")  # before it is over, nothing else may begin
            return _observation(rest[0])
        seen = database.really(op)
        self._channel.send("seen", [seen.value, seen.error], self._serving())
        return seen

    def _serving(self) -> dict[str, list[int]]:
        return {name: database.serving() for name, database in self._databases.items()}


def _observation(message: list[Any]) -> Observation:
    value, error = message
    return Observation(tupled(value), error)
