"""The words of access: principals, resources, decisions, and what can go wrong. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from troth.base.errors import TrothError, UsageError


class AccessError(TrothError):
    """The root of what this room raises for somebody who may not, or is not who they say."""


class NotAuthenticatedError(AccessError):
    """No valid session or key: log in again (HTTP 401). It does not say whether there ever was one."""


class WrongCredentialsError(AccessError):
    """The address is unknown, the password is wrong, or the person is disabled: on purpose, nobody is told which."""


class TooManyAttemptsError(AccessError):
    """No log-in is tried for this address or from this client for *retry_after_s* seconds (HTTP 429)."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"too many failed log-ins: try again in {max(1, round(retry_after_s))} s")
        self.retry_after_s = retry_after_s


class EmailTakenError(AccessError):
    """Another person has this address."""


class PasswordRefusedError(AccessError):
    """The password is too short or too long; the message can be shown to the person who chose it."""


class PolicyError(UsageError):
    """The policies or their schema are wrong: the program must not start with them."""


class UnprotectedError(TrothError):
    """Tenants are not isolated as they should be; the message lists where."""


class Denied(AccessError):
    """The policies do not allow it (HTTP 403). *decision* is what is to be recorded: see `recording_denials`."""

    def __init__(self, decision: Decision) -> None:
        super().__init__(
            f"{decision.principal.ref} may not {decision.action} {decision.resource.ref} ({decision.because}); "
            f"to learn why: troth access why {decision.id}"
        )
        self.decision = decision


@dataclass(frozen=True, slots=True)
class Ref:
    """The name of an entity: its type (the namespace is added if it has none) and id."""

    type: str
    id: str

    def __str__(self) -> str:
        return f"{self.type}::{self.id}"


@dataclass(frozen=True, slots=True)
class Resource:
    """What is acted on. *attributes* may hold str, int, bool, `Ref`, Decimal, datetime, UUID, lists and dicts of these.

    A None is left out, so that a policy can ask with `has`. *parents*: the entities that it is in.
    """

    type: str
    id: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    parents: Sequence[Ref] = ()

    @property
    def ref(self) -> Ref:
        return Ref(self.type, self.id)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who acts: a person or a machine that has proved it.

    *attributes* are Cedar's JSON. *scopes*: the actions that an API key is limited to; None for a person.
    """

    type: str
    id: str
    tenant: str | None = None
    groups: tuple[str, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    scopes: tuple[str, ...] | None = None
    owner: str | None = None
    session: UUID | None = None

    @property
    def ref(self) -> Ref:
        return Ref(self.type, self.id)


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """A session has begun. *token* is shown here once, and is kept nowhere; *expires_at* in seconds since 1970."""

    token: str = field(repr=False)
    principal: Principal
    expires_at: float


@dataclass(frozen=True, slots=True)
class NewKey:
    """A new API key. *key* is shown here once, and is kept nowhere; *prefix* names it from now on."""

    key: str = field(repr=False)
    prefix: str
    machine: UUID
    scopes: tuple[str, ...]


class Because(StrEnum):
    """What a decision rests on; all but the first are a no."""

    PERMIT = "permit"
    FORBID = "forbid"
    DEFAULT = "default"  # nothing permits it
    SCOPE = "scope"  # the API key is not for it
    ERROR = "error"  # a policy could not be evaluated, or the request does not fit the schema


@dataclass(frozen=True, slots=True)
class Decision:
    """An answer of the policies, and what it rests on. *inputs* are as they are recorded: without what is private."""

    id: UUID
    principal: Principal
    action: str
    resource: Resource
    because: Because
    policies: tuple[str, ...]
    errors: tuple[str, ...]
    inputs: bytes
    digest: bytes
    policy_set: bytes

    @property
    def allowed(self) -> bool:
        return self.because is Because.PERMIT


@dataclass(frozen=True, slots=True)
class Recorded:
    """A decision as it stands in the database, with the policies of its time (None: they were never kept)."""

    id: UUID
    at: datetime
    principal: Ref
    action: str
    resource: Ref
    because: Because
    policies: tuple[str, ...]
    errors: tuple[str, ...]
    inputs: bytes
    digest: bytes
    policy_text: str | None
    schema_text: str | None


@dataclass(frozen=True, slots=True)
class SessionRules:
    """A session ends when nobody was seen for *idle* (to the minute), and after *lifetime* in any case."""

    idle: timedelta = timedelta(hours=12)
    lifetime: timedelta = timedelta(days=14)

    def __post_init__(self) -> None:
        if self.idle < timedelta(minutes=2) or self.lifetime < self.idle:
            msg = "a session's idle time is at least two minutes (it is kept to the minute) and at most its lifetime"
            raise UsageError(msg)


@dataclass(frozen=True, slots=True)
class Limit:
    """The *free*-th failed attempt and each one after it is followed by a pause: *first*, then twice as long each time, up
    to *cap*. A failure is forgotten after *leak*, one after the other.
    """

    free: int
    first: timedelta = timedelta(seconds=1)
    cap: timedelta = timedelta(minutes=15)
    leak: timedelta = timedelta(minutes=15)

    def __post_init__(self) -> None:
        shortest = min(self.first, self.cap, self.leak)
        if self.free < 1 or shortest <= timedelta(0) or self.leak > timedelta(days=1):
            msg = "a limit allows at least one attempt; its times are longer than nothing, and leak is at most a day"
            raise UsageError(msg)


@dataclass(frozen=True, slots=True)
class Throttle:
    """How many log-ins may fail before there are pauses.

    *pair*: for one address from one client. *client*: from one client, for whatever addresses; offices share one.
    *address*: for one address from all clients; it does not hold for clients from which its owner has logged in.
    """

    pair: Limit = Limit(5)
    client: Limit = Limit(20, leak=timedelta(minutes=3))
    address: Limit = Limit(50, cap=timedelta(minutes=1))
