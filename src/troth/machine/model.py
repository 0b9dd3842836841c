"""The words of machines: transitions, what a guard is told, what firing answers, what history says. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from troth.base.errors import TrothError

Guard: TypeAlias = "Callable[[Firing], str | None]"


@dataclass(frozen=True, slots=True)
class Transition:
    """An *event* leads from any of the states *from_* to the state *to*.

    *guard* is told what is about to happen and returns None, or the reason why not. It is pure: no I/O, no clock; it may
    be asked about a firing that turns out to be a repetition.
    """

    event: str
    from_: str | Collection[str]
    to: str
    guard: Guard | None = None


@dataclass(frozen=True, slots=True)
class Firing:
    """What a guard is told. *since*: when the object came into *state*; *now*: the database's time."""

    machine: str
    id: str
    event: str
    state: str
    to: str
    version: int | None
    since: datetime
    now: datetime
    cause: str
    by: str | None
    data: Any


@dataclass(frozen=True, slots=True)
class Declaration:
    """A machine as it was declared, found to be sound.

    *moves*: for each state the events that are legal there, with where they lead. *guards*: by (state, event).
    """

    name: str
    initial: str
    states: tuple[str, ...]
    final: frozenset[str]
    moves: Mapping[str, Mapping[str, str]]
    guards: Mapping[tuple[str, str], Guard]

    @property
    def events(self) -> tuple[str, ...]:
        """All events, in the order of the declaration."""
        return tuple(dict.fromkeys(event for legal in self.moves.values() for event in legal))


@dataclass(frozen=True, slots=True)
class Fired:
    """What creating, firing or observing has come to.

    *from_state*: None if there was no object. *state*: the state after it. *repeated*: this cause was here before, and all
    else is what was answered then. *superseded*: a later version was known, so only history has changed. *path*: the
    events that an observation stands for. *seq*: its number in the object's history. *version*: that it brought.
    """

    id: str
    from_state: str | None
    state: str
    seq: int
    version: int | None
    at: datetime
    repeated: bool
    superseded: bool
    path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an object stands. *version*: the greatest that was brought. *since*: when it came into its state."""

    id: str
    state: str
    version: int | None
    seq: int
    since: datetime


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of an object's history. Neither *event* nor *observed*: it was created by it."""

    seq: int
    event: str | None
    observed: str | None
    from_state: str | None
    to_state: str
    path: tuple[str, ...]
    superseded: bool
    version: int | None
    cause: str
    by: str | None
    why: str | None
    data: Any
    at: datetime


class IllegalTransitionError(TrothError):
    """The event, or the observed state, does not fit the state that the object is in. Nothing was written.

    *legal* are the events that lead on from *state*. *wanted* is the event, or the state that was observed.
    """

    def __init__(
        self, message: str, *, machine: str, object_id: str, state: str, wanted: str, legal: tuple[str, ...]
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.machine = machine
        self.object_id = object_id
        self.state = state
        self.wanted = wanted
        self.legal = legal


class EarlyEventError(IllegalTransitionError):
    """The event is illegal now, but there is a way to a state in which it is legal: another may be missing before it."""


class GuardRefusedError(IllegalTransitionError):
    """The transition is legal, and its guard says no; *reason* is what it said."""

    reason = ""


class CauseConflictError(TrothError):
    """The cause is recorded for something else on this object: two things were given one cause. Nothing was written."""


class UnknownObjectError(TrothError):
    """The machine has no object with this id. Create it first, or let `observe` create it."""


class ObjectExistsError(TrothError):
    """The object was created already, by another cause. Nothing was written."""
