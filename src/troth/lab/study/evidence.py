"""What a history may speak for: cases, proposals, and the table of classes. The rules are in `calls`, `rows` and `answers`.

| class | evidence |
|---|---|
| missing key | the same call took effect twice, and neither had a key |
| unstable key | the same call took effect twice, with different keys |
| key reused | one key for two different requests |
| key too short-lived | a key expired between the two |
| lost answer: nobody asks | an error was told though it was done or under way, and the code went on without asking |
| a look is no fence | a look at the provider said no, and the call it looked for took effect afterwards |
| check, then act | a read, then another's commit to what was read, then what was decided by the read |
| no constraint | two attempts wrote the same row, and nothing prevented it |
| claim without a condition | two attempts claimed the same row, one after the other, and both did the work |
| lost update | a read, another's commit to the same table, and a write that was computed from the read |
| no inbox | the same request committed the same again, and nothing told the second from the first |
| two commits for one thing | a commit, a fault in the same attempt, and another commit that comes if nothing fails |
| dual write | an effect, and a fault before the commit that would have named it; or a commit, and a fault before the mail |
| call inside a transaction | an effect while writes were pending that were never committed |
| told before the commit | a mail while its transaction was open, and a fault before the commit |
| answered too early | the caller was told, and a fault came before the rest was done |
| swallowed error | an error that was no success, and then a 2xx |
| undoing that is not resumed | two errors in one attempt, the second on the way back from the first |
| dead end | every retry is answered 4xx |
| warm memory | an attempt in a process that remembers another |

Of a class of which the lab sees no evidence yet (queues, deliveries, workers), nothing is proposed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from troth.lab.provider import Provider
from troth.lab.study.trace import Event
from troth.lab.study.varied import Change

Rule = Callable[["Case"], Iterator["Proposal"]]
Confidence = Literal["certain", "likely", "possible"]


@dataclass(frozen=True)
class Proposal:
    """A remedy before it is checked. `why_not` says why it cannot be put into the model."""

    kind: str
    advice: str
    because: str
    confidence: Confidence
    events: tuple[Event, ...]
    change: Change | None = None
    why_not: str = ""


@dataclass(frozen=True)
class Case:
    """What is known about a broken promise.

    `rows`: the collections of the world in the end. `told_later`: what retries are told from there on, when nothing fails.
    `locking`: whether databases have row locks (PostgreSQL).
    """

    events: tuple[Event, ...]
    providers: dict[str, Provider]
    rows: dict[str, list[dict[str, Any]]]
    twin: tuple[Event, ...] = ()
    """The history without its last fault, if that is fine."""
    stuck: bool = False
    told_later: frozenset[int] = frozenset()
    locking: bool = False

    def of(self, attempt: int) -> tuple[Event, ...]:
        """The events of one attempt."""
        return tuple(one for one in self.events if one.attempt == attempt)

    def goes_on(self, event: Event) -> bool:
        """Whether the attempt of a commit commits more if nothing fails."""
        made = sum(one.commits for one in self.of(event.attempt) if one.number <= event.number)
        return sum(one.commits for one in self.twin if one.attempt == event.attempt) > made

    def after(self, event: Event) -> tuple[Event, ...]:
        """What its attempt did later."""
        return tuple(one for one in self.of(event.attempt) if one.number > event.number)

    def attempts(self) -> list[int]:
        """The attempts, in the order of their beginnings."""
        return sorted({one.attempt for one in self.events} - {0})
