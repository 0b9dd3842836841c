"""What workflow code asks for: a call is made, waits for its answer, and is told it.

A call of a step, a sleep and a receive are made by the workflow's author; those of a saga, which ask what became of
what was sent and undo what was done, are made by `saga`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar

from troth.base import codec
from troth.base.errors import Refused
from troth.effect.model import Done, Unknown
from troth.journal.model import UNDO_PREFIX, Entry
from troth.workflow.definition import StepDefinition
from troth.workflow.failures import restore_answer
from troth.workflow.runloop import RunLoop
from troth.workflow.topics import Received, Topic, labelled, unlabelled

if TYPE_CHECKING:
    from troth.workflow.run import ActiveRun
    from troth.workflow.saga import Confirmed, Scope


class TimedOut:
    """What `receive` returns when nothing came in time. It is false, so `if not message` reads well."""

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "TimedOut()"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TimedOut)

    def __hash__(self) -> int:
        return hash(TimedOut)


class CallState(Enum):
    """Where a call is between being made and being answered."""

    NEW = "new"  # not looked at yet
    BUSY = "busy"  # its intent, its body or its look-up is under way
    WAITING = "waiting"  # until a time or a message
    SETTLED = "settled"  # answered; the answer may still have to be delivered


class PendingCall:
    """A call that has been made and not been answered. Base of all other kinds, too."""

    undoes: ClassVar[bool] = False  # it belongs to the undoing of a run or of a part of one
    binding: ClassVar[bool] = False  # its outcome is owed, whoever still wants it

    __slots__ = (
        "args",
        "definition",
        "digest",
        "due",
        "encoded",
        "future",
        "path",
        "pinned",
        "resume",
        "scope",
        "state",
        "task",
        "timer",
    )

    def __init__(
        self,
        path: str,
        definition: StepDefinition[Any, Any] | None,
        encoded: bytes,
        loop: RunLoop,
        args: tuple[Any, ...] | None = None,
        scope: Scope | None = None,
    ) -> None:
        self.path = path
        self.scope = scope  # what it is undone with; of sleeps and receives: None
        self.definition = definition
        self.encoded = encoded
        self.args = args  # if they are plain, and so need not be decoded
        self.digest = codec.digest(encoded)
        self.future = loop.create_future()
        self.state = CallState.NEW
        self.due: float | None = None  # database time; None: only a message
        self.pinned = False  # waits on this process's own clock: the run must stay in memory
        self.resume: Callable[[], None] | None = None  # what to do when it is due
        self.timer: asyncio.TimerHandle | None = None
        self.task: asyncio.Task[None] | None = None  # its body, while that runs

    def drop(self) -> None:
        """Nobody waits for it any more."""
        if self.timer is not None:
            self.timer.cancel()
        if self.task is not None:
            self.task.cancel()

    def restore(self, entry: Entry) -> Any:
        """The value of a recorded answer, or that it stays `Unknown`; raises it if it is a business answer."""
        assert self.definition is not None
        if entry.ok is None:
            return Unknown(codec.decode(entry.payload or b"{}")["message"])
        if entry.ok:
            return self.definition.result.decode(entry.payload or b"null")
        raise restore_answer(entry.payload or b"{}", self.definition.fails_on)

    def told(self, value: Any, error: BaseException | None) -> tuple[Any, BaseException | None]:
        """What the code that waits is given: as it is."""
        return value, error

    def follow(self, run: ActiveRun, value: Any, error: BaseException | None) -> None:
        """What else follows from its answer. Asked only of calls without a definition."""


class OutcomeCall(PendingCall):
    """A call of an effect whose outcome is to be given as a value."""

    __slots__ = ()

    def told(self, value: Any, error: BaseException | None) -> tuple[Any, BaseException | None]:
        """`Done`, `Refused` or `Unknown`."""
        if error is None:
            return (value if isinstance(value, Unknown) else Done(value)), None
        if isinstance(error, Refused):
            return error, None
        refusal = Refused(*error.args)
        refusal.__cause__ = error
        return refusal, None


class SleepCall(PendingCall):
    """`troth.sleep`."""

    __slots__ = ("seconds",)

    def __init__(self, path: str, seconds: float, loop: RunLoop) -> None:
        super().__init__(path, None, codec.encode(seconds), loop)
        self.seconds = seconds

    def restore(self, entry: Entry) -> Any:
        """Nothing: time has passed."""


class ReceiveCall(PendingCall):
    """`troth.receive`, and with *several* `troth.receive_any`."""

    __slots__ = ("heard", "looked", "message", "several", "timeout_s", "topics")

    def __init__(
        self,
        path: str,
        topics: tuple[Topic[Any], ...],
        timeout_s: float | None,
        loop: RunLoop,
        *,
        several: bool = False,
    ) -> None:
        named = [topic.name for topic in topics] if several else topics[0].name
        super().__init__(path, None, codec.encode([named, timeout_s]), loop)
        self.topics = {topic.name: topic for topic in topics}
        self.several = several
        self.timeout_s = timeout_s
        self.looked = False  # a look for messages that came before it was asked for
        self.message: bytes | None = None  # what it was answered with
        self.heard = topics[0].name  # and of which topic that is

    def take(self, topic: str, message: bytes) -> tuple[bytes, Any]:
        """It is answered with this message: what to record, and what the code is told. Raises `PayloadError`."""
        value = self.topics[topic].codec.decode(message)
        self.heard, self.message = topic, message
        if not self.several:
            return message, value
        return labelled(topic, message), Received(self.topics[topic], value)

    @property
    def wants_mail(self) -> bool:
        """It has no message yet, and somebody still waits for one."""
        return self.state is not CallState.SETTLED and not self.future.done()

    def restore(self, entry: Entry) -> Any:
        """The message, or `TimedOut`."""
        if entry.ok is False:
            return TimedOut()
        payload = entry.payload or b"null"
        topic, message = unlabelled(payload) if self.several else (self.heard, payload)
        return self.take(topic, message)[1]


class SettledCall(PendingCall):
    """Waits until everything that was sent in a scope has an outcome: only then is it known what there is to undo."""

    undoes = True
    __slots__ = ()

    def __init__(self, path: str, scope: Scope, loop: RunLoop) -> None:
        super().__init__(path, None, b"null", loop, scope=scope)

    def restore(self, entry: Entry) -> Any:
        """Nothing: it is so."""


class FollowCall(PendingCall):
    """Asks again for an outcome that the workflow was told to be unknown."""

    undoes = True
    __slots__ = ()


class UndoCall(PendingCall):
    """Undoes one call that was done. Without a definition nobody said how: that asks for a person."""

    undoes = True
    __slots__ = ("target",)

    def __init__(self, target: Confirmed, encoded: bytes, scope: Scope, loop: RunLoop) -> None:
        path = f"{UNDO_PREFIX}{target.path}"
        definition = target.definition
        undoing = definition.undoing if isinstance(definition, StepDefinition) else None
        super().__init__(path, undoing, encoded, loop, scope=scope)
        self.target = target

    def restore(self, entry: Entry) -> Any:
        """Nothing: what an undo returns goes nowhere."""
