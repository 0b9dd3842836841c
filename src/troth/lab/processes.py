"""The search's second opinion: histories of the graph, carried out by real processes that really die.

A process is forked from one that was made before the application ran for the first time. It has its own memory and its own
connections to a real database that nobody else uses; to die is `os._exit` at the boundary, and what was open is rolled back by the
database because its client is gone. A server notices that by itself, some time later, and finishes what it was doing before; so
nobody looks, and nothing else begins, before all that served a dead process, or a lost connection, is gone, too. The providers, the
clock and the schedule are this side's. Beside it the tables say, step by step, what must be asked and observed; any difference is a
disagreement, and no verdict stands against it.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import msgspec

from troth.lab.child import Channel, forked, plain, serve
from troth.lab.database import Database
from troth.lab.describe import described
from troth.lab.model import Branch, Op, Step, tupled
from troth.lab.scenario import Scenario
from troth.lab.search import Graph
from troth.lab.steps import FORFEIT
from troth.lab.tables import Tables


class Disagreement(Exception):
    """A real process did something else than the tables say; the message says what."""


class Zygote:
    """Makes processes that begin like the application did."""

    def __init__(self, scenario: Scenario) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._pid = forked()
        if self._pid == 0:
            self._control.close()
            serve(scenario, theirs)
        theirs.close()

    def process(self, places: dict[str, str]) -> Process:
        """A new process of the application, after its start-up code."""
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (mine, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        socket.send_fds(self._control, [b"process"], [theirs.fileno()])
        theirs.close()
        made = Process(Channel(mine))
        made.channel.send("join", places)
        _, made.pid, made.served = made.hear("joined")
        return made

    def close(self) -> None:
        """End it; processes that live end with their channels."""
        self._control.close()
        with suppress(ChildProcessError):
            os.waitpid(self._pid, 0)


@dataclass(eq=False)
class Process:
    """One process of the application."""

    channel: Channel
    memory: int = 0
    pid: int = 0
    served: dict[str, list[int]] = field(default_factory=dict)
    """Per database, the processes of its server that have worked for this one."""

    def die(self) -> None:
        """Make it die where it stands, and wait until it is dead: its locks go with it, not with its channel."""
        with suppress(ProcessLookupError, EOFError):  # it is dead already
            end = os.pidfd_open(self.pid)
            try:
                self.channel.send("die")
                select.select([end], [], [])
            finally:
                os.close(end)
        self.channel.close()

    def hear(self, *expected: str) -> list[Any]:
        """The next message, which must be one of these.

        Raises:
            Disagreement: it is another, or the process died by itself.
        """
        try:
            word, *rest = self.channel.receive()
        except EOFError:
            raise Disagreement("the process ended by itself") from None
        if word not in expected:
            what = described(Op(*rest[0])) if word == "op" else f"{word} {rest}"
            raise Disagreement(f"expected {' or '.join(expected)}, and the process said: {what}")
        return [word, *rest]


@dataclass(frozen=True)
class Confirmed:
    """What real processes have confirmed."""

    replays: int = 0
    kinds: int = 0
    """Kinds of edges: an operation with an outcome, a death before an operation, …"""
    deaths: int = 0
    left_out: int = 0
    """Histories with a deadlock, which real processes would have to time."""


def confirm(
    graph: Graph, tables: Tables, zygote: Zygote, histories: list[list[Step]], *, closed: bool
) -> Confirmed:
    """Carry out the histories, and, of a closed graph, at least one of every kind of edge.

    Raises:
        Disagreement: a real process did something else.
    """
    paths = [*histories, *(graph.representatives() if closed else ())]
    possible = [path for path in paths if not any(_is_deadlock(step) for step in path)]
    deaths = 0
    for path in possible:
        replay = Replay(tables, zygote, graph.initial.world)
        replay.run(path)
        deaths += replay.died
    kinds = len(graph.classes) if closed else 0
    return Confirmed(len(possible), kinds, deaths, len(paths) - len(possible))


def _is_deadlock(step: Step) -> bool:
    return step.outcome is not None and step.outcome.name == "blocked"


@dataclass
class _Live:
    """An attempt: where it is in the tables, and the process that runs it."""

    actor: int
    process: Process
    history: int
    opened: int = 0


@dataclass
class Replay:
    """One history, in the tables and in real processes at once."""

    tables: Tables
    zygote: Zygote
    world: int
    places: dict[str, str] = field(default_factory=dict)
    live: dict[int, _Live] = field(default_factory=dict)
    idle: list[Process] = field(default_factory=list)
    flying: list[int] = field(default_factory=list)
    made: list[Process] = field(default_factory=list)
    died: int = 0

    def run(self, steps: Iterable[Step]) -> None:
        """Carry the steps out.

        Raises:
            Disagreement: somebody asked, observed, or left behind something else.
        """
        databases = self._databases()
        parts = dict(
            zip(
                (one.name for one in self.tables.components),
                self.tables.worlds[self.world],
                strict=True,
            )
        )
        self.places = {one.name: one.twin(parts[one.name]) for one in databases}
        numbers: list[int] = []
        count = 0
        try:
            for step in steps:
                if step.action == "start":
                    count += 1
                    self._start(count, step)
                elif step.action in {"land", "expire"}:
                    self._by_itself(step)
                else:
                    self._go_on(numbers[step.slot], step)
                numbers = [count if before < 0 else numbers[before] for before in step.slots]
        finally:
            for process in [*self.made]:
                self._end(process)
        for one in databases:
            after = self.tables.worlds[self.world][self.tables.components.index(one)]
            if one.twin_differs(after):
                raise Disagreement(f"{one.name} is left with something else than the tables say")

    def _databases(self) -> list[Database]:
        return [one for one in self.tables.components if isinstance(one, Database)]

    def _end(self, process: Process) -> None:
        """Nothing of it is left afterwards: not itself, and not what a server still did for it."""
        self.made.remove(process)
        process.die()
        for database in self._databases():
            database.outlive(process.served.get(database.name, []))

    def _start(self, number: int, step: Step) -> None:
        process = next((one for one in self.idle if one.memory == step.memory), None)
        if step.memory and process is None and self.idle:
            process = self.idle[-1]  # another run numbers memories otherwise
        if process is not None and step.memory:
            self.idle.remove(process)
        else:
            process = self.zygote.process(self.places)
            self.made.append(process)
            while (message := process.hear("ready", "op"))[0] == "op":
                self._startup(process, Op(*tupled(message[1])))
        history = self.tables.begin(step.actor, process.memory)
        self.live[number] = _Live(step.actor, process, history)
        process.channel.send("attempt", step.actor, self.tables.uses_random)

    def _startup(self, process: Process, op: Op) -> None:
        """Start-up code runs in every process; it finds what the first one made."""
        part = self.tables.part(op)
        if not isinstance(part, Database):
            raise Disagreement(f"start-up code of a further process asks {described(op)!r}")
        process.channel.send("do")
        _, _, process.served = process.hear("seen")

    def _by_itself(self, step: Step) -> None:
        if step.action == "expire":
            lapses, expiries = self.tables.lapses(self.world), self.tables.expiries(self.world)
            self.world = lapses[step.told - 1][0] if step.told else expiries[0][0]
            for part in self._databases():
                part.moved(self.tables.worlds[self.world][self.tables.components.index(part)])
            return
        text = self.tables.ops[step.op].text if step.op >= 0 else step.word
        op = next(one for one in self.flying if self.tables.ops[one].text == text)
        self.flying.remove(op)
        self.world = self.tables.land(self.world, op)

    def _go_on(self, number: int, step: Step) -> None:
        mine = self.live[number]
        if step.action == "end":
            mine.process.hear("end")
            mine.process.memory = self.tables.following(
                mine.history, self.world, mine.opened
            ).memory
            self.idle.append(mine.process)
            del self.live[number]
            return
        _, message = mine.process.hear("op")
        op = self.tables.following(mine.history, self.world, mine.opened).op
        expected = None if op is None else self.tables.ops[op]
        if op is None or expected is None or _packed(message) != _packed(plain(expected)):
            what = "to end" if expected is None else repr(described(expected))
            raise Disagreement(
                f"the code was expected to ask {what}, and a real process asked {described(Op(*tupled(message)))!r}"
            )
        if step.action == "crash":
            if step.told == FORFEIT:
                self.world = self.tables.forfeited(self.world, mine.opened)
            self._kill(number, op if step.told and step.told != FORFEIT else None)
            return
        self._answer(number, mine, op, step)

    def _kill(self, number: int, sent: int | None) -> None:
        mine = self.live.pop(number)
        if sent is not None:
            self.flying.append(sent)
            self.world = self.tables.sent(self.world, sent, dead=True)
        self._end(mine.process)
        self.died += 1

    def _answer(self, number: int, mine: _Live, op: int, step: Step) -> None:
        assert step.outcome is not None
        others = tuple(
            sorted(one.opened for n, one in self.live.items() if n != number and one.opened)
        )
        branch = self._branch(op, mine, others, step.outcome.name)
        seen = self.tables.observations[branch.observation]
        channel, message = mine.process.channel, [seen.value, seen.error]
        database = isinstance(self.tables.part(self.tables.ops[op]), Database)
        outcome = branch.outcome
        if database and outcome.happens and not outcome.severs:
            channel.send("do")
            _, real, mine.process.served = mine.process.hear("seen")
            if _packed(real) != _packed(message):
                raise Disagreement(
                    f"{described(self.tables.ops[op])!r} observed {real!r} in a real process, and {message!r} in the tables"
                )
        elif database and outcome.severs:
            channel.send("sever" if outcome.happens else "cut", message)
            mine.process.hear("severed")
        else:
            channel.send("see", message)
        if outcome.late:
            self.flying.append(op)
        mine.history = self.tables.extend(mine.history, branch.observation)
        mine.opened = branch.opened
        self.world = branch.world

    def _branch(self, op: int, mine: _Live, others: tuple[int, ...], name: str) -> Branch:
        for branch in self.tables.branches(self.world, mine.opened, others, op):
            if branch.outcome.name == name:
                return branch
        raise Disagreement(f"{described(self.tables.ops[op])!r} cannot end as {name!r} here")


def _packed(message: object) -> bytes:
    return msgspec.msgpack.encode(message, enc_hook=repr, order="deterministic")
