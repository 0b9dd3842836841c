"""Sending a message from workflow code: a transaction step of troth's own, so message and journal entry are one commit."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any
from uuid import UUID

from troth.base import ids
from troth.base.errors import RunEndedError, RunNotFoundError
from troth.base.events import MessageSent
from troth.base.telemetry import SILENT, Telemetry
from troth.store.tx import Tx
from troth.workflow.definition import StepDefinition, StepKind
from troth.workflow.runloop import Branch
from troth.workflow.topics import MessageConflictError

if TYPE_CHECKING:
    from troth.journal.model import Send

SendDefinition = StepDefinition[[UUID | None, str | None, str, str, str | None], None]


def sending(schema: Callable[[], str], telemetry: Telemetry = SILENT) -> SendDefinition:
    """The step. What makes a message impossible is its answer, so a workflow may catch it; uncaught, the run has failed."""

    async def send(
        tx: Tx, run: UUID | None, key: str | None, topic: str, payload: str, once: str | None
    ) -> None:
        from troth.journal import store  # psycopg is not needed to define anything
        from troth.journal.model import Send

        trace = telemetry.sending(run, key, topic)
        message = Send(ids.new_id(), run, key, topic, payload.encode(), once, trace)
        raise_if_not_sent(message, await store.send_message(tx, store.queries(schema()), message))
        if telemetry.on:
            telemetry.emit(MessageSent(run, key, topic))

    failures = (RunEndedError, RunNotFoundError, MessageConflictError)
    return StepDefinition(send, StepKind.TRANSACTION, name="send", fails_on=failures)


def send_here(
    branch: Branch,
    step: SendDefinition,
    run: UUID | None,
    key: str | None,
    topic: str,
    payload: bytes,
    once: str | None,
) -> Coroutine[Any, Any, None]:
    """Make the recorded call."""
    encoded = step.arguments.encode((run, key, topic, payload.decode(), once), {})
    return branch.run.call(branch.path(f"send.{topic}"), step, encoded, None, branch.scope)


def raise_if_not_sent(send: Send, status: str) -> None:
    """Raise `RunEndedError`, `RunNotFoundError` or `MessageConflictError` unless the message was left."""
    run = send.run_id or send.key or ""
    if status == "ended":
        raise RunEndedError(f"run {run} has ended; it takes no more messages")
    if status == "missing":
        raise RunNotFoundError(f"there is no run {run}")
    if status == "conflict":
        raise MessageConflictError(run, send.topic, send.once or "")
