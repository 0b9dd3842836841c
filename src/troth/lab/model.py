"""The words of the lab as plain data: operations, observations, answers, and the search's states and steps.

Everything here is immutable and comparable by value, because everything here is a key of some table.
"""

from __future__ import annotations

from typing import Any, Generic, Literal, NamedTuple, TypeVar

import msgspec

from troth.base.errors import UsageError

Kind = Literal[
    "connect", "setting", "sql", "commit", "rollback", "close", "held",  # a database
    "call",  # a function of a database's, with all that it does
    "http",  # a provider
    "mail",  # a sink
    "publish", "receive", "ack",  # a queue; events of a provider are received, too
    "redis",  # a cache, a lock
    "clock", "draw",  # what the process takes from its surroundings
    "order",  # which of its threads comes first
    "answer",  # the response to the caller
]  # fmt: skip


class LabError(UsageError):
    """The test that uses the lab is wrong, or asks for something that the lab cannot do."""


class Refused(Exception):
    """The lab cannot speak about this code; the message says why."""


class Op(msgspec.Struct, frozen=True):
    """What the code asks of the world: one call at the boundary.

    `target` names the database or provider; `handle` counts the connections of one attempt from 1; `params` is plain data.
    """

    kind: Kind
    target: str = ""
    text: str = ""
    params: Any = ()
    handle: int = 0


class Observation(msgspec.Struct, frozen=True):
    """What the code gets back: a plain value, or, when `error` is not empty, the name of what is raised and its arguments."""

    value: Any = None
    error: str = ""


class Answer(msgspec.Struct, frozen=True):
    """What a caller was told. `again=` predicates get it, or None when no answer came."""

    status: int
    body: bytes = b""

    def json(self) -> object:
        """The body, decoded.

        Raises:
            msgspec.DecodeError: the body is not JSON.
        """
        return msgspec.json.decode(self.body)


class Outcome(msgspec.Struct, frozen=True):
    """One way in which an operation can end: what happened, and what the one who asked was told.

    `observation` is None when the world itself answers; `persists` marks a fault that outlasts a client's own retries.
    """

    name: str
    happens: bool
    told: Literal["answer", "error", "nothing"]
    observation: Observation | None = None
    cost: int = 0
    survived: bool = False
    word: str = ""
    """What a report counts it as: "One lost answer is enough"."""
    severs: bool = False
    """The connection is lost with it, and what it had open is rolled back."""
    late: bool = False
    """The one who asked is told an error, and the effect is still under way."""


class Branch(NamedTuple):
    """An operation with one outcome, carried out: the world after it and what was observed. All ids."""

    outcome: Outcome
    world: int
    opened: int
    observation: int
    told: int = 0
    """0, or 1 + the id of the answer that reached the caller."""
    blockers: frozenset[int] = frozenset()
    """If it has to wait: what the transactions that it waits for have open."""


class Next(NamedTuple):
    """What the code does after a local history: another operation, or the end of the attempt."""

    op: int | None
    memory: int = 0


class Attempt(NamedTuple):
    """A live execution of a handler: who asked, its local history, its open transactions, and the faults it survived."""

    actor: int
    history: int
    opened: int = 0
    survived: int = 0
    failing: tuple[int, ...] = ()
    """(call, observation) of the fault that was met last, while the client keeps trying the same call."""
    streak: int = 0
    told: int = 0
    left: bool = False
    """Whether its caller has given up waiting and asked again."""


class State(NamedTuple):
    """Everything that decides what can happen next. Small ids only."""

    world: int
    attempts: tuple[Attempt, ...]
    """Those that are alive, sorted: two that are in the same place are alike."""
    idle: tuple[int, ...]
    """What each warm process remembers that is not at work, sorted. One that remembers nothing is as good as a fresh one."""
    clients: tuple[int, ...]
    """Per actor: NEW (has not asked yet), ASKING (has no final answer), DONE, GONE (gave up without one), ALONE (`clients`)."""
    heard: frozenset[int]
    """Which `told` promises have been spoken to a caller."""
    folds: tuple[object, ...]
    flying: tuple[int, ...] = ()
    """Effects under way whose callers have given up, sorted: each may land at any time."""

    @property
    def quiet(self) -> bool:
        """Whether nobody is at work and nothing is under way."""
        return not self.attempts and not self.flying


NEW, ASKING, DONE, GONE, ALONE = range(5)


class Step(NamedTuple):
    """An edge of the graph, with what a report needs to tell it."""

    action: Literal["start", "op", "crash", "end", "land", "expire"]
    actor: int = -1
    history: int = -1
    op: int = -1
    outcome: Outcome | None = None
    before: int = 0
    after: int = 0
    observation: int = -1
    told: int = 0
    memory: int = 0
    cost: int = 0
    word: str = ""
    """What a report counts it as, if it costs something."""
    slot: int = -1
    """Which of the live attempts it belongs to."""
    slots: tuple[int, ...] = ()
    """Where each attempt that is alive afterwards was before; -1 for a new one."""


_encode = msgspec.msgpack.Encoder(order="deterministic").encode
T = TypeVar("T")


def tupled(value: Any) -> Any:
    """Plain data as operations and observations have it: encodings know lists only."""
    return tuple(map(tupled, value)) if isinstance(value, list) else value


class Interned(Generic[T]):
    """Hash-consing by the encoded value: 1, 1.0 and True are three different things here."""

    def __init__(self) -> None:
        self._ids: dict[bytes, int] = {}
        self._values: list[T] = []

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, number: int) -> T:
        return self._values[number]

    def add(self, value: T) -> int:
        """The id of the value; equal values have equal ids."""
        number = self._ids.setdefault(_encode(value), len(self._values))
        if number == len(self._values):
            self._values.append(value)
        return number


class Record(dict[str, Any]):
    """A row or a provider's object: `row.email` and `row["email"]` are the same."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"no column {name!r}; there are {', '.join(self)}") from None
