"""The words of effects: providers, delivery, outcomes, and what an effect's body is told. No I/O."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import timedelta
from enum import Enum
from typing import Generic, Literal, TypeVar

from troth.base import resources
from troth.base.errors import UsageError

R = TypeVar("R")
T = TypeVar("T")

Delivery = Literal["at_most_once", "at_least_once"]

SEND_WITHIN_S = 2.0  # an intent that is older than this is not sent any more
MARGIN_S = 1.0  # for the longest pause between checking the clock and sending


class Outcome(Enum):
    """What is known of an effect after an attempt."""

    DONE = "done"
    REFUSED = "refused"  # the other side said no: a business answer
    NOT_DONE = "not done"  # it provably did not happen, and may be tried again
    UNKNOWN = "unknown"  # it may have happened


@dataclasses.dataclass(frozen=True, slots=True)
class Judgement:
    """What an exception says about the effect whose body raised it.

    *message* is for people, in the provider's own words where it had some. *retry_after_s*: the other side asked not to
    be called again for so many seconds.
    """

    outcome: Outcome
    message: str
    retry_after_s: float | None = None


# What users add to the tables of outcomes: None leaves the exception to the tables.
Judge = Callable[[BaseException], "Judgement | Outcome | None"]


@dataclasses.dataclass(frozen=True, slots=True)
class Rate:
    """At most *limit* requests in any span of *per*, by all workers together."""

    limit: int
    per: timedelta = timedelta(seconds=1)

    def __post_init__(self) -> None:
        """Raise `UsageError` for a rate that lets nothing through."""
        if self.limit < 1 or self.per <= timedelta(0):
            msg = f"a rate needs limit >= 1 and per > 0, not {self.limit} per {self.per}"
            raise UsageError(msg)


@dataclasses.dataclass(frozen=True, slots=True)
class Breaker:
    """When to stop calling a provider that does not answer, for all workers together.

    After *failures* in a row (unknown outcomes and failed connections) nothing is sent for *pause*; then one call is let
    through: if it is answered, all are again.
    """

    failures: int = 20
    pause: timedelta = timedelta(seconds=10)

    def __post_init__(self) -> None:
        """Raise `UsageError` for values that cannot mean anything."""
        if self.failures < 1 or self.pause <= timedelta(0):
            msg = (
                f"a breaker needs failures >= 1 and pause > 0, not {self.failures} and {self.pause}"
            )
            raise UsageError(msg)


@dataclasses.dataclass(frozen=True, slots=True)
class Provider:
    """What the API of the other side promises, and how it may be called.

    *key_lifetime*: how long it recognises an idempotency key, if it does. *lands_within*: how long after we gave up on
    a request it can still take effect. *rate*, *breaker* and *concurrency* (calls at once) are kept by all workers
    together. *judge*: what its own exceptions mean, asked before the tables of outcomes.
    """

    name: str
    key_lifetime: timedelta | None = None
    lands_within: timedelta = timedelta(0)
    rate: Rate | None = None
    breaker: Breaker | None = None
    concurrency: int | None = None
    judge: Judge | None = None

    def __post_init__(self) -> None:
        """Raise `UsageError` for a lifetime that leaves no time to use the key in, and for limits that allow nothing."""
        if self.key_lifetime is not None and self.key_lifetime <= timedelta(minutes=1):
            msg = f"provider {self.name}: a key_lifetime of {self.key_lifetime} is too short to retry in"
            raise UsageError(msg)
        if self.lands_within < timedelta(0):
            msg = f"provider {self.name}: lands_within cannot be negative"
            raise UsageError(msg)
        if self.concurrency is not None and self.concurrency < 1:
            msg = f"provider {self.name}: concurrency must be at least 1, not {self.concurrency}"
            raise UsageError(msg)

    @property
    def limited(self) -> bool:
        """Does a call need permission that workers share?"""
        return not (self.rate is None and self.breaker is None and self.concurrency is None)


@dataclasses.dataclass(frozen=True, slots=True)
class EffectRules:
    """How one effect may be sent, and what is done when nobody knows.

    *probed*: the other side can be asked whether it happened. *stands*: what it did may stand when its run fails.
    *stake*: makes of its arguments what is at stake, for people. *settled_by*: how many people must agree on a finding.
    """

    provider: Provider | None
    delivery: Delivery | None
    timeout_s: float
    probed: bool = False
    stands: bool = False
    stake: Callable[..., object] | None = None
    settled_by: int = 1

    @property
    def key_lifetime_s(self) -> float | None:
        """Seconds for which a repeated key is recognised, or None."""
        lifetime = self.provider.key_lifetime if self.provider else None
        return lifetime.total_seconds() if lifetime else None

    @property
    def in_flight_s(self) -> float:
        """How long after its owner was lost an intent can still be on its way, in seconds."""
        return SEND_WITHIN_S + self.timeout_s + MARGIN_S

    @property
    def lands_within_s(self) -> float:
        """How long after its timeout a request can still take effect, in seconds."""
        return self.provider.lands_within.total_seconds() if self.provider else 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """What the body of an effect, or of its probe, is told about this attempt.

    *key* is the same for every attempt, worker and restart: pass it to the provider. *attempt* counts from 1. *fence*
    grows whenever another worker takes the run over. *deadline* and *first_sent* (when the effect may have been sent for
    the first time) are in seconds since 1970 by the database's clock.
    """

    key: str
    attempt: int
    fence: int
    deadline: float
    first_sent: float

    def get(self, kind: type[T]) -> T:
        """The resource of this type, see `troth.resource`. Raises `UsageError` if there is none."""
        return resources.get(kind)


# What a probe says ------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Found(Generic[R]):
    """A probe's answer: it happened, and this is its result."""

    value: R


@dataclasses.dataclass(frozen=True, slots=True)
class Missing:
    """A probe's answer: there is no trace of it. That counts only when nothing can land any more."""


# What `await effect.outcome(...)` gives -----------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Done(Generic[R]):
    """It happened, and this is its result."""

    value: R


@dataclasses.dataclass(frozen=True, slots=True)
class Unknown:
    """It may have happened, and nobody could find out; *message* says what came back last."""

    message: str
