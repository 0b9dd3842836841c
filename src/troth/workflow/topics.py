"""Topics: what is said to a run under one name, and of which type it is."""

from __future__ import annotations

import types
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from uuid import UUID

from troth.base import codec
from troth.base.codec import Codec
from troth.base.errors import KeyConflictError, PayloadError, UsageError

T = TypeVar("T")


class MessageConflictError(KeyConflictError):
    """The key of a message was used before for this run and topic, with another value."""

    def __init__(self, run: UUID | str, topic: str, key: str) -> None:
        Exception.__init__(
            self,
            f"the key {key!r} belongs to another message of {topic} for run {run}. Use another key for another message, or "
            "the same value to say the same thing again.",
        )
        self.key = key
        self.topic = topic
        self.differences = {}
        if isinstance(run, UUID):
            self.run_id = run


@dataclass(frozen=True, slots=True)
class Topic(Generic[T]):
    """`approved = Topic[Approval]("approved")`: messages of this name carry an `Approval`.

    Raises `UsageError` for a name that cannot be a topic and for a type that cannot be stored.
    """

    name: str
    kind: Any = Any
    codec: Codec = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_topic(self.name)
        object.__setattr__(self, "codec", Codec(self.kind, where=f"a message of {self.name}"))

    def encode(self, value: T) -> bytes:
        """The stored form of a message. Raises `PayloadError` for a value that is none of this type."""
        payload = self.codec.encode(value)
        try:
            self.codec.echo(value, payload)  # told to who sends it, not to who receives it
        except PayloadError as error:
            kind = getattr(self.kind, "__qualname__", self.kind)
            msg = f"a message of {self.name} is of type {kind}, and {value!r} is not: {error.__cause__}"
            raise PayloadError(msg) from error
        return payload

    if not TYPE_CHECKING:

        def __class_getitem__(cls, kind: Any) -> Any:
            """`Topic[Approval]`, which knows its type when it is called."""
            return _Kinded(cls, kind)


class _Kinded(types.GenericAlias):
    """`Topic[Approval]`: an annotation like any other, and what makes such topics."""

    def __call__(self, name: str) -> Any:
        (kind,) = self.__args__
        if isinstance(kind, TypeVar):
            msg = f"Topic[{kind}]({name!r}): say of which type its messages are"
            raise UsageError(msg)
        return Topic(name, kind)


@dataclass(frozen=True, slots=True)
class Received(Generic[T]):
    """What `receive_any` heard, and under which topic: compare with `is` or `==`."""

    topic: Topic[Any]
    value: T


def as_topic(topic: Topic[Any] | str, kind: Any = Any) -> Topic[Any]:
    """A topic given as itself, or by name and type. Raises `UsageError`."""
    if isinstance(topic, Topic):
        if kind is not Any:
            msg = f"{topic.name} says of which type its messages are: leave {kind!r} out"
            raise UsageError(msg)
        return topic
    return Topic(topic, kind)


def check_topic(topic: object) -> None:
    """Raise `UsageError` for a topic that cannot be one."""
    if (
        not isinstance(topic, str)
        or not topic
        or len(topic) > 100
        or not topic.replace("-", "").replace(".", "").replace("_", "").isalnum()
    ):
        msg = f"{topic!r} cannot be a topic: up to 100 letters, digits, '_', '-' and '.'"
        raise UsageError(msg)


def labelled(topic: str, payload: bytes) -> bytes:
    """A message together with its topic, as the answer to a call that listens to several."""
    return b"[%b,%b]" % (codec.encode(topic), payload)


def unlabelled(stored: bytes) -> tuple[str, bytes]:
    """The topic and the message, byte for byte as it was sent."""
    topic = codec.decode(stored)[0]
    return topic, bytes(stored[len(codec.encode(topic)) + 2 : -1])
