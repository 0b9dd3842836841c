"""The document of a verdict, schema `troth.lab/1`: plain frozen data, described field by field in docs/lab/json.md.

A field is added with a default, and never changes its meaning; a change of meaning is a new schema.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from troth.lab.model import LabError

SCHEMA = "troth.lab/1"

Consequence = Literal[
    "kept", "in doubt", "litter", "half-done", "doubled", "lost", "stuck", "told a lie", "money", "broken", "unknown"
]  # fmt: skip
FAULTS = (
    "crash", "lost answer", "timeout", "error 500", "refused connection", "busy database", "deadlock",
    "lost connection", "lost commit answer", "late effect", "crash with an effect under way", "lost response", "impatient caller",
    "second caller", "key that has expired", "lost worker", "lost acknowledgement", "repeated delivery", "message out of order",
    "lost delivery", "second delivery", "delivery meanwhile", "second worker", "worker meanwhile",
)  # fmt: skip
"""Kinds of faults in the order in which they are shown; others come after them."""
Result = Literal["holds", "not broken", "breaks", "unchecked"]


class Site(msgspec.Struct, frozen=True):
    """A place in the code."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.function}"


class Entry(msgspec.Struct, frozen=True):
    """A step of a history: what really happened, and what the one who asked was told."""

    number: int
    attempt: int
    actor: str
    happened: str
    told: str = ""
    op: str = ""
    params: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    site: Site | None = None
    fault: str = ""
    irreversible: bool = False


class Need(msgspec.Struct, frozen=True):
    """Whether a history still breaks the promise without one of its faults."""

    step: int
    fault: str
    result: Literal["vanishes", "remains", "unchecked"]
    why: str = ""


class Twin(msgspec.Struct, frozen=True):
    """The same history without one fault, which is fine."""

    step: int
    without: str
    steps: tuple[Entry, ...]
    ending: str


class Check(msgspec.Struct, frozen=True):
    """What became of a promise when a remedy was put into the model and the search was made again."""

    applied: str
    result: Result
    why: str = ""
    states: int = 0
    within: str = ""
    together_with: tuple[str, ...] = ()
    then_breaks: tuple[str, ...] = ()


class Remedy(msgspec.Struct, frozen=True):
    """A class of remedies, why it is proposed, and what its check said."""

    kind: str
    advice: str
    because: str
    confidence: Literal["certain", "likely", "possible"]
    steps: tuple[int, ...] = ()
    sites: tuple[Site, ...] = ()
    check: Check = Check("", "unchecked")


class Replay(msgspec.Struct, frozen=True):
    """How to see it again."""

    command: str
    pytest: str


class Counterexample(msgspec.Struct, frozen=True):
    """The smallest history that breaks a promise."""

    id: str
    promise: str
    severity: str
    costs: str
    fails: bool
    enough: str
    faults: tuple[str, ...]
    steps: tuple[Entry, ...]
    world: tuple[str, ...]
    stuck: bool
    needs: tuple[Need, ...] = ()
    twin: Twin | None = None
    assumptions: tuple[str, ...] = ()
    remedies: tuple[Remedy, ...] = ()
    similar_sites: tuple[Site, ...] = ()
    confirmed: bool | None = None
    replay: Replay = Replay("", "")


class Cell(msgspec.Struct, frozen=True):
    """What one fault at one step leads to, when nothing else fails and the caller asks again as it would."""

    fault: str
    consequence: Consequence
    severity: str = ""
    costs: str = ""
    promises: tuple[str, ...] = ()
    detail: str = ""
    told: str = ""


class Row(msgspec.Struct, frozen=True):
    """A step of the run in which nothing fails, and what a fault there leads to."""

    actor: str
    op: str
    site: Site | None = None
    cells: tuple[Cell, ...] = ()


class Map(msgspec.Struct, frozen=True):
    """The consequence map: steps × faults."""

    rows: tuple[Row, ...] = ()
    clean: str = ""
    partial: str = ""

    def faults(self) -> tuple[str, ...]:
        """The columns."""
        return tuple(sorted({cell.fault for row in self.rows for cell in row.cells}, key=column))


class Promised(msgspec.Struct, frozen=True):
    """A promise, and what became of it."""

    kind: str
    name: str
    severity: str
    status: int = 0
    costs: str = ""
    digest: str = ""
    result: Literal["kept", "broken", "open"] = "open"


class Bounds(msgspec.Struct, frozen=True):
    """How far the search was asked to go."""

    survived: int = 0
    overlap: int = 0
    in_flight: int = 0
    expiry: bool = False
    budget_s: float = 0.0


class Excuse(msgspec.Struct, frozen=True):
    """Something that the test accepts, ignores or bounds, and why."""

    kind: str
    what: str
    because: str = ""


class Acting(msgspec.Struct, frozen=True):
    """Somebody who asks: what, how many of its attempts may be alive, and for how long it asks again (None: for ever)."""

    label: str
    overlap: int = 1
    within_s: float | None = None


class Asked(msgspec.Struct, frozen=True):
    """What the test asked for. Two verdicts can be compared only as far as they were asked the same."""

    actors: tuple[Acting, ...] = ()
    promises: tuple[Promised, ...] = ()
    excuses: tuple[Excuse, ...] = ()
    bounds: Bounds = Bounds()


class Numbers(msgspec.Struct, frozen=True):
    """What the search did. `runs`: real executions of the code; `repeated`: second executions that compare; `first_s`: seconds of search until the
    first violation.
    """

    states: int = 0
    steps: int = 0
    histories: int = 0
    worlds: int = 0
    runs: int = 0
    repeated: int = 0
    effects: int = 0
    seconds: float = 0.0
    first_s: float | None = None


class Document(msgspec.Struct, frozen=True):
    """A verdict, whole."""

    schema: str
    id: str
    scenario: str
    verdict: str
    summary: str
    closed: bool
    test: str = ""
    made: str = ""
    reason: str = ""
    assumptions: tuple[str, ...] = ()
    unexplored: tuple[str, ...] = ()
    confirmed: str = ""
    open_because: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    weakened: tuple[str, ...] = ()
    asked: Asked = Asked()
    counterexamples: tuple[Counterexample, ...] = ()
    map: Map | None = None
    numbers: Numbers = Numbers()

    @property
    def key(self) -> str:
        """By what verdicts of the same scenario are known: the test's id, or the scenario's name."""
        return self.test or self.scenario

    @property
    def failing(self) -> tuple[Counterexample, ...]:
        """The counterexamples that fail a test."""
        return tuple(one for one in self.counterexamples if one.fails)


def column(fault: str) -> tuple[int, str]:
    """Where a kind of fault is shown among others."""
    return (FAULTS.index(fault) if fault in FAULTS else len(FAULTS), fault)


def encode(document: Document) -> bytes:
    """The document as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def decode(data: bytes, name: str = "the file") -> Document:
    """A document from its JSON.

    Raises:
        LabError: it is not one, or of a schema that this version does not know.
    """
    try:
        schema = msgspec.json.decode(data, type=_Schema).schema
        if schema != SCHEMA:
            raise LabError(
                f"{name} has the schema {schema!r}; this version of troth reads {SCHEMA!r}"
            )
        return msgspec.json.decode(data, type=Document)
    except msgspec.DecodeError as error:  # ValidationError, too
        raise LabError(f"{name} is no verdict of the lab: {error}") from error


class _Schema(msgspec.Struct):
    schema: str


def structs() -> Iterator[type[msgspec.Struct]]:
    """Every structure of the document, from the outside in."""
    seen: dict[type[msgspec.Struct], None] = {}
    frontier: list[type[msgspec.Struct]] = [Document]
    while frontier:
        one = frontier.pop(0)
        if one not in seen:
            seen[one] = None
            frontier += [
                part for field in msgspec.structs.fields(one) for part in _parts(field.type)
            ]
    yield from seen


def _parts(annotation: object) -> Iterator[type[msgspec.Struct]]:
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from _parts(argument)
