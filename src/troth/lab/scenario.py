"""What a test has described, as data: a world, actors, promises, and what it said about its limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from troth.lab.database import Database
from troth.lab.mailbox import Mailbox
from troth.lab.model import Answer, LabError
from troth.lab.promise import Promise
from troth.lab.provider import Provider
from troth.lab.queue import Queue
from troth.lab.redis import Redis
from troth.lab.tables import Actor


@dataclass
class Scenario:
    """Filled by `Lab`, read by `proof`."""

    name: str
    databases: list[Database] = field(default_factory=list)
    migrations: list[Callable[[], object]] = field(default_factory=list)
    providers: list[Provider] = field(default_factory=list)
    mailbox: Mailbox | None = None
    queues: list[Queue] = field(default_factory=list)
    redis: Redis | None = None
    actors: list[Actor] = field(default_factory=list)
    promises: list[Promise] = field(default_factory=list)
    accepted: list[tuple[str, Mailbox, str]] = field(default_factory=list)
    """(what, in which sink, because)."""
    bounds: dict[str, int] = field(default_factory=dict)
    ignored: list[tuple[str, str, str]] = field(default_factory=list)
    """(column, memory or path; which; because)."""

    hidden: set[str] = field(default_factory=set)
    """Names of fields whose values no report shows."""
    closer: float = 10.0
    """Seconds for a closer look at what was found."""
    test: str = ""

    def components(self) -> tuple[Database | Provider | Queue | Mailbox | Redis, ...]:
        """The parts of the world, in a fixed order."""
        sinks = [one for one in (self.mailbox, self.redis) if one is not None]
        return (*self.databases, *self.providers, *self.queues, *sinks)

    def apps(self) -> list[Any]:
        """Each ASGI application once."""
        apps = [getattr(actor.call, "app", None) for actor in self.actors]
        return list({id(app): app for app in apps if app is not None}.values())

    def ignoring(self, kind: str) -> set[str]:
        """What is left out of the state."""
        return {which for of, which, _ in self.ignored if of == kind}

    def hears(self, answer: Answer) -> frozenset[int]:
        """Which promises speak of an answer."""
        return frozenset(
            number
            for number, promise in enumerate(self.promises)
            if promise.kind == "told" and promise.hears(answer)
        )

    def check(self) -> None:
        """Whether it can be explored at all.

        Raises:
            LabError: something is missing or named twice.
        """
        if not self.actors:
            raise LabError("nobody does anything: add lab.user(request), lab.workers(), …")
        if not self.promises:
            raise LabError("nothing is promised: add lab.always(), told(), at_rest(), …")
        names = [part.name for part in self.components()]
        if len(set(names)) < len(names):
            raise LabError(f"two things of the world have one name: {', '.join(sorted(names))}")
