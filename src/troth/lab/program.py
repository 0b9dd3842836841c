"""What a search asks: of the program, what happens and what comes of it; of the judge, what is promised."""

from __future__ import annotations

from typing import Protocol

from troth.lab.clients import Cast
from troth.lab.model import Branch, Next, State
from troth.lab.promise import Promise


class Program(Cast, Protocol):
    """The system under test, as the search sees it. Worlds, histories, operations and answers are numbers."""

    def begin(self, actor: int, memory: int) -> int:
        """The empty history of an attempt of this actor in a process with this memory."""
        ...

    def following(self, history: int, world: int, opened: int) -> Next:
        """What the code does after a history."""
        ...

    def branches(
        self, world: int, opened: int, others: tuple[int, ...], op: int
    ) -> tuple[Branch, ...]:
        """Every outcome of an operation, carried out; `others` is what other live attempts have open."""
        ...

    def local(self, op: int, opened: int) -> bool:
        """Whether the operation neither changes nor sees anything that others could."""
        ...

    def after(self, history: int, branch: Branch) -> tuple[int, int, bool]:
        """The history after one more observation, what is open then, and whether only the answer and the end can come.

        Histories of which that is true are one, if the answer and the memory are the same.
        """
        ...

    def sends_again(self, op: int) -> bool:
        """Whether who gets no answer to this operation sends the same again, and does nothing else: that is no error to survive."""
        ...

    def call(self, op: int) -> int:
        """Which call it is, whatever its parameters: to recognise a client that tries again."""
        ...

    def final(self, actor: int, told: int) -> bool:
        """Whether the actor, told this (0: nothing), asks no more."""
        ...

    def overlap(self, actor: int) -> int:
        """How many attempts of the actor may be alive at once."""
        ...

    def hears(self, told: int) -> frozenset[int]:
        """Which promises an answer speaks of."""
        ...

    def canonical(self, state: State) -> State:
        """The state by which all states that are like this one are known."""
        ...

    def refreshed(self, state: State, op: int) -> State:
        """The state before an operation that draws a number: numbers of which there is no trace may be drawn again."""
        ...

    def late(self, op: int) -> bool:
        """Whether the operation can take effect after its caller gave up."""
        ...

    def land(self, world: int, op: int) -> int:
        """The world after an effect that was under way."""
        ...

    def sent(self, world: int, op: int, *, dead: bool) -> int:
        """The world when an effect is under way whose caller has given up, or is dead."""
        ...

    def expiries(self, world: int) -> tuple[tuple[int, frozenset[int]], ...]:
        """The worlds in which something has expired, and which actors have given up by then."""
        ...

    def forfeited(self, world: int, opened: int) -> int:
        """The world when a worker dies whose supervisor lives, and takes what it was at work on for done."""
        ...

    def lapses(self, world: int) -> tuple[tuple[int, bool, frozenset[int]], ...]:
        """The worlds in which a key of a cache has run out, whether that can be while somebody is at work, and who has given up by then."""
        ...

    def grown(self, before: int, after: int) -> frozenset[str]:
        """Where the second world is the first and more."""
        ...

    def excluded(self, world: int) -> bool:
        """Whether the user bounded the search so that this world is outside."""
        ...


class Judging(Protocol):
    """The promises, as the search sees them."""

    promises: tuple[Promise, ...]

    def holds(self, promise: int, world: int) -> bool:
        """Whether it is true of the world."""
        ...

    def folds(self, world: int, previous: tuple[object, ...] | None = None) -> tuple[object, ...]:
        """The monitors' values after one more world."""
        ...

    def acceptable(self, promise: int, folds: tuple[object, ...]) -> bool:
        """Whether a monitor's value is acceptable."""
        ...
