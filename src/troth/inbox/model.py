"""The words of events: what came, how it stands, what a handler may say. No I/O."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, Literal, TypeAlias

from troth.base import codec
from troth.base.backoff import Retry
from troth.base.errors import TrothError
from troth.store.tx import Tx

FoundBy: TypeAlias = Literal["webhook", "sweep"]


class State(StrEnum):
    """How an event stands."""

    RECEIVED = "received"  # to be applied, also after a failure
    PARKED = "parked"  # it came too early, and is tried again
    APPLIED = "applied"
    SUPERSEDED = "superseded"  # something newer had been applied already
    IGNORED = "ignored"  # nobody handles this type
    QUARANTINED = "quarantined"  # its handler failed too often: a person decides


class RefusedDeliveryError(TrothError):
    """A delivery was not taken in, and nothing is stored. *status*: what to answer over HTTP."""

    status: ClassVar[int] = 400


class MalformedSignatureError(RefusedDeliveryError):
    """The headers that sign it are missing or cannot be read."""


class MalformedEventError(RefusedDeliveryError):
    """It is signed, and its body is not an event of this scheme."""


class SignatureMismatchError(RefusedDeliveryError):
    """No secret fits: a forgery, a secret that was not configured, or a body that was changed on its way."""

    status = 401


class StaleSignatureError(RefusedDeliveryError):
    """It was signed too long ago, or in the future: a replay, or a clock that is wrong."""

    status = 401


class BodyTooLargeError(RefusedDeliveryError):
    """The body is larger than this inbox takes."""

    status = 413


class MediaTypeError(RefusedDeliveryError):
    """The body is not plain JSON."""

    status = 415


class EventNotFoundError(TrothError):
    """No event has this id (any more), or several sources have one."""


class ReplayError(TrothError):
    """The event cannot be put back as it stands."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event, as its handler gets it.

    *object_key*: what it is about; events of one object come one after the other. *created*: by the provider's clock.
    *version*: given if the newest wins. *body*: the raw bytes. *headers*: those of the scheme, in lower case. *attempt*: 1
    for the first.
    """

    source: str
    id: str
    type: str
    object_key: str
    created: datetime
    version: int | None
    body: bytes
    headers: Mapping[str, str]
    received_at: datetime
    found_by: FoundBy
    attempt: int = 1

    @property
    def payload(self) -> Any:
        """The body as JSON values, decoded anew each time."""
        return codec.decode(self.body)


@dataclass(frozen=True, slots=True)
class Which:
    """Some events: those of a source, of a type, about an object; what is None does not matter."""

    source: str | None = None
    type: str | None = None
    object: str | None = None


@dataclass(frozen=True, slots=True)
class Superseded:
    """What a handler returns that finds the event outdated: it is recorded with *reason*, and not tried again."""

    reason: str


@dataclass(frozen=True, slots=True)
class Listed:
    """An event in the provider's own list. *body*: it as JSON, as a webhook would bring it."""

    id: str
    type: str
    created: datetime
    body: bytes


@dataclass(frozen=True, slots=True)
class Page:
    """A part of the provider's list, the oldest first. *cursor*: where the next part begins; None: nowhere new."""

    events: Sequence[Listed]
    cursor: str | None
    more: bool = False


Handle: TypeAlias = Callable[[Tx, Event], Awaitable[Superseded | None]]
HandleHint: TypeAlias = Callable[[Tx, Event, Any], Awaitable[Superseded | None]]
Fetch: TypeAlias = Callable[[Event], Awaitable[Any]]
ListSince: TypeAlias = Callable[[str | None], Awaitable[Page]]


@dataclass(frozen=True, slots=True)
class Handler:
    """A function for some types of events. *fetch*: the event only says that something happened; this looks what."""

    function: Callable[..., Awaitable[Superseded | None]]
    parks_on: tuple[type[Exception], ...]
    blocks: bool
    retry: Retry
    fetch: Fetch | None = None


@dataclass(frozen=True, slots=True)
class Claimed:
    """An event whose turn it is. *overtaken*: a greater version of its object has been applied."""

    event: Event
    failures: int
    parks: int
    parked_s: float | None
    overtaken: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a claimed event. *wait_s*: not tried before; *blocks*: later events of its object wait for it."""

    state: State
    reason: str | None = None
    wait_s: float = 0.0
    failures: int = 0
    parks: int = 0
    blocks: bool = True
