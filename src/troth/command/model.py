"""The words of people's acts: who acts, what they found out, and what is to become of a run. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias

from troth.base.errors import TrothError
from troth.command.acts import Role
from troth.journal.model import Reason

Via: TypeAlias = Literal["cli", "console", "program"]


class NotInAttentionError(TrothError):
    """The run does not wait for a person (any more)."""


class DisagreementError(TrothError):
    """Somebody else has found out the opposite, or the same person has said it before: two must agree."""


class ClaimedError(TrothError):
    """Somebody else looks after this run already."""


@dataclass(frozen=True, slots=True)
class Author:
    """Who acts, and why: the evidence of a finding, the note of any other act.

    *role*: what they may. Whoever has the database's password is an ADMIN, so the command line says so. *via*: from where.
    """

    by: str
    note: str | None = None
    role: Role = Role.ADMIN
    via: Via = "cli"


class NotAllowedError(TrothError):
    """The author's role is not enough for the act. `recording_refusals` records it, around the transaction.

    *details* are without what may be confidential.
    """

    def __init__(
        self, author: Author, act: str, about: str, details: Mapping[str, Any], least: Role
    ) -> None:
        super().__init__(
            f"{author.by} may not {act} ({about}): that needs the role {least.word}, and theirs is {author.role.word}"
        )
        self.author = author
        self.act = act
        self.about = about
        self.details = details
        self.least = least


@dataclass(frozen=True, slots=True)
class Proposed:
    """The act has not happened: it waits for a second person, who does the same act with the same content.

    *until*: if nobody has by then, it is void. *id*: what `act.withdraw` is about.
    """

    id: int
    act: str
    about: str
    by: str
    until: datetime


@dataclass(frozen=True, slots=True)
class Happened:
    """A person found out that the effect took place; *value* is its result, as JSON."""

    value: bytes


@dataclass(frozen=True, slots=True)
class DidNotHappen:
    """A person found out that the effect did not take place and cannot any more: it may be sent again."""


Finding = Happened | DidNotHappen


@dataclass(frozen=True, slots=True)
class Proposal:
    """A finding that waits for a second person."""

    finding: Finding
    author: Author


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of a finding: of the effect at *path*, by the people *agreed*, of whom *needed* must be."""

    path: str
    reason: Reason
    agreed: tuple[str, ...]
    needed: int

    @property
    def settled(self) -> bool:
        """The run goes on; if not, another person must agree first."""
        return len(self.agreed) >= self.needed


@dataclass(frozen=True, slots=True)
class Standing:
    """How a run in attention stands. *detail* is what it was parked with, *now_s* the database's time in seconds."""

    reason: Reason
    detail: dict[str, Any]
    now_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Rewind:
    """What going back to before the answer of *path* means for each answer that was recorded, as paths, in order.

    *kept*: stays as it is. *settled_anew*: effects, which are not blindly repeated: their provider's memory of the key,
    their probe or a person tells what became of them. *sent_anew*: effects that were refused, so they did not happen.
    *run_again*: steps and transactions, of which the journal cannot tell one from the other. *waited_anew*: sleeps and
    messages. The answers at *seq* to *last* in the order of deliveries do not count any more.
    """

    path: str
    seq: int
    last: int
    kept: tuple[str, ...]
    settled_anew: tuple[str, ...]
    sent_anew: tuple[str, ...]
    run_again: tuple[str, ...]
    waited_anew: tuple[str, ...]
