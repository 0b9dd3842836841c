"""Before the first fault: seeds, migrations and the application's start-up code make the first world."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from troth.lab.database import Database
from troth.lab.edge.attempt import Attempt, escaped
from troth.lab.model import Observation, Op, Refused
from troth.lab.parts import Issued, Part
from troth.lab.request import Lifespan, Stage, called


class _Fair:
    """A world in which everything works and is done at once."""

    def __init__(self, components: tuple[Part, ...]) -> None:
        self._components = components
        self._names = {component.name: index for index, component in enumerate(components)}
        self.parts = [component.initial() for component in components]
        self._opened: tuple[Op, ...] = ()

    def respond(self, op: Op, site: str) -> Observation:
        del site
        if op.kind in {"clock", "draw"}:
            raise Refused(
                "start-up code uses the clock or random values; give the beginning by lab.database(seed=…)"
            )
        index = self._names[op.target]
        component = self._components[index]
        assert not isinstance(component, Issued)
        if not isinstance(component, Database):
            self.parts[index], observation = component.perform(self.parts[index], op)
            return observation
        mine = tuple(one for one in self._opened if one.target == op.target)
        done = component.perform(self.parts[index], mine, (), op)
        self.parts[index] = done.part
        self._opened = (*(one for one in self._opened if one.target != op.target), *done.opened)
        return done.observation


@contextmanager
def beginning(
    components: tuple[Part, ...],
    migrations: list[Callable[[], object]],
    apps: list[Callable[..., Awaitable[None]]],
    stage: Stage,
) -> Iterator[tuple[bytes, ...]]:
    """The first world; the applications are started while the context lasts.

    Raises:
        Refused: start-up code did what the lab cannot follow.
    """
    fair = _Fair(components)

    def run(call: Callable[[Attempt], Any], *, leaves_tasks: bool = False) -> None:
        attempt = Attempt(fair.respond, ordered=False)
        stage.run(attempt, call, leaves_tasks=leaves_tasks)
        if reason := attempt.refused or next(iter(escaped), None):
            raise Refused(f"before the first request: {reason}")

    for migrate in migrations:
        run(_calling(migrate))
    lives = [Lifespan(app) for app in apps]
    for life in lives:
        run(life.start, leaves_tasks=True)
    try:
        yield tuple(fair.parts)
    finally:
        for life in lives:
            run(life.stop)


def _calling(function: Callable[[], object]) -> Callable[[Attempt], Any]:
    async def call(attempt: Attempt) -> None:
        await called(attempt, function)

    return call
