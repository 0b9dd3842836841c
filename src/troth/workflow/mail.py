"""Messages on their way to who waits for them, inside one run. A message goes in the commit that records its answer.

A receiver may be given up (its task is cancelled) between the answer and its delivery. Then the message comes back, and
the next receiver of its topic gets it: none is lost, and a replay takes the same way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from troth.base.errors import PayloadError
from troth.journal.model import CANCEL_TOPIC, ENDED_TOPIC, Entry, Heard, Kind, Message, Reason
from troth.workflow.calls import ReceiveCall
from troth.workflow.run import ActiveRun
from troth.workflow.stops import Stop

if TYPE_CHECKING:
    from troth.workflow.engine import Engine


class Mail:
    """Hears the messages of one engine's runs."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def hear(self, run: ActiveRun, messages: list[Message]) -> None:
        """Give messages to who waits for them; the rest stays in the database."""
        for message in messages:
            if message.topic == CANCEL_TOPIC:
                self._heard(run, message)
                if CANCEL_TOPIC not in run.heard:
                    self._cancel(run, message)
                continue
            if message.topic == ENDED_TOPIC:
                if self._engine.children.hear(run, message):
                    self._heard(run, message)
                continue
            waiting = receivers(run, message.topic)
            if waiting:
                self._receive(run, waiting[0], message)

    def _cancel(self, run: ActiveRun, message: Message) -> None:
        at = self._engine.now()
        seq = run.stop(Stop(at, CANCEL_TOPIC))
        self._engine.record(
            run,
            Entry(run.id, CANCEL_TOPIC, Kind.RESULT, 0, seq, True, None, message.payload, at),
        )

    def _receive(self, run: ActiveRun, call: ReceiveCall, message: Message) -> None:
        if self._answer_receive(run, call, message.topic, message.payload, ok=True):
            self._heard(run, message)
            self._engine.tell.heard(run, call, message)

    def pass_on(self, run: ActiveRun) -> None:
        """Messages that came back go to who receives next. Their answers are recorded as such, with neither ok nor not:
        a replay takes them from where they came back to.
        """
        for topic, messages in run.returned.items():
            while messages and (waiting := receivers(run, topic)):
                self._answer_receive(run, waiting[0], topic, messages.popleft(), ok=None)

    def _answer_receive(
        self, run: ActiveRun, call: ReceiveCall, topic: str, message: bytes, *, ok: bool | None
    ) -> bool:
        try:
            payload, value = call.take(topic, message)
        except PayloadError as error:
            self._engine.park(run, Reason.POISON, {"at": call.path, "message": str(error)})
            return False
        self._engine.answer(run, call, payload, value, ok=ok)
        return True

    def _heard(self, run: ActiveRun, message: Message) -> None:
        batch = self._engine.writer.touch()
        batch.heard.append(Heard(run.id, message.id))
        run.last_batch = batch


def receivers(run: ActiveRun, topic: str) -> list[ReceiveCall]:
    """Who waits for a message of this topic, in the order in which they began."""
    return [
        call
        for call in run.calls.values()
        if isinstance(call, ReceiveCall) and topic in call.topics and call.wants_mail
    ]


def listens_to(run: ActiveRun) -> str:
    """The topics whose messages would wake this run, separated by commas."""
    waiting = (c for c in run.calls.values() if isinstance(c, ReceiveCall) and c.wants_mail)
    return ",".join({CANCEL_TOPIC, ENDED_TOPIC, *(topic for c in waiting for topic in c.topics)})


def unread(run: ActiveRun) -> bool:
    """Has a receive begun whose message may be waiting already? Answers yes once for each."""
    found = False
    for call in run.calls.values():
        if type(call) is ReceiveCall and not call.looked:
            call.looked = found = True
    return found
