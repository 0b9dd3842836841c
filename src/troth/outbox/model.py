"""The words of the outbox: messages, deliveries and their states, and what a destination is. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Literal, Protocol, TypeAlias
from uuid import UUID

from troth.base.errors import TrothError, UsageError

Order: TypeAlias = Literal["per_key", "none"]
Delivery: TypeAlias = Literal["at_least_once", "at_most_once"]

# Seconds before each try: the example of Standard Webhooks 1.0.0, "Deliverability and reliability".
STANDARD_WEBHOOKS: Final = (0, 5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
LONGEST_RETRY_AFTER_S: Final = 86400.0
ANSWER_BYTES: Final = 1024  # of an answer are kept


class EndpointNotFoundError(TrothError):
    """No endpoint has this id, or it was removed."""


class State(StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"
    IN_DOUBT = "in_doubt"
    DROPPED = "dropped"


# Dead and in doubt lead back by a person's act, delivered too. In doubt leads to delivered if the answer comes late.
TRANSITIONS: Final[Mapping[State, frozenset[State]]] = {
    State.PENDING: frozenset({State.DELIVERED, State.DEAD, State.IN_DOUBT, State.DROPPED}),
    State.DELIVERED: frozenset({State.PENDING}),
    State.DEAD: frozenset({State.PENDING}),
    State.IN_DOUBT: frozenset({State.PENDING, State.DELIVERED}),
    State.DROPPED: frozenset(),
}


@dataclass(frozen=True, slots=True)
class Terms:
    """How a destination is to be treated.

    *concurrency*: attempts at once, per worker process, at each endpoint (or at the destination, if it has none).
    *order*: `per_key` sends messages of one key one after another. *timeout_s*: an attempt is ended after so many seconds.
    *schedule*: seconds before each try; after the last one the message is a dead letter, unless *forever*, which repeats the
    last wait. *delivery*: `at_most_once` never repeats an attempt that may have had effect. *to_endpoints*: it sends to
    endpoints, which have an order of their own; one that has failed for *give_up_after* is disabled.
    """

    concurrency: int = 8
    order: Order = "per_key"
    timeout_s: float = 20.0
    schedule: tuple[float, ...] = STANDARD_WEBHOOKS
    forever: bool = False
    delivery: Delivery = "at_least_once"
    to_endpoints: bool = False
    give_up_after: timedelta = timedelta(days=5)

    def __post_init__(self) -> None:
        """Raise `UsageError` for values that cannot mean anything."""
        if self.concurrency < 1 or self.timeout_s <= 0 or not self.schedule:
            msg = "a destination needs concurrency >= 1, timeout > 0 and a schedule of at least one wait"
            raise UsageError(msg)
        if self.order not in {"per_key", "none"}:
            msg = f"order is 'per_key' or 'none', not {self.order!r}"
            raise UsageError(msg)
        if self.delivery not in {"at_least_once", "at_most_once"}:
            msg = f"delivery is 'at_least_once' or 'at_most_once', not {self.delivery!r}"
            raise UsageError(msg)

    @property
    def lease_s(self) -> float:
        """How long a relay has a delivery: the attempt, and time to record it."""
        return self.timeout_s + 10.0


@dataclass(frozen=True, slots=True)
class Receiver:
    """The endpoint that one attempt goes to. *secrets*: the first is the current one; all of them sign."""

    id: UUID
    url: str
    secrets: tuple[str, ...]
    allow_private: bool

    def __repr__(self) -> str:
        return f"<endpoint {self.id}>"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One attempt at a message, as a destination gets it. *id* is the same for every attempt and every endpoint."""

    id: UUID
    type: str
    key: str | None
    payload: bytes
    headers: Mapping[str, str]
    published_at: datetime
    attempt: int
    receiver: Receiver | None = None


@dataclass(frozen=True, slots=True)
class Delivered:
    """The other side has it. *status* is what it said, *answer* more of that."""

    status: str
    answer: bytes = b""


@dataclass(frozen=True, slots=True)
class Refused:
    """The other side has said that it will never take it, or it cannot be sent: a dead letter at once."""

    status: str
    answer: bytes = b""


@dataclass(frozen=True, slots=True)
class Unsettled:
    """Not delivered as far as we know, and another try may help.

    *sent*: the other side may have it. *retry_after_s*: it asked not to be called sooner. *disable*: no more attempts at
    this endpoint until a person enables it, and why.
    """

    status: str
    answer: bytes = b""
    sent: bool = True
    retry_after_s: float | None = None
    disable: str | None = None


Outcome: TypeAlias = Delivered | Refused | Unsettled


class Destination(Protocol):
    """Where messages go. `Webhooks`, `Mail` and `NatsJetStream` are such; another one needs these five things."""

    @property
    def name(self) -> str:
        """Its name in the outbox; deliveries are stored with it, so it stays."""

    @property
    def terms(self) -> Terms:
        """How it is to be treated."""

    def check(self, kind: str, payload: bytes, headers: Mapping[str, str]) -> None:
        """Raise `UsageError` for a message that can never be sent. Called by `publish`, before anything is written."""

    async def deliver(self, message: Outgoing) -> Outcome:
        """Make one attempt, outside of any transaction. Several run at once, and each may be cancelled.

        An exception is as good as `Unsettled`, of which nobody knows whether it was sent.
        """

    async def close(self) -> None:
        """Give up what it holds in this event loop. It may be used again."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery that a relay has for the length of a lease."""

    delivery: int
    target: str
    line: str | None
    claim: int
    tries: int
    message: Outgoing


@dataclass(frozen=True, slots=True)
class Standing:
    """What a target has to do: in *wait_s* seconds something may be claimed."""

    target: str
    failing: bool
    wait_s: float


@dataclass(frozen=True, slots=True)
class Next:
    """What follows an attempt. *works*: the endpoint has answered as it should."""

    state: State
    wait_s: float
    works: bool
    disable: str | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint as it is registered, without its secrets."""

    id: UUID
    outbox: str
    destination: str
    url: str
    types: tuple[str, ...]
    order: Order
    allow_private: bool
    created_at: datetime
    failing_since: datetime | None
    disabled_at: datetime | None
    disabled_because: str | None
