"""A sink for mail: nobody reads it back, so how often beyond twice the same message went out cannot matter to any code."""

from __future__ import annotations

from troth.lab.model import Observation, Op, Record
from troth.lab.world import decode, encode


class Messages:
    """The mailbox as promises see it."""

    def __init__(self, messages: list[Record]) -> None:
        self.messages = messages


class Mailbox:
    """Every message that a mail server accepted, as `{"to": [...], "subject": ..., "text": ...}`."""

    def __init__(self, name: str = "mailbox") -> None:
        self.name = name

    def initial(self) -> bytes:
        """Empty."""
        return encode([])

    def view(self, part: bytes) -> Messages:
        """The messages in order."""
        return Messages([Record(one) for one in decode(part)])

    def repeats(self, part: bytes) -> bool:
        """Whether some message went out twice."""
        messages = [encode(one) for one in decode(part)]
        return len(set(messages)) < len(messages)

    def perform(self, part: bytes, op: Op) -> tuple[bytes, Observation]:
        """One more message. The third copy and those after it are not told from the second."""
        if op.kind == "connect":
            return part, Observation({})
        sent = op.params
        messages = decode(part)
        message = decode(encode(sent))
        if messages.count(message) < 2:
            messages.append(message)
        return encode(messages), Observation({})
