"""The words of effects: providers, delivery, and what an effect's body is told. No I/O."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from enum import Enum
from typing import Literal

from troth.base.errors import UsageError

Delivery = Literal["at_most_once", "at_least_once"]

SEND_WITHIN_S = 2.0  # an intent that is older than this is not sent any more
MARGIN_S = 1.0  # for the longest pause between checking the clock and sending


class Outcome(Enum):
    """What is known of an effect after an attempt."""

    DONE = "done"
    REFUSED = "refused"  # the other side said no: a business answer
    NOT_SENT = "not sent"  # it provably did not happen
    UNKNOWN = "unknown"  # it may have happened


@dataclasses.dataclass(frozen=True, slots=True)
class Provider:
    """What the API of the other side promises.

    *key_lifetime*: how long it recognises an idempotency key, if it does. *lands_within*: how long after we gave up on
    a request it can still take effect.
    """

    name: str
    key_lifetime: timedelta | None = None
    lands_within: timedelta = timedelta(0)

    def __post_init__(self) -> None:
        """Raise `UsageError` for a lifetime that leaves no time to use the key in."""
        if self.key_lifetime is not None and self.key_lifetime <= timedelta(minutes=1):
            msg = f"provider {self.name}: a key_lifetime of {self.key_lifetime} is too short to retry in"
            raise UsageError(msg)


@dataclasses.dataclass(frozen=True, slots=True)
class EffectRules:
    """How one effect may be sent."""

    provider: Provider | None
    delivery: Delivery | None
    timeout_s: float

    @property
    def key_lifetime_s(self) -> float | None:
        """Seconds for which a repeated key is recognised, or None."""
        lifetime = self.provider.key_lifetime if self.provider else None
        return lifetime.total_seconds() if lifetime else None

    @property
    def in_flight_s(self) -> float:
        """How long after its owner was lost an intent can still be on its way, in seconds."""
        return SEND_WITHIN_S + self.timeout_s + MARGIN_S


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """What the body of an effect is told about this attempt.

    *key* is the same for every attempt, worker and restart: pass it to the provider. *attempt* counts from 1. *fence*
    grows whenever another worker takes the run over. *deadline* is in seconds since 1970 by the database's clock.
    """

    key: str
    attempt: int
    fence: int
    deadline: float
