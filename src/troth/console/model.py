"""The words of the console: who sits at it, and what may go wrong with a question. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from troth.base.errors import TrothError
from troth.command.acts import Role


@dataclass(frozen=True, slots=True)
class Operator:
    """Somebody at the console. *name* is what records of their acts say; *role* is what they may."""

    name: str
    role: Role


@dataclass(frozen=True, slots=True)
class Payload:
    """A payload that somebody wants to see, for `Console(redact=)`.

    *of*: in what it is kept, a run, a request, an event that came in, a message that goes out, or an object of a machine;
    *about*: which one. *run* and *workflow*: of what is in a run; None for others.

    *what*: which of its payloads it is. Of a run: input, outcome, detail, entry, message. Of a request: headers, body. Of
    an event: headers, body, conflict. Of a message: headers, payload, answer. Of an object: data. *path*: where it is
    further: the step, of an entry or a part of what the run stopped at; the source of an event, the attempt of an
    answer, the machine of an object and the entry of its history. *value*: decoded JSON; text, if another system sent
    what is none.
    """

    run: UUID | None
    workflow: str | None
    what: str
    path: str | None
    value: Any
    of: str = "run"
    about: str = ""


class NotSignedInError(TrothError):
    """Nobody knows who asks."""


class ForgedError(TrothError):
    """A POST that does not come from a page of this console."""


class TooLargeError(TrothError):
    """More was sent, or asked for, than there is room for."""


class TooSlowError(TrothError):
    """The database ended a question that took longer than the console allows."""

    def __init__(self, limit_s: float) -> None:
        super().__init__(f"this question took longer than {limit_s:g} s, and was ended")
        self.limit_s = limit_s


class BusyError(TrothError):
    """Somebody else has it in hand at this moment."""


class OutOfReachError(TrothError):
    """The database cannot be reached, or has no connection to spare."""
