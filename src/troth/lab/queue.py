"""A message queue: at least once, in any order, and nothing is gone before it is acknowledged.

What is waiting is a part of the world. Who has received a message holds it, as one holds a lock: while that attempt lives, nobody else is
given it (but by a visibility timeout), and when the attempt ends or dies without an acknowledgement, it waits again.
"""

from __future__ import annotations

from typing import Any

from troth.lab.edge.attempt import attributed
from troth.lab.model import LabError, Observation, Op, Record
from troth.lab.world import decode, encode

COPIES = 2
"""Of messages that are alike, so many are told apart; each of them can come any number of times anyway."""

Message = tuple[str, Any]
"""Its name in its source, and what it says."""


class Lost(ConnectionError):
    """What `Queue.send` raises when the broker does not answer: the message may have been sent."""


class Waiting:
    """The queue as promises see it."""

    def __init__(self, messages: list[Any]) -> None:
        self.messages = messages


class Queue:
    """Messages that wait for workers. `w.jobs.messages` are those that nobody has acknowledged.

    Args:
        name: what promises call it.
        ordered: whether messages are delivered in the order in which they were sent.
    """

    def __init__(self, name: str = "queue", *, ordered: bool = False) -> None:
        self.name = name
        self.ordered = ordered

    def send(self, message: object) -> None:
        """What the code under test calls, in place of its broker's client.

        Args:
            message: plain data, as JSON has it.

        Raises:
            Lost: the broker did not answer; it may have the message or not.
            LabError: nobody is exploring, or the message is not plain data.
        """
        try:
            plain = decode(encode(message))
        except TypeError as error:
            raise LabError(f"a message of {self.name!r} is plain data: {error}") from error
        attempt = attributed(f"{self.name}.send()")
        if attempt.ask(Op("publish", self.name, f"send to {self.name}", (plain,))).error:
            raise Lost(f"{self.name}: the broker does not answer")

    # ── the model ───────────────────────────────────────────────────────────────────────────────

    def initial(self) -> bytes:
        """Empty."""
        return _part([])

    def view(self, part: bytes) -> Waiting:
        """The messages in the order in which they were sent."""
        return Waiting(
            [Record(one) if isinstance(one, dict) else one for _, one in self.waiting(part)]
        )

    def describe(self) -> str:
        """The model in words, for the verdict."""
        order = "in order" if self.ordered else "in any order"
        return (
            f"{self.name}: at least once, {order}, again when a worker dies, fails, takes too long or its acknowledgement is lost; "
            f"of messages that are alike {COPIES} are told apart"
        )

    def waiting(self, part: bytes) -> tuple[Message, ...]:
        """What nobody has acknowledged, the oldest first."""
        return tuple((one["id"], one["says"]) for one in _messages(part))

    def published(self, part: bytes, op: Op, held: frozenset[str]) -> bytes:
        """With one more message. It gets a name that neither a waiting message nor one in somebody's hands has."""
        messages, (says,) = _messages(part), decode(encode(op.params))
        if [one["says"] for one in messages].count(says) >= COPIES:
            return part
        taken = {*held, *(one["id"] for one in messages)}
        number = next(n for n in range(1, len(taken) + 2) if str(n) not in taken)
        return _part([*messages, {"id": str(number), "says": says}])

    def settled(self, part: bytes, name: str) -> bytes:
        """Without this message, which was acknowledged."""
        return _part([one for one in _messages(part) if one["id"] != name])

    def forfeits(self, says: Any) -> bool:
        """Whether a message is taken for done when the process that was at work on it dies alone."""
        del says
        return False

    def perform(self, part: bytes, op: Op) -> tuple[bytes, Observation]:
        """What is sent before anybody works here."""
        if op.kind != "publish":
            raise LabError(f"{self.name}: {op.kind} without an attempt")
        return self.published(part, op, frozenset()), Observation()


def _messages(part: bytes) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = decode(part)["objects"]["messages"]
    return found


def _part(messages: list[dict[str, Any]]) -> bytes:
    return encode({"objects": {"messages": messages}})
