"""What must be true: the promises of a scenario, as data, and how a world is judged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from troth.lab.model import Answer, LabError
from troth.lab.world import View, Worlds

Severity = Literal["money", "lie", "stuck", "lost", "doubled", "litter", "repeat"]
SEVERITIES: tuple[Severity, ...] = ("money", "lie", "stuck", "lost", "doubled", "litter", "repeat")
FAILING: tuple[Severity, ...] = ("money", "lie", "stuck", "lost")
"""Which of them fail a test by default."""

Holds = Callable[[View], object]


class Promise(msgspec.Struct, frozen=True):
    """Something that must be true.

    `always`: in every state. `told`: from when a caller heard such an answer, whenever nobody is at work. `at_rest`: when every caller
    has a final answer. `eventually`: from every state, when nothing fails any more, a state at rest where it is true can still be reached.
    `monitor`: a fold over the worlds of a history whose value stays acceptable.
    """

    kind: Literal["always", "told", "at_rest", "eventually", "monitor"]
    name: str
    holds: Callable[[object], object]
    severity: Severity
    costs: str = ""
    status: int = 0
    initial: object = None
    step: Callable[[object, View], object] | None = None

    @property
    def title(self) -> str:
        """The promise as a sentence."""
        return f"told {self.status}: {self.name}" if self.kind == "told" else self.name

    def hears(self, answer: Answer) -> bool:
        """Whether this answer is one that the promise is about. A status of 2 stands for every 2xx."""
        return self.status in {answer.status, answer.status // 100}


class Judge:
    """Asks the promises about worlds, each once."""

    def __init__(self, promises: tuple[Promise, ...], worlds: Worlds) -> None:
        self.promises = promises
        self._worlds = worlds
        self._known: dict[tuple[int, int], bool] = {}

    def holds(self, promise: int, world: int) -> bool:
        """Whether the promise is true of the world.

        Raises:
            LabError: the promise itself failed.
        """
        if (promise, world) not in self._known:
            self._known[promise, world] = self._ask(promise, self._worlds.view(world))
        return self._known[promise, world]

    def _ask(self, promise: int, subject: object) -> bool:
        asked = self.promises[promise]
        try:
            return bool(asked.holds(subject))
        except LabError:
            raise
        except Exception as error:
            raise LabError(
                f"the promise {asked.title!r} raised {type(error).__name__}: {error}"
            ) from error

    def folds(self, world: int, previous: tuple[object, ...] | None = None) -> tuple[object, ...]:
        """The values of all monitors after one more world."""
        monitors = [promise for promise in self.promises if promise.kind == "monitor"]
        values = previous or tuple(monitor.initial for monitor in monitors)
        view = self._worlds.view(world)
        return tuple(
            monitor.step(value, view) if monitor.step else value
            for monitor, value in zip(monitors, values, strict=True)
        )

    def acceptable(self, promise: int, folds: tuple[object, ...]) -> bool:
        """Whether a monitor's value is one that it may have."""
        monitors = [index for index, one in enumerate(self.promises) if one.kind == "monitor"]
        return self._ask(promise, folds[monitors.index(promise)])
