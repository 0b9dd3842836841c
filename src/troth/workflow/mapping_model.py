"""What a mapping (`troth.map`) takes and gives, and what travels between its runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import msgspec

from troth.base.errors import TrothError

T = TypeVar("T")
C = TypeVar("C")
R = TypeVar("R")

FAILURES_TOLD = 100


class MapError(TrothError):
    """An item of a `troth.map` has failed, and so the mapping has. A business answer, as that of a child.

    `number` is the item's (from 0), `key` its key, `error_type` and `message` say what its run failed with.
    """

    def __init__(self, workflow: str, failure: Failure) -> None:
        key = f" (key {failure.key!r})" if failure.key is not None else ""
        super().__init__(
            f"item {failure.number}{key} of {workflow}: {failure.error_type}: {failure.message}"
        )
        self.number = failure.number
        self.key = failure.key
        self.error_type = failure.error_type
        self.message = failure.message


class Page(msgspec.Struct, Generic[T, C], frozen=True):
    """Some of the items, and where the next ones are: a cursor, or None after the last page.

    *keys*: one start key for each item, in the same order; None: the items have none.
    """

    items: list[T]
    next: C | None = None
    keys: list[str] | None = None


class Failure(msgspec.Struct, frozen=True):
    """An item that failed: its number (from 0), its key, and what its run said."""

    number: int
    key: str | None
    error_type: str
    message: str


@dataclass(frozen=True, slots=True)
class Mapped(Generic[R]):
    """What became of a mapping. *failures* tells the first 100; *results*, if asked for: of what was done, in order."""

    total: int
    done: int
    failed: int
    failures: list[Failure] = field(default_factory=list)
    results: list[R] = field(default_factory=list)


# What travels between the runs ------------------------------------------------------------------------------------------


class Plan(msgspec.Struct, frozen=True):
    """What is to be done with every item. *origin*: the call of `troth.map`. *keep*: bring the results home."""

    origin: str
    workflow: str
    concurrency: int
    stop: bool
    keep: bool
    partition: str | None
    priority: int | None
    pages: str | None = None  # the step that gives them


class Item(msgspec.Struct, frozen=True, array_like=True):
    """The arguments of one run, as they are stored, and its key."""

    arguments: msgspec.Raw
    key: str | None


class Result(msgspec.Struct, frozen=True, array_like=True):
    """What the run of an item returned. *own*: it was started by this mapping, and not found by its key."""

    number: int
    value: msgspec.Raw
    own: bool


class Tally(msgspec.Struct, frozen=True):
    """How many, and what is worth telling of them."""

    done: int = 0
    failed: int = 0
    failures: list[Failure] = []
    results: list[Result] = []

    def __add__(self, other: Tally) -> Tally:
        first = sorted([*self.failures, *other.failures], key=lambda failure: failure.number)
        return Tally(
            self.done + other.done,
            self.failed + other.failed,
            first[:FAILURES_TOLD],
            self.results + other.results,
        )

    @property
    def total(self) -> int:
        """Items that have come to an end."""
        return self.done + self.failed


class Turn(msgspec.Struct, frozen=True):
    """What became of one page, and where the next one is, as JSON of the step's cursor."""

    tally: Tally
    next: Any
