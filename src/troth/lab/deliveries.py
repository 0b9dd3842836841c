"""What can be received in a world, and what becomes of it: pure.

A source (a queue, a provider's events) has messages that wait. An attempt that received one holds it: `receive` is among what it has open,
as the statements of a transaction are. So a message whose holder died waits again, and nothing has to be remembered about it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from troth.lab.model import Op, Outcome
from troth.lab.queue import Message


class Source(Protocol):
    """Where messages wait."""

    name: str
    ordered: bool

    def waiting(self, part: bytes) -> tuple[Message, ...]:
        """What nobody has accepted, the oldest first."""
        ...

    def settled(self, part: bytes, name: str) -> bytes:
        """The source when a message was accepted, or given up: it is not delivered any more."""
        ...


class Receipt(NamedTuple):
    """One way in which a delivery can begin. `message` is None if it brings nothing; `settled` if it will never come again."""

    outcome: Outcome
    message: Message | None
    settled: bool = False


def received(source: str, *, loses: bool = False) -> Op:
    """What a delivery begins with."""
    return Op("receive", source, f"receive from {source}", ("loses",) if loses else ())


def held_by(opened: tuple[Op, ...], source: str) -> Iterator[str]:
    """The names of what is held of a source."""
    for one in opened:
        if one.kind == "receive" and one.target == source:
            yield one.params[0]


def holding(op: Op, message: Message) -> Op:
    """What an attempt has open that received a message."""
    return Op("receive", op.target, op.text, message)


def receipts(
    waiting: tuple[Message, ...], held: frozenset[str], *, ordered: bool, loses: bool
) -> Iterator[Receipt]:
    """Every way in which the next delivery can begin, the likely one first.

    Args:
        waiting: what is there, the oldest first.
        held: what other attempts are at work on.
        ordered: whether only the oldest can come.
        loses: whether something can be given up without ever having been accepted.
    """
    free = [one for one in waiting if one[0] not in held]
    if ordered and free and free[0] is not waiting[0]:
        free = []  # the oldest is in somebody's hands
    for number, message in enumerate(free):
        if number == 0:
            yield Receipt(_plain(f"received {message[0]}"), message)
        elif not ordered:
            name = f"received {message[0]}, out of order"
            yield Receipt(_fault(name, "message out of order"), message)
    if not free:
        yield Receipt(_plain("nothing is there"), None)
    for message in waiting:
        if message[0] in held and not (ordered and message is not waiting[0]):
            name = f"received {message[0]} while it is being handled"
            yield Receipt(_fault(name, "repeated delivery"), message)
    if loses:
        for message in free:
            name = f"gave up {message[0]}"
            yield Receipt(_fault(name, "lost delivery"), message, settled=True)


def _plain(name: str) -> Outcome:
    return Outcome(name, happens=True, told="answer")


def _fault(name: str, word: str) -> Outcome:
    return Outcome(name, happens=True, told="answer", cost=1, word=word)
