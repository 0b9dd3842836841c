"""Starting a run in the transaction of a request: both are there, or neither."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from troth.base import ids
from troth.base.errors import UnknownWorkflowError, UsageError
from troth.base.telemetry import SILENT, Telemetry
from troth.journal.model import Send
from troth.journal.starts import require_same_start, start_digest
from troth.store.plan import Plan, Statement
from troth.store.queries import Queries
from troth.workflow.definition import Workflow
from troth.workflow.given import check_key, deadline_s, time_s
from troth.workflow.queue import check_place
from troth.workflow.sending import raise_if_not_sent


def start(
    q: Queries,
    cell: int,
    workflows: Mapping[str, Workflow[Any, Any]],
    workflow: object,
    args: tuple[Any, ...],
    *,
    key: str | None = None,
    at: datetime | None = None,
    priority: int | None = None,
    partition: str | None = None,
    deadline: datetime | timedelta | None = None,
    telemetry: Telemetry = SILENT,
) -> Plan[UUID]:
    """Start a run in the transaction of a request; its id. The arguments are those of `troth.start`.

    *workflows* are those of the program. Raises `KeyConflictError`, `UsageError` and `PayloadError`.
    """
    if not isinstance(workflow, Workflow):
        msg = f"{workflow!r} is not a workflow: decorate it with @troth.workflow"
        raise UsageError(msg)
    if workflows.get(workflow.name) is not workflow:
        msg = f"{workflow.name} is a workflow of another Troth"
        raise UnknownWorkflowError(msg)
    at_s = time_s("at", at)
    until_s, within_s = deadline_s(deadline)
    check_key(key)
    queue = workflow.queue
    check_place(workflow.name, queue, priority, partition)
    payload = workflow.arguments.encode(args, {})
    if not workflow.arguments.are_plain(args, {}):
        workflow.arguments.decode(payload)  # a wrong type is told to the caller, not to the run
    asked = ids.new_id(cell)
    trace = telemetry.starting(asked, workflow.name)
    params = {
        "id": asked,
        "workflow": workflow.name,
        "key": key,
        "input": payload,
        "digest": start_digest(workflow.name, payload),
        "at": at_s,
        "queue": queue and queue.name,
        "partition": (partition or "") if queue else None,
        "priority": (priority or 0) if queue else None,
        "until": until_s,
        "within": within_s,
    }
    try:
        rows = yield Statement(q.start_run, params)
        run_id, fresh, same = rows[0]
        if trace is not None and fresh:
            yield Statement(q.trace_run, {"id": asked, "trace": trace})
    except BaseException:
        telemetry.not_started(asked)
        raise
    telemetry.started(asked, UUID(str(run_id)), workflow.name, key, "request", trace)
    if not same and key is not None:
        found = yield Statement(q.run_input, {"id": run_id})
        first = (found[0][0], found[0][1]) if found else None
        require_same_start(key, run_id, first, workflow.name, payload)
    return UUID(str(run_id))


def send(q: Queries, message: Send) -> Plan[None]:
    """Leave a message in a transaction; *q* are the journal's. Raises `RunEndedError`, `RunNotFoundError`, `MessageConflictError`."""
    rows = yield Statement(q.send_message, tuple(message[:-1]))
    raise_if_not_sent(message, rows[0][0])
    if message.trace is not None:
        yield Statement(q.trace_message, (message.trace, message.id))
